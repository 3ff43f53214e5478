package slots

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/messages"
)

// TestProperties sends a worker every message in any order, doubled and late,
// and checks after each input the invariants of the package doc, those that
// Check cannot see by the history of actions.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWatched(t)
		t.Repeat(map[string]func(*rapid.T){
			"dispatch": w.dispatch,
			"again":    w.again,
			"withdraw": w.withdraw,
			"release":  w.release,
			"end":      w.end,
			"wait":     w.wait,
			"ack":      w.ack,
			"advance":  w.advance,
			"given up": w.givenUp,
			"drain":    w.drain,
			"undrain":  w.undrain,
			"hand off": w.handOff,
			"":         w.check,
		})
		w.finish()
	})
}

type attemptID struct {
	run, step string
	number    int32
}

func (id attemptID) String() string { return fmt.Sprintf("%s/%s#%d", id.run, id.step, id.number) }

// watched is a core with a record of what it did.
type watched struct {
	t         *rapid.T
	core      *Core
	now       time.Time
	sent      []*messages.Dispatch
	newest    map[string]int32
	epochs    map[string]uint64
	started   map[attemptID]bool
	withdrawn map[attemptID]bool // revoked or canceled unseen, as the run was told
	functions map[uint64]attemptID
	waiting   map[uint64]bool
	asked     map[string]time.Time    // when each run was asked about last
	results   map[attemptID]time.Time // the last time that each unacknowledged one was sent
	stopped   bool
}

func newWatched(t *rapid.T) *watched {
	return &watched{
		t: t,
		core: New(Config{WorkerID: "w1", Slots: rapid.IntRange(1, 3).Draw(t, "slots"),
			HandsOff: func(workflow string) bool { return workflow == "hands off" }}),
		now: epoch, newest: map[string]int32{}, epochs: map[string]uint64{},
		started: map[attemptID]bool{}, withdrawn: map[attemptID]bool{},
		functions: map[uint64]attemptID{}, waiting: map[uint64]bool{}, asked: map[string]time.Time{}, results: map[attemptID]time.Time{},
	}
}

func (w *watched) observe(actions []Action) {
	for _, a := range actions {
		switch a.Kind {
		case Start:
			id := attemptID{a.Dispatch.RunId, a.Dispatch.Step, a.Dispatch.Attempt}
			if w.started[id] || w.withdrawn[id] {
				w.t.Fatalf("W2: %v started, started before %v, withdrawn %v", id, w.started[id], w.withdrawn[id])
			}
			w.started[id], w.functions[a.ID] = true, id
			soft := a.Dispatch.Sticky == messages.Sticky_STICKY_SOFT && a.Dispatch.Bound
			if w.core.drain.over || w.core.Draining() && a.Dispatch.Sticky != messages.Sticky_STICKY_HARD && !soft {
				w.t.Fatalf("W6: %v started, over %v", id, w.core.drain.over)
			}
		case Resume:
			if !w.waiting[a.ID] {
				w.t.Fatalf("resume of %v, which does not wait", w.functions[a.ID])
			}
			delete(w.waiting, a.ID)
		case CancelContext:
			delete(w.waiting, a.ID)
			if _, ok := w.functions[a.ID]; !ok {
				w.t.Fatalf("cancel of function %d, which does not run", a.ID)
			}
		case Send:
			w.observeMessage(a)
		case AskBound:
			w.observeAsked(a.Runs)
		case Stopped:
			w.stopped = true
		}
	}
}

func (w *watched) observeAsked(runs []*messages.BoundRun) {
	for _, r := range runs {
		if k := w.core.runs[r.RunId]; k == nil || !k.bound || k.epoch != r.Epoch {
			w.t.Fatalf("W7: run %s epoch %d is asked about and not bound", r.RunId, r.Epoch)
		}
		w.asked[r.RunId] = w.now
	}
}

func (w *watched) observeMessage(a Action) {
	switch m := a.Message.(type) {
	case *messages.Result:
		w.results[attemptID{m.RunId, m.Step, m.Attempt}] = w.now
	case *messages.Revoked:
		w.withdrawn[attemptID{m.RunId, m.Step, m.Attempt}] = true
	}
}

