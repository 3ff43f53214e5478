package sdk

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Branch is one thing that First and All wait for: what OnSignal, OnEvent,
// OnSleep, OnSleepUntil and OnChild return. What has come is read from it afterwards. It may be
// used again, in another call; not in two at once.
type Branch interface {
	// Err is how the branch came to nothing in the call that waited for it last; nil if
	// it came, or lost.
	Err() error

	// asks is what is waited for, or why that cannot be.
	asks() (*messages.WaitBranch, error)
	// takes what came of it; false if that is something else.
	takes(call *messages.CallRecorded) bool
	fails(err error)
	words() string
}

// came is how a branch came out.
type came struct{ err error }

// Err implements Branch.
func (c *came) Err() error      { return c.err }
func (c *came) fails(err error) { c.err = err }

// SignalBranch waits for a message.
type SignalBranch[T any] struct {
	came
	signal string
	value  T
}

// OnSignal waits for the oldest message of a name, as Receive does.
func OnSignal[T any](signal string) *SignalBranch[T] { return &SignalBranch[T]{signal: signal} }

// Value is the message that came; the zero value if none did.
func (b *SignalBranch[T]) Value() T { return b.value }

func (b *SignalBranch[T]) words() string { return fmt.Sprintf("signal %q", b.signal) }

func (b *SignalBranch[T]) asks() (*messages.WaitBranch, error) {
	var none T
	b.value = none
	return &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: b.signal}, messages.CheckName("the name of a signal", b.signal)
}

func (b *SignalBranch[T]) takes(call *messages.CallRecorded) bool {
	b.err = messageIn(call, b.signal, &b.value)
	return call.MessageId != ""
}

// SleepBranch waits for a time.
type SleepBranch struct {
	came
	wait time.Duration
	// until is what OnSleepUntil waits for.
	until   time.Time
	instant bool
}

// OnSleep waits until the time has passed since the call was first made, as Sleep does.
func OnSleep(d time.Duration) *SleepBranch { return &SleepBranch{wait: d} }

// OnSleepUntil waits until the wall clock shows the time, as SleepUntil does.
func OnSleepUntil(t time.Time) *SleepBranch { return &SleepBranch{until: t, instant: true} }

func (b *SleepBranch) words() string {
	if b.instant {
		return "sleep until " + b.until.Format(time.RFC3339)
	}
	return "sleep of " + b.wait.String()
}

func (b *SleepBranch) asks() (*messages.WaitBranch, error) {
	w := &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_SLEEP}
	switch up := b.wait + time.Millisecond - 1; {
	case b.instant && b.until.IsZero():
		return nil, messages.Errorf(messages.CodeInvalidArgument, "the time of a sleep is the zero time")
	case b.instant:
		// Whoever looks at the clock then sees it.
		w.UntilWallUs = max(b.until.Add(time.Microsecond-1).UnixMicro(), 1)
	case b.wait > time.Duration(messages.WaitMsMax)*time.Millisecond:
		return nil, messages.Errorf(messages.CodeLimitExceeded, "a sleep of %v is longer than WaitMsMax = %d", b.wait, messages.WaitMsMax)
	case b.wait > 0:
		w.SleepMs = up.Milliseconds()
	}
	return w, nil
}

func (b *SleepBranch) takes(call *messages.CallRecorded) bool {
	return call.MessageId == "" && call.Child == nil && call.Event == nil
}

// ChildBranch waits for the end of a child.
type ChildBranch struct {
	came
	child *Child
}

// OnChild waits for the end of a child, as Child.Wait does: if that did not succeed, the
// branch comes with a *RunError. Its Result is there at once then.
func OnChild(child *Child) *ChildBranch { return &ChildBranch{child: child} }

// Child is the one that the branch waits for.
func (b *ChildBranch) Child() *Child { return b.child }

func (b *ChildBranch) words() string { return "child " + b.child.ID() }

func (b *ChildBranch) asks() (*messages.WaitBranch, error) {
	if b.child == nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "the child of a branch is nil")
	}
	return b.child.asks(), nil
}

func (b *ChildBranch) takes(call *messages.CallRecorded) bool {
	if call.GetChild().GetChildRun() != b.child.ID() {
		return false
	}
	b.child.ends(call.Child)
	b.err = b.child.result(call.Child, nil).err()
	return true
}
