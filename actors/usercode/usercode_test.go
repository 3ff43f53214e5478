package usercode

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// ways are how a call may end without returning; the last one waits for the
// channel.
func ways(leave <-chan struct{}) map[string]func() {
	return map[string]func(){
		"panicked: boom":                  func() { panic("boom") },
		"panicked: panic called with nil": func() { panic(nil) }, //nolint:govet // one of the ways
		"panicked: runtime error":         func() { var e *fault; _ = e.what[0] },
		"panicked: a usercode.terrible":   func() { panic(terrible{}) },
		"ended its goroutine":             func() { runtime.Goexit() },
		"has not returned within 10s":     func() { <-leave },
	}
}

type fault struct{ what [1]int }

// terrible cannot even be printed.
type terrible struct{}

func (terrible) Error() string { runtime.Goexit(); return "" }

// methods is an error each of whose methods may be the one that fails.
type methods struct {
	fails string
	way   func()
}

func (m *methods) do(name string) {
	if m.fails == name {
		m.way()
	}
}
func (m *methods) Error() string          { m.do("Error"); return "words" }
func (m *methods) Unwrap() error          { m.do("Unwrap"); return nil }
func (m *methods) Is(error) bool          { m.do("Is"); return false }
func (m *methods) As(any) bool            { m.do("As"); return false }
func (m *methods) NonRetryable() bool     { m.do("NonRetryable"); return true }
func (m *methods) String() string         { m.do("String"); return "" }
func (m *methods) GoString() string       { m.do("GoString"); return "" }
func (m *methods) Format(fmt.State, rune) { m.do("Format") }

func TestEveryCallEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		defer close(leave)
		for want, way := range ways(leave) {
			_, f := Call("it", MethodWithin, func() int { way(); return 1 })
			if f == nil || !strings.HasPrefix(f.Error(), "it "+want) {
				t.Errorf("%s: %v", want, f)
			}
			if strings.HasPrefix(want, "panicked") != (f.Stack != "") {
				t.Errorf("%s: stack %q", want, f.Stack)
			}
			for _, name := range []string{"Error", "Unwrap", "As", "NonRetryable"} {
				failure := FailureOf(&methods{name, way})
				if failure.GetCode() != string(messages.CodeUserError) || !strings.Contains(failure.GetMessage(), want) {
					t.Errorf("%s of an error: %s: %v", name, want, failure)
				}
			}
			if want == "has not returned within 10s" {
				continue // a function that takes long is its caller's affair
			}
			told := make(chan *Fault, 1)
			go Here(func() string { return "it" }, way, func(f *Fault) { told <- f })
			if f := <-told; f == nil || !strings.HasPrefix(f.Error(), "it "+want) {
				t.Errorf("here, %s: %v", want, f)
			}
		}
		if n, f := Call("it", MethodWithin, func() int { return 7 }); n != 7 || f != nil {
			t.Error(n, f)
		}
	})
}

func TestFailureOfKeepsWhatAnErrorSays(t *testing.T) {
	coded := messages.Errorf(messages.CodeStateLost, "gone")
	for _, c := range []struct {
		err     error
		code    messages.Code
		message string
		final   bool
	}{
		{errors.New("plain \xff"), messages.CodeUserError, "plain \uFFFD", false},
		{coded, messages.CodeStateLost, "gone", false},
		{fmt.Errorf("why: %w", coded), messages.CodeStateLost, "why: STATE_LOST: gone", false},
		{&methods{}, messages.CodeUserError, "words", true},
		{(*typedNil)(nil), messages.CodeUserError, "panicked", false},
		{errors.New(strings.Repeat("x", 1<<20)), messages.CodeUserError, "… (1048576 bytes)", false},
	} {
		f := FailureOf(c.err)
		if f.GetCode() != string(c.code) || !strings.Contains(f.GetMessage(), c.message) || f.GetFinal() != c.final {
			t.Errorf("%T: %v", c.err, f)
		}
	}
}

type typedNil struct{ text string }

func (n *typedNil) Error() string { return n.text }
