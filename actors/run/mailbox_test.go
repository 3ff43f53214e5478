package run

import (
	"fmt"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// signal sends a message to the run and returns the answer.
func (c *caller) signal(name, id string) error {
	c.t.Helper()
	c.replies = nil
	c.do(c.m.Handle(Signal{Token: 1, Message: &messages.SignalRun{RunId: "r", Name: name, MessageId: id, Payload: []byte("1")}}, c.now))
	if len(c.replies) != 1 {
		c.t.Fatalf("%d answers", len(c.replies))
	}
	return c.replies[0].Err
}

// A full mailbox refuses who sends; it loses nothing, keeps the order, and has room again
// for each message that is received.
func TestMailboxIsBounded(t *testing.T) {
	c := newCaller(t)
	for i := range messages.SignalsMax {
		if err := c.signal("talk", fmt.Sprint("m", i)); err != nil {
			t.Fatal(i, err)
		}
	}
	full := func(err error) bool {
		return messages.CodeOf(err) == messages.CodeLimitExceeded && strings.Contains(err.Error(), "SignalsMax = 10000")
	}
	for _, name := range []string{"talk", "other"} {
		if err := c.signal(name, "one more"); !full(err) {
			t.Error(name, err)
		}
	}
	c.replies = nil
	c.do(c.m.Handle(Start{Token: 1, Started: &messages.RunStarted{Workflow: "wf"}, Signal: &messages.SignalRun{RunId: "r", Name: "talk", MessageId: "one more", Payload: []byte("1")}}, c.now))
	if len(c.replies) != 1 || !full(c.replies[0].Err) {
		t.Error("a start with a message:", c.replies)
	}
	if err := c.signal("talk", "m7"); err != nil {
		t.Error("one that is there:", err)
	}
	for i := range 2 {
		c.do(c.m.Handle(AwaitCall{Token: 1, Message: &messages.AwaitCall{RunId: "r", Step: "a", Attempt: 1,
			Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "talk", Key: fmt.Sprint("#", i)}}, c.now))
		if id := c.received(i); id != fmt.Sprint("m", i) {
			t.Errorf("%d. is %q", i, id)
		}
		if err := c.signal("talk", fmt.Sprint("late", i)); err != nil {
			t.Error(err)
		}
	}
	if unread := c.m.State().Unread(); len(unread) != 1 || unread["talk"] != messages.SignalsMax || !full(c.signal("talk", "one more")) {
		t.Error(unread)
	}
}

// What a call waits for comes to it although the mailbox is full of other messages.
func TestFullMailboxTakesWhatACallWaitsFor(t *testing.T) {
	c := newCaller(t)
	for i := range messages.SignalsMax {
		if err := c.signal("note", fmt.Sprint("m", i)); err != nil {
			t.Fatal(i, err)
		}
	}
	c.do(c.m.Handle(AwaitCall{Token: 1, Message: &messages.AwaitCall{RunId: "r", Step: "a", Attempt: 1, Kind: messages.CallKind_CALL_KIND_RECEIVE,
		Name: "ok", Key: "#7", TimeoutMs: messages.WaitMsMax}}, c.now))
	for i, want := range []messages.Code{"", messages.CodeLimitExceeded} {
		if err := c.signal("ok", fmt.Sprint("ok", i)); messages.CodeOf(err) != want {
			t.Errorf("%d. message: %v", i, err)
		}
	}
	if id := c.received(7); id != "ok0" || c.m.State().Unread()["ok"] != 0 {
		t.Errorf("the call has %q, unread %v", id, c.m.State().Unread())
	}
}

// received is the message that a call of talk has received, by the newest entry.
func (c *caller) received(i int) (id string) {
	c.t.Helper()
	var entry messages.Entry
	if err := messages.Unmarshal(c.entries[len(c.entries)-1], &entry); err != nil {
		c.t.Fatal(err)
	}
	for _, ev := range entry.Events {
		if call := ev.GetCallRecorded(); call.GetKey() == fmt.Sprint("#", i) {
			id = call.MessageId
		}
	}
	return id
}