func (w *watched) dispatch(t *rapid.T) {
	run := rapid.SampledFrom([]string{"r1", "r2", "r3", "r4"}).Draw(t, "run")
	step := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "step")
	sticky := messages.Sticky(run[1]-'1') % 3
	key := run + step
	w.newest[key] += rapid.Int32Range(0, 1).Draw(t, "newer")
	if sticky != messages.Sticky_STICKY_NONE {
		w.epochs[run] = max(1, w.epochs[run]+rapid.Uint64Range(0, 1).Draw(t, "rebound"))
	}
	d := &messages.Dispatch{
		RunId: run, Step: step, Attempt: max(1, w.newest[key]), Sticky: sticky, Epoch: w.epochs[run],
		Priority: rapid.Int32Range(0, 3).Draw(t, "priority"), ReadyUs: rapid.Int64Range(0, 9).Draw(t, "ready"),
		Bound: rapid.Bool().Draw(t, "bound"), Suspect: rapid.Bool().Draw(t, "suspect"), GrantId: 1, ReplyAddress: "s1",
		Workflow:           rapid.SampledFrom([]string{"plain", "hands off"}).Draw(t, "workflow"),
		ExecutionTimeoutMs: rapid.SampledFrom([]int64{-1, 300, 2000}).Draw(t, "timeout"),
	}
	// One number is never used under two epochs, as a run does.
	if old := slices.IndexFunc(w.sent, func(o *messages.Dispatch) bool {
		return o.RunId == run && o.Step == step && o.Attempt == d.Attempt
	}); old >= 0 {
		d = w.sent[old]
	} else {
		w.sent = append(w.sent, d)
	}
	w.observe(w.core.Dispatch(w.now, d))
}

// again doubles a Dispatch, or asks what became of it.
func (w *watched) again(t *rapid.T) {
	if len(w.sent) == 0 {
		return
	}
	d := rapid.SampledFrom(w.sent).Draw(t, "dispatch")
	if rapid.Bool().Draw(t, "take up") {
		d = &messages.Dispatch{RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Epoch: d.Epoch, Sticky: d.Sticky, TakeUp: true}
	}
	w.observe(w.core.Dispatch(w.now, d))
}

func (w *watched) withdraw(t *rapid.T) {
	run := rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "run")
	number := max(1, w.newest[run+"a"]) + rapid.Int32Range(0, 1).Draw(t, "ahead")
	if rapid.Bool().Draw(t, "revoke") {
		w.observe(w.core.Revoke(w.now, &messages.Revoke{RunId: run, Step: "a", Attempt: number}))
		return
	}
	actions := w.core.CancelAttempt(w.now, &messages.CancelAttempt{RunId: run, Step: "a", Attempt: number})
	for _, a := range actions {
		if m, ok := a.Message.(*messages.AttemptUnknown); ok {
			w.withdrawn[attemptID{m.RunId, m.Step, m.Attempt}] = true
		}
	}
	w.observe(actions)
}

func (w *watched) release(t *rapid.T) {
	run := rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "run")
	w.observe(w.core.RunReleased(w.now, &messages.RunReleased{RunId: run, Epoch: w.epochs[run]}))
}

func (w *watched) function(t *rapid.T) (uint64, bool) {
	if len(w.functions) == 0 {
		return 0, false
	}
	ids := make([]uint64, 0, len(w.functions))
	for id := range w.functions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return rapid.SampledFrom(ids).Draw(t, "function"), true
}

func (w *watched) end(t *rapid.T) {
	if id, ok := w.function(t); ok {
		w.ended(id, rapid.Bool().Draw(t, "fails"))
	}
}

func (w *watched) ended(id uint64, fails bool) {
	delete(w.functions, id)
	delete(w.waiting, id)
	var failure *messages.Failure
	if fails {
		failure = &messages.Failure{Code: string(messages.CodeUserError)}
	}
	w.observe(w.core.FunctionEnded(w.now, id, []byte("1"), failure))
}

func (w *watched) wait(t *rapid.T) {
	id, ok := w.function(t)
	if !ok {
		return
	}
	if w.waiting[id] {
		w.observe(w.core.ChildWaitEnded(w.now, id))
		return
	}
	w.waiting[id] = true
	w.observe(w.core.ChildWaitBegan(w.now, id))
}

func (w *watched) ack(t *rapid.T) {
	if len(w.sent) > 0 {
		d := rapid.SampledFrom(w.sent).Draw(t, "attempt")
		w.acked(attemptID{d.RunId, d.Step, d.Attempt})
	}
}

func (w *watched) acked(id attemptID) {
	delete(w.results, id)
	w.observe(w.core.ResultAck(w.now, &messages.ResultAck{RunId: id.run, Step: id.step, Attempt: id.number}))
}

func (w *watched) givenUp(*rapid.T) {
	w.observe(w.core.GivenUp(w.now, "s1", messages.Errorf(messages.CodeWorkerLost, "declared gone")))
}

