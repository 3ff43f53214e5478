package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Messages that clients send to runs, and steps that receive them.

// signalName is that of all messages.
const signalName = "s"

// drawSignals has clients send messages.
func (s *Sim) drawSignals(d dice) {
	if !s.work.receives {
		return
	}
	for _, c := range s.clients {
		c.signals = d.chance(0.4)
		for i := range d.upTo(4) {
			id := fmt.Sprintf("m%d", i)
			s.after(d.between(0, s.world.trouble), func() { c.signal(id, 20) })
		}
	}
}

// signal sends a message, and again if it is not known to be stored. Some start the run
// by the way if it is not there, also while it ends and after its end.
func (c *client) signal(id string, tries int) {
	s := c.sim
	p := s.door()
	starts := hash(c.runID, id)%2 == 0
	if tries == 0 || p == nil || !c.acked && !starts {
		if tries > 0 && s.faulty() {
			s.after(time.Second, func() { c.signal(id, tries-1) })
		}
		return
	}
	msg := &messages.SignalRun{RunId: c.runID, Name: signalName, MessageId: id, Payload: []byte(`"` + id + `"`)}
	p.call(c.runID, 5*time.Second, func(sv *server, reply func(any)) {
		stored := func(code messages.Code) {
			if !code.Retryable() {
				reply(code)
			}
		}
		if starts {
			start := c.startMessage()
			start.Signal = msg
			sv.start(start, func(err error) { stored(messages.CodeOf(err)) })
			return
		}
		sv.deliver(c.runID, msg, asker(func(answer any) { stored(codeIn(answer)) }))
	}, func(answer any) {
		switch code, ok := answer.(messages.Code); {
		case !ok:
			c.signal(id, tries-1)
		case code == "":
			c.acked = true
			s.must(s.monitor.signalAcknowledged(c.runID, id))
		case code != messages.CodeRunFinished:
			s.fail("signal %s of %s: %s", id, c.runID, code)
		default:
			s.must(s.monitor.signalRefused(c.runID, id))
		}
	})
}

// receive takes messages, one after the other, without a slot while it waits.
func (f *function) receive(i int) {
	switch {
	case f.over || f.canceled:
		return
	case i == f.plan.receives:
		f.nap(0)
		return
	}
	key := fmt.Sprintf("#%d", i)
	f.ask(&messages.RecordedCalls{RunId: f.d.RunId, Step: f.d.Step, Attempt: f.d.Attempt, Epoch: f.d.Epoch, Name: signalName, Key: key}, func(answer callAnswer) {
		if calls := answer.(*messages.RecordedCallsReply).Calls; len(calls) > 0 {
			f.received(i, key, calls[0])
			return
		}
		f.awaitMessage(i, key)
	})
}

// awaitMessage asks for a message until the wait has come out.
func (f *function) awaitMessage(i int, key string) {
	f.awaitCall(&messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: signalName, Key: key, TimeoutMs: f.plan.patience.Milliseconds()},
		func(call *messages.CallRecorded) { f.received(i, key, call) })
}

// awaitCall asks how a call came out, with each news, until it has; without a slot
// while it waits.
func (f *function) awaitCall(wait *messages.AwaitCall, done func(*messages.CallRecorded)) {
	seen := f.news
	f.onNews = nil
	f.asked++
	f.sayIdle(0)
	f.ask(f.waitCall(wait), func(answer callAnswer) {
		calls := answer.(*messages.RecordedCallsReply).Calls
		if len(calls) > 0 {
			f.w.sim.must(f.w.sim.monitor.notSuspended(f))
		}
		switch {
		case f.canceled:
		case len(calls) > 0 && f.waiting:
			f.onResume = func() { done(calls[0]) }
			f.w.do(f.w.core.ChildWaitEnded(f.w.clock(), f.id))
		case len(calls) > 0:
			done(calls[0])
		case f.news != seen:
			f.awaitCall(wait, done)
		default:
			if f.onNews = func() { f.awaitCall(wait, done) }; !f.waiting {
				f.waiting = true
				f.w.do(f.w.core.ChildWaitBegan(f.w.clock(), f.id))
			}
			f.idles(wait)
		}
	})
}

