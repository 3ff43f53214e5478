package messages

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Spans of a run. What was asked to start it is a span of a trace, by the header
// traceparent of the W3C, which the run keeps. The ids of the run's own spans in that
// trace follow from what they are of: so any server can name the span of an attempt as
// a parent, or a link, whether or not it made it.
//
// A run that was started without a trace has none. What is started within it has none.

// A traceparent is 00-TRACE-SPAN-FLAGS, in lower-case hexadecimal digits.
const (
	traceparentBytes = 55
	spanFrom, spanTo = 36, 52
)

// CheckTraceparent returns INVALID_ARGUMENT for what is no traceparent of version 00.
func CheckTraceparent(words, value string) error {
	parts := strings.Split(value, "-")
	ok := len(value) == traceparentBytes && len(parts) == 4 && parts[0] == "00" && len(parts[1]) == 32 && len(parts[2]) == 16
	for _, part := range parts {
		ok = ok && strings.Trim(part, "0123456789abcdef") == ""
	}
	if !ok || strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return Errorf(CodeInvalidArgument, "%s %q: must be 00-TRACE-SPAN-FLAGS in lower-case hexadecimal digits", words, brief(value))
	}
	return nil
}

// RunSpan is the traceparent of the span of a run, after so many replays, from the one
// that it was started with; empty if that is.
func RunSpan(traceparent, runID string, replays int) string {
	return spanOf(traceparent, "run", runID, strconv.Itoa(replays))
}

// AttemptSpan is the traceparent of the span of an attempt.
func AttemptSpan(traceparent, runID, step string, attempt int32) string {
	return spanOfAttempt(traceparent, "attempt", runID, step, attempt)
}

// PlacementSpan is the traceparent of the span of an attempt's way to its worker.
func PlacementSpan(traceparent, runID, step string, attempt int32) string {
	return spanOfAttempt(traceparent, "placement", runID, step, attempt)
}

func spanOfAttempt(traceparent, kind, runID, step string, attempt int32) string {
	if traceparent == "" {
		return "" // without a step: most runs are not traced
	}
	return spanOf(traceparent, kind, runID, step, strconv.Itoa(int(attempt)))
}

func spanOf(traceparent string, parts ...string) string {
	if len(traceparent) != traceparentBytes {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return traceparent[:spanFrom] + hex.EncodeToString(sum[:8]) + traceparent[spanTo:]
}

// TraceID is the id of the trace in a traceparent, for logs; empty if there is none.
func TraceID(traceparent string) string {
	if len(traceparent) != traceparentBytes {
		return ""
	}
	return traceparent[3:35]
}