func (w *watched) drain(t *rapid.T) {
	left := time.Duration(rapid.Int64Range(1, 10_000).Draw(t, "ms")) * time.Millisecond
	actions, err := w.core.DrainFor(w.now, w.now.Add(left))
	if err != nil {
		t.Fatal(err)
	}
	w.observe(actions)
	if !w.core.Draining() {
		t.Fatal("it does not drain")
	}
}

func (w *watched) undrain(t *rapid.T) {
	actions, err := w.core.Undrain(w.now)
	if err != nil || w.core.Draining() {
		t.Fatalf("it drains: %v, %v", w.core.Draining(), err)
	}
	w.observe(actions)
}

func (w *watched) handOff(t *rapid.T) {
	run := rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "run")
	if rapid.Bool().Draw(t, "begins") {
		w.observe(w.core.HandOffBegan(w.now, run))
		return
	}
	w.observe(w.core.HandOffEnded(w.now, run))
}

func (w *watched) advance(t *rapid.T) {
	w.pass(time.Duration(rapid.Int64Range(1, 4000).Draw(t, "ms")) * time.Millisecond)
}

func (w *watched) pass(span time.Duration) {
	end := w.now.Add(span)
	for next := w.core.Next(); !next.IsZero() && !next.After(end); next = w.core.Next() {
		if next.After(w.now) {
			w.now = next
		}
		w.observe(w.core.Tick(w.now))
	}
	w.now = end
}

func (w *watched) check(t *rapid.T) {
	if err := w.core.Check(); err != nil {
		t.Fatalf("%v", err)
	}
	for _, r := range w.core.runs {
		if r.bound && w.now.Sub(r.heardAt) > w.core.askAfter()+StillBoundEvery {
			t.Fatalf("W7: nothing was heard of run %s for %v, asked about at %v", r.id, w.now.Sub(r.heardAt), w.asked[r.id])
		}
	}
	for id, at := range w.results {
		if w.now.Sub(at) > ResendMax {
			t.Fatalf("W3: result of %v was sent %v ago and not since", id, w.now.Sub(at))
		}
	}
}

// finish lets every function return and every result be acknowledged: then
// nothing may be left, and a drain ends.
func (w *watched) finish() {
	for rounds := 0; len(w.functions) > 0 || len(w.results) > 0 || w.core.queue.Len() > 0 && rounds < 100; rounds++ {
		for id := range w.functions {
			w.ended(id, false)
		}
		for id := range w.results {
			w.acked(id)
		}
		w.pass(SuspectApart)
	}
	w.check(w.t)
	if n := w.core.queue.Len() + w.core.taken + w.core.Running() + w.core.Unacknowledged(); n > 0 {
		w.t.Fatalf("%d queued, %d slots taken, %d functions and %d results left", w.core.queue.Len(),
			w.core.taken, w.core.Running(), w.core.Unacknowledged())
	}
	for _, run := range []string{"r1", "r2", "r3", "r4"} {
		w.observe(w.core.HandOffEnded(w.now, run))
	}
	w.observe(w.core.Drain(w.now, w.now.Add(time.Minute)))
	w.pass(HandOffLinger)
	if !w.stopped {
		w.t.Fatalf("a drain with nothing to do does not end")
	}
}

func BenchmarkAttempt(b *testing.B) {
	c := New(Config{WorkerID: "w1", Slots: 100})
	now := epoch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(20 * time.Microsecond)
		run := "01j0000000000000000000" + string(rune('a'+i%26)) + fmt.Sprint(i)
		var id uint64
		for _, a := range c.Dispatch(now, &messages.Dispatch{RunId: run, Step: "a", Attempt: 1, GrantId: 1}) {
			if a.Kind == Start {
				id = a.ID
			}
		}
		c.FunctionEnded(now, id, nil, nil)
		c.ResultAck(now, &messages.ResultAck{RunId: run, Step: "a", Attempt: 1})
	}
}

func BenchmarkQueue(b *testing.B) {
	c := New(Config{WorkerID: "w1", Slots: 1})
	dispatch := func(i int) []Action {
		return c.Dispatch(epoch, &messages.Dispatch{RunId: fmt.Sprint(i), Step: "a", Attempt: 1, ReadyUs: int64(i % 977)})
	}
	running := dispatch(0)[0].ID
	for i := 1; i < 10_000; i++ {
		dispatch(i)
	}
	for i := 10_000; b.Loop(); i++ {
		dispatch(i)
		for _, a := range c.FunctionEnded(epoch, running, nil, nil) {
			switch {
			case a.Kind == Start:
				running = a.ID
			case a.Kind == Send:
				if m, ok := a.Message.(*messages.Result); ok {
					defer c.ResultAck(epoch, &messages.ResultAck{RunId: m.RunId, Step: m.Step, Attempt: m.Attempt})
				}
			}
		}
	}
}
