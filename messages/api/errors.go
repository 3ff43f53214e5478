package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
)

// ToConnect turns an error into the one that a handler returns: the Connect
// code of the error's kind, its message and an ErrorDetail with the code of the
// catalogue, its hint and when to try again. A Connect error is returned as it is, an error that
// is not of the catalogue becomes INTERNAL; nil for nil.
func ToConnect(err error) *connect.Error {
	if err == nil {
		return nil
	}
	var done *connect.Error
	if errors.As(err, &done) {
		return done
	}
	var e *messages.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.DeadlineExceeded):
		e = messages.Errorf(messages.CodeDeadline, "the time of the call is over: %w", err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	default:
		e = messages.Errorf(messages.CodeInternal, "%w", err)
	}
	out := connect.NewError(connectCode(e.Code.Kind()), errors.New(e.Message))
	d := &ErrorDetail{Code: string(e.Code), Hint: e.Code.Hint(), Retryable: e.Code.Retryable()}
	if after := e.Code.RetryAfter(); after > 0 {
		d.RetryAfter = durationpb.New(after)
		out.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	detail, err := connect.NewErrorDetail(d)
	if err == nil {
		out.AddDetail(detail)
	}
	return out
}

// RetryAfter returns how long the server that answered with the error wants to
// be left alone; 0 if it does not say.
func RetryAfter(err error) time.Duration {
	if d := detailOf(err); d != nil {
		return max(d.GetRetryAfter().AsDuration(), 0)
	}
	return 0
}

// detailOf is nil if there is none.
func detailOf(err error) *ErrorDetail {
	var e *connect.Error
	if !errors.As(err, &e) {
		return nil
	}
	for _, d := range e.Details() {
		value, err := d.Value()
		if err != nil {
			continue
		}
		if detail, ok := value.(*ErrorDetail); ok && detail.GetCode() != "" {
			return detail
		}
	}
	return nil
}

// FromConnect turns what a client of the API got back into an error of the
// catalogue, so that errors.Is works across the wire. What failed before it
// reached a handler gets the code that fits: UNAVAILABLE when there was no
// connection, DEADLINE_EXCEEDED when the context's time was over; a canceled
// context stays context.Canceled. Any other error is returned as it is.
//
// It is a list: one case for each code of Connect.
//
//gocyclo:ignore
func FromConnect(err error) error {
	var e *connect.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	if detail := detailOf(err); detail != nil {
		return &messages.Error{Code: messages.Code(detail.GetCode()), Message: e.Message()}
	}
	if Broken(err) {
		return messages.Errorf(messages.CodeUnavailable, "the connection broke: %s", e.Message())
	}
	switch e.Code() {
	case connect.CodeCanceled:
		return fmt.Errorf("the call was canceled: %w", context.Canceled)
	case connect.CodeDeadlineExceeded:
		return messages.Errorf(messages.CodeDeadline, "%w", deadline{e.Message()})
	case connect.CodeUnavailable:
		return messages.Errorf(messages.CodeUnavailable, "%s", e.Message())
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return messages.Errorf(messages.CodeUnauthenticated, "%s", e.Message())
	case connect.CodeResourceExhausted:
		return messages.Errorf(messages.CodeLimitExceeded, "%s", e.Message())
	case connect.CodeInvalidArgument:
		return messages.Errorf(messages.CodeInvalidArgument, "%s", e.Message())
	case connect.CodeUnimplemented, connect.CodeUnknown:
		if !connect.IsWireError(err) {
			return messages.Errorf(messages.CodeWrongAddress, "what answers is not a limpet server: %s", e.Message())
		}
		if e.Code() == connect.CodeUnimplemented {
			return messages.Errorf(messages.CodeInvalidArgument, "the server does not know this call, it is of another version: %s", e.Message())
		}
	case connect.CodeInternal:
		if !connect.IsWireError(err) && strings.HasPrefix(e.Message(), strconv.Itoa(http.StatusBadRequest)) {
			// It never came to a handler: the server got a request cut short.
			return messages.Errorf(messages.CodeUnavailable, "the request did not arrive whole: %s", e.Message())
		}
	}
	return messages.Errorf(messages.CodeInternal, "%s: %s", e.Code(), e.Message())
}

// Broken says whether the connection ended in the middle of an answer, which
// Connect reports as an internal error of the protocol.
func Broken(err error) bool {
	return !connect.IsWireError(err) && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// deadline is context.DeadlineExceeded with the message of the transport.
type deadline struct{ message string }

func (d deadline) Error() string { return d.message }
func (d deadline) Unwrap() error { return context.DeadlineExceeded }

// connectCode of a kind: their names are the same.
func connectCode(k messages.Kind) connect.Code {
	var c connect.Code
	if err := c.UnmarshalText([]byte(k)); err != nil {
		return connect.CodeInternal
	}
	return c
}
