package run

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// caller is a run with a live attempt, whose appends are stored at once.
type caller struct {
	t       *testing.T
	m       *Machine
	now     time.Time
	entries [][]byte
	replies []Reply
	reads   []ReadCalls
}

func newCaller(t *testing.T) *caller {
	def := &messages.WorkflowDefinition{Name: "wf", Steps: []*messages.StepDefinition{{Name: "a"}}}
	c := &caller{t: t, m: New("r", def, &Config{}), now: scriptEpoch}
	c.do(c.m.Handle(Start{Started: &messages.RunStarted{Workflow: "wf", Trigger: "api"}}, c.now))
	return c
}

func (c *caller) do(actions []Action) {
	for len(actions) > 0 {
		action := actions[0]
		actions = actions[1:]
		switch a := action.(type) {
		case Append:
			data, err := messages.Marshal(a.Entry)
			if err != nil {
				c.t.Fatal(err)
			}
			c.entries = append(c.entries, data)
			actions = append(actions, c.m.Handle(Appended{}, c.now)...)
		case Ask:
			actions = append(actions, c.m.Handle(Placed{&messages.Placed{RunId: "r", Question: a.Message.Question, Step: a.Message.Step, GrantId: 1, Worker: workerRef("w1")}}, c.now)...)
		case Reply:
			c.replies = append(c.replies, a)
		case ReadCalls:
			c.reads = append(c.reads, a)
		}
	}
}

// record records a call and returns the answer.
func (c *caller) record(name, key string, output []byte) error {
	c.t.Helper()
	c.replies = nil
	c.do(c.m.Handle(RecordCall{Token: 1, Message: &messages.RecordCall{RunId: "r", Call: &messages.CallRecorded{
		Step: "a", Attempt: 1, Kind: messages.CallKind_CALL_KIND_DO, Name: name, Key: key, Outcome: &messages.CallRecorded_Output{Output: output}}}}, c.now))
	if len(c.replies) != 1 {
		c.t.Fatalf("%d answers", len(c.replies))
	}
	return c.replies[0].Err
}

// TestCallsOfAStepAreBounded: one more than CallsMax is refused by name, and what
// is recorded may be said again.
func TestCallsOfAStepAreBounded(t *testing.T) {
	c := newCaller(t)
	for i := range messages.CallsMax {
		if err := c.record("many", fmt.Sprintf("#%d", i), []byte("1")); err != nil {
			t.Fatal(i, err)
		}
	}
	err := c.record("one-more", "#0", []byte("1"))
	if messages.CodeOf(err) != messages.CodeLimitExceeded || !strings.Contains(err.Error(), "CallsMax = 10000") {
		t.Error(err)
	}
	if err := c.record("many", "#7", []byte("1")); err != nil {
		t.Error(err)
	}
	// The state does not hold what was recorded: it says where it is.
	if st := c.m.State().Step("a"); st.recorded != messages.CallsMax || st.calls[callKey{"many", "#9"}].entry != 11 {
		t.Errorf("%d calls, the tenth is in entry %d", st.recorded, st.calls[callKey{"many", "#9"}].entry)
	}
}

// TestCallPage: a page begins with what was asked for and is bounded in bytes.
func TestCallPage(t *testing.T) {
	c := newCaller(t)
	large := append(append([]byte{'"'}, bytes.Repeat([]byte("x"), messages.PayloadBytesMax-2)...), '"')
	for i, output := range [][]byte{[]byte("0"), []byte("1"), large, large, []byte("4"), []byte("5")} {
		if err := c.record("think", fmt.Sprintf("#%d", i), output); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[int]string{0: "#0 #1", 1: "#1", 2: "#2", 3: "#3", 4: "#4 #5"} {
		c.reads = nil
		find := &messages.RecordedCalls{Step: "a", Attempt: 1, Name: "think", Key: fmt.Sprintf("#%d", from)}
		c.do(c.m.Handle(FindCall{Token: 1, Message: find}, c.now))
		page := NewCallPage(c.reads[0].Find)
		for _, data := range c.entries[c.reads[0].From-1:] {
			more, err := page.Add(data)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
		}
		var keys []string
		for _, call := range page.Calls() {
			keys = append(keys, call.Key)
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("from %d: %s, want %s", from, got, want)
		}
	}
	if _, err := NewCallPage(&messages.RecordedCalls{Step: "a"}).Add([]byte("\xff")); err == nil {
		t.Error("an unreadable entry was read")
	}
}
