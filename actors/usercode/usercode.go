// Package usercode calls what users wrote: functions of steps and of local
// state, hooks, and the methods of errors that they return. Whatever becomes of
// such a call, it ends for the caller: the function returns, panics, also with
// nil, ends its goroutine with runtime.Goexit, or does not return in time.
//
// Data flow: Call(function) → a goroutine of its own → its result, or a Fault.
//
// Invariants: no call takes the caller's goroutine, or process, with it; what
// comes after its time is dropped; an error's methods are called by Read only.
//
// Imports only messages.
package usercode

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// MethodWithin is how long a method of a value may take: of an error, or a
// function that says something of a value.
const MethodWithin = 10 * time.Second

// Fault says how a call ended that did not return.
type Fault struct {
	// What was called, for its message.
	What string
	// How it ended: "panicked: …", "ended its goroutine with runtime.Goexit" or
	// "has not returned within …".
	How string
	// Stack of a panic; empty otherwise.
	Stack string
}

func (f *Fault) Error() string { return f.What + " " + f.How }

// Coded makes an error of the catalogue of it; nil for nil.
func (f *Fault) Coded(code messages.Code) error {
	if f == nil {
		return nil
	}
	err := messages.Errorf(code, "%s", Truncate(f.Error(), messages.FailureMessageBytesMax))
	err.Stack = f.Stack
	return err
}

// Call calls f and returns what it returned. With within above 0 it does not
// wait longer: then f goes on by itself.
func Call[T any](what string, within time.Duration, f func() T) (result T, fault *Fault) {
	c := Go(what, f)
	if within <= 0 {
		<-c.Done
		return c.Outcome()
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.Done:
		return c.Outcome()
	case <-timer.C:
		return result, &Fault{What: what, How: fmt.Sprintf("has not returned within %v", within)}
	}
}

// Running is a call that goes on.
type Running[T any] struct {
	// Done is closed when it has ended.
	Done   chan struct{}
	result T
	fault  *Fault
}

// Outcome is for after Done is closed.
func (r *Running[T]) Outcome() (T, *Fault) { return r.result, r.fault }

// Go begins to call f.
func Go[T any](what string, f func() T) *Running[T] {
	r := &Running[T]{Done: make(chan struct{})}
	go func() {
		defer close(r.Done)
		r.fault = &Fault{What: what, How: "ended its goroutine with runtime.Goexit"}
		defer func() {
			if p := recover(); p != nil {
				stack := Truncate(string(debug.Stack()), messages.FailureStackBytesMax)
				r.fault = &Fault{What: what, How: "panicked: " + panicText(p), Stack: stack}
			}
		}()
		r.result = f()
		r.fault = nil
	}()
	return r
}

// Here calls f on the caller's own goroutine, for what is called often and may
// take long; what names it for a fault. told is called once f has ended, with nil if
// it returned; after runtime.Goexit the goroutine ends then.
func Here(what func() string, f func(), told func(*Fault)) {
	returned := false
	defer func() {
		p := recover()
		switch {
		case p != nil:
			stack := Truncate(string(debug.Stack()), messages.FailureStackBytesMax)
			told(&Fault{What: what(), How: "panicked: " + panicText(p), Stack: stack})
		case returned:
			told(nil)
		default:
			told(&Fault{What: what(), How: "ended its goroutine with runtime.Goexit"})
		}
	}()
	f()
	returned = true
}

// panicText is the value of a panic in words; its methods may do anything too.
func panicText(p any) string {
	switch p := p.(type) {
	case string:
		return p
	case interface{ RuntimeError() }:
		return fmt.Sprint(p)
	}
	words := make(chan string, 1)
	go func() {
		text := fmt.Sprintf("a %T", p)
		defer func() {
			_ = recover()
			words <- text
		}()
		text = fmt.Sprint(p)
	}()
	timer := time.NewTimer(MethodWithin)
	defer timer.Stop()
	select {
	case text := <-words:
		return text
	case <-timer.C:
		return fmt.Sprintf("a %T", p)
	}
}

// Read calls f, which calls methods of the error: Error, Is, As, Unwrap and
// others. The Fault says whose methods failed.
func Read[T any](err error, f func(err error) T) (T, *Fault) {
	return Call(fmt.Sprintf("a method of the error, a %T,", err), MethodWithin, func() T { return f(err) })
}

// FailureOf keeps the code of an error of the catalogue; any other error is the
// user's. An error that says NonRetryable is final. One that cannot be read is
// the user's as well.
func FailureOf(err error) *messages.Failure {
	f, fault := Read(err, failureOf)
	if fault != nil {
		f = &messages.Failure{Code: string(messages.CodeUserError), Message: fault.Error(), Stack: fault.Stack}
	}
	f.Message, f.Stack = Truncate(f.Message, messages.FailureMessageBytesMax), Truncate(f.Stack, messages.FailureStackBytesMax)
	return f
}

func failureOf(err error) *messages.Failure {
	f := &messages.Failure{Code: string(messages.CodeUserError), Message: err.Error()}
	var coded *messages.Error
	if errors.As(err, &coded) {
		f = messages.ToFailure(err)
		if err != error(coded) {
			f.Message = err.Error()
		}
	}
	var final interface{ NonRetryable() bool }
	if errors.As(err, &final) && final.NonRetryable() {
		f.Final = true
	}
	return f
}

// Truncate cuts s to most bytes, at the end of a character, and says so. What
// is not UTF-8 is replaced: it could not be sent.
func Truncate(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xC0 == 0x80 {
		most--
	}
	return s[:most] + fmt.Sprintf("… (%d bytes)", len(s))
}
