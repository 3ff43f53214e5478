package api

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
)

func TestErrorsKeepTheirCodeAcrossTheWire(t *testing.T) {
	for _, code := range []messages.Code{
		messages.CodeUnknownRun, messages.CodeInvalidInput, messages.CodeUnavailable, messages.CodeJournalCorrupt,
		messages.CodeRunFinished, messages.CodeScheduleTimeout, messages.CodeUserError, messages.CodeUnauthenticated,
		messages.CodeWorkerIDTaken, messages.CodePayloadTooLarge, messages.CodeCanceled, messages.CodeInternal,
	} {
		sent := ToConnect(fmt.Errorf("while serving: %w", messages.Errorf(code, "run %q", "r1")))
		if got, want := sent.Code().String(), string(code.Kind()); got != want {
			t.Errorf("%s goes out as %s, want %s", code, got, want)
		}
		got := FromConnect(fmt.Errorf("call: %w", sent))
		if !errors.Is(got, &messages.Error{Code: code}) {
			t.Errorf("%s came back as %v", code, got)
		}
		if want := string(code) + `: run "r1"`; got.Error() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestErrorsSayWhenToTryAgain(t *testing.T) {
	lost := ToConnect(messages.Errorf(messages.CodeJournalUnavailable, "the journal is out of reach"))
	if got := RetryAfter(fmt.Errorf("call: %w", lost)); got != time.Second || lost.Meta().Get("Retry-After") != "1" {
		t.Errorf("advice %v, header %q", got, lost.Meta().Get("Retry-After"))
	}
	moving := ToConnect(messages.Errorf(messages.CodeUnavailable, "moving"))
	if got := RetryAfter(moving); got != 0 || moving.Meta().Get("Retry-After") != "" || RetryAfter(errors.New("other")) != 0 || RetryAfter(nil) != 0 {
		t.Errorf("advice %v, header %q", got, moving.Meta().Get("Retry-After"))
	}
}

func TestErrorsWithoutADetail(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"no connection", connect.NewError(connect.CodeUnavailable, errors.New("refused")), &messages.Error{Code: messages.CodeUnavailable}},
		{"deadline", connect.NewError(connect.CodeDeadlineExceeded, errors.New("late")), context.DeadlineExceeded},
		{"deadline code", connect.NewError(connect.CodeDeadlineExceeded, errors.New("late")), &messages.Error{Code: messages.CodeDeadline}},
		{"canceled", connect.NewError(connect.CodeCanceled, errors.New("gone")), context.Canceled},
		{"not a limpet server", connect.NewError(connect.CodeUnimplemented, errors.New("404 Not Found")), &messages.Error{Code: messages.CodeWrongAddress}},
		{"too large", connect.NewError(connect.CodeResourceExhausted, errors.New("message size")), &messages.Error{Code: messages.CodeLimitExceeded}},
		{"request cut short", connect.NewError(connect.CodeInternal, errors.New("400 Bad Request")), &messages.Error{Code: messages.CodeUnavailable}},
		{"other", connect.NewError(connect.CodeUnknown, errors.New("501 Unsupported")), &messages.Error{Code: messages.CodeWrongAddress}},
		{"a server of another version", connect.NewWireError(connect.CodeUnimplemented, errors.New("not implemented")), &messages.Error{Code: messages.CodeInvalidArgument}},
		{"a server that says no code", connect.NewWireError(connect.CodeUnknown, errors.New("?")), &messages.Error{Code: messages.CodeInternal}},
		{"not from connect", context.Canceled, context.Canceled},
	} {
		if got := FromConnect(tc.err); !errors.Is(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	if ToConnect(nil) != nil || FromConnect(nil) != nil {
		t.Error("nil is not nil")
	}
}

func TestPlainErrorsAreInternal(t *testing.T) {
	if got := FromConnect(ToConnect(errors.New("boom"))); messages.CodeOf(got) != messages.CodeInternal {
		t.Error(got)
	}
	if got := FromConnect(ToConnect(context.DeadlineExceeded)); messages.CodeOf(got) != messages.CodeDeadline {
		t.Error(got)
	}
	if got := FromConnect(ToConnect(context.Canceled)); !errors.Is(got, context.Canceled) {
		t.Error(got)
	}
}
