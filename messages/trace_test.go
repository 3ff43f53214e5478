package messages

import (
	"strings"
	"testing"
)

const someTraceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestCheckTraceparent(t *testing.T) {
	if err := CheckTraceparent("traceparent", someTraceparent); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"x", someTraceparent + "-x", strings.ToUpper(someTraceparent), strings.Replace(someTraceparent, "00-", "01-", 1),
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		strings.Replace(someTraceparent, "7", "g", 1), strings.Replace(someTraceparent, "c-b", "-cb", 1),
	} {
		if CodeOf(CheckTraceparent("traceparent", bad)) != CodeInvalidArgument {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Spans of one run differ in their own ids alone, and have the same ones everywhere.
func TestSpansFollowFromTheRun(t *testing.T) {
	seen := map[string]bool{someTraceparent: true}
	for _, span := range []string{
		RunSpan(someTraceparent, "r1", 0), RunSpan(someTraceparent, "r1", 1), RunSpan(someTraceparent, "r2", 0),
		AttemptSpan(someTraceparent, "r1", "a", 1), AttemptSpan(someTraceparent, "r1", "a", 2), AttemptSpan(someTraceparent, "r1", "b", 1),
		PlacementSpan(someTraceparent, "r1", "a", 1),
	} {
		if err := CheckTraceparent("span", span); err != nil {
			t.Error(err)
		}
		if seen[span] || TraceID(span) != "0af7651916cd43dd8448eb211c80319c" || !strings.HasSuffix(span, "-01") {
			t.Errorf("span %s", span)
		}
		seen[span] = true
	}
	if got := AttemptSpan(someTraceparent, "r1", "a", 1); got != "00-0af7651916cd43dd8448eb211c80319c-bac88adb5845ce67-01" {
		t.Errorf("the span is %s: servers of another version name it otherwise", got)
	}
	if AttemptSpan("", "r1", "a", 1) != "" || RunSpan("", "r1", 0) != "" || TraceID("") != "" {
		t.Error("without a trace there is a span")
	}
}