// waitCall says whose call it is.
func (f *function) waitCall(wait *messages.AwaitCall) *messages.AwaitCall {
	wait.RunId, wait.Step, wait.Attempt, wait.Epoch = f.d.RunId, f.d.Step, f.d.Attempt, f.d.Epoch
	return wait
}

func (f *function) received(i int, key string, call *messages.CallRecorded) {
	f.w.sim.must(f.w.sim.monitor.waitReturned(f, key, call))
	f.receive(i + 1)
}

// newsOf has the waiting calls of an attempt ask again.
func (w *worker) newsOf(d *messages.Dispatch) {
	for _, f := range w.functions {
		if f.d.RunId == d.RunId && f.d.Step == d.Step && f.d.Attempt == d.Attempt {
			if f.news++; f.onNews != nil {
				w.later(0, f.onNews)
				f.onNews = nil
			}
		}
	}
}

// ---- what is checked -------------------------------------------------------------

// signaled notes a message that is on record. Its id is known for two links, or until it
// is received.
func (m *monitor) signaled(after *run.State, k *messages.Signaled) error {
	m.counts.Signals++
	runID, link := after.RunID, after.Continued+1
	key := runID + "/" + k.MessageId
	if before := m.letters[key]; before > 0 && (link < before+2 || slices.Contains(m.boxes[runID], k.MessageId)) {
		return fmt.Errorf("message %s is recorded twice", key)
	}
	if err := m.wasSent(k.MessageId); err != nil {
		return err
	}
	m.letters[key] = link
	m.boxes[runID] = append(m.boxes[runID], k.MessageId)
	return nil
}

// signalAcknowledged checks that a message that a client was told about is stored.
func (m *monitor) signalAcknowledged(runID, id string) error {
	if m.letters[runID+"/"+id] == 0 {
		return fmt.Errorf("message %s of %s is acknowledged and not durable", id, runID)
	}
	return nil
}

// signalRefused checks that a run which takes a message no more is there, and does not
// have it.
func (m *monitor) signalRefused(runID, id string) error {
	if m.runs[runID] == nil || m.letters[runID+"/"+id] > 0 {
		return fmt.Errorf("message %s of %s is refused because the run has ended, and it is durable, or no run is there", id, runID)
	}
	return nil
}

// waited checks how a wait came out: the oldest message is received, by one call.
func (m *monitor) waited(runID string, k *messages.CallRecorded) error {
	box := m.boxes[runID]
	switch {
	case k.MessageId == "":
		m.counts.WaitsOver++
		return nil
	case len(box) == 0 || box[0] != k.MessageId:
		return fmt.Errorf("call %s of step %s receives message %s, the mailbox has %q", k.Key, k.Step, k.MessageId, box)
	}
	m.counts.Received++
	m.boxes[runID] = box[1:]
	return nil
}

// waitReturned checks that a step goes on with what is on record.
func (m *monitor) waitReturned(f *function, key string, call *messages.CallRecorded) error {
	want := ""
	if call.MessageId != "" {
		want = `"` + call.MessageId + `"`
	}
	if got := string(call.GetOutput()); got != want {
		return fmt.Errorf("%s received %s as message %s", f.key(), got, call.MessageId)
	}
	return m.callReturned(f, signalName+key, call.MessageId)
}

// unread checks that a run that ends says how much it did not receive.
func (m *monitor) unread(st *run.State, k *messages.RunEnded) error {
	if n := int(k.UnreadSignals[signalName]); n != len(m.boxes[st.RunID]) {
		return fmt.Errorf("the run ends with %d messages that were not received, the mailbox has %q", n, m.boxes[st.RunID])
	}
	return nil
}
