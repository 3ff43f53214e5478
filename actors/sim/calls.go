package sim

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Durable calls of step functions. What their functions return names the attempt
// that called them, so that a result that was not recorded shows.

// drawCalls gives steps calls to make.
func (s *Sim) drawCalls(d dice) {
	if !d.chance(0.4) {
		return
	}
	for _, def := range s.work.order {
		for _, st := range def.Def.Steps {
			b := def.steps[st.Name]
			b.calls = pick(d, []int{0, 1, 1, 3})
			b.receives, b.patience = pick(d, []int{0, 0, 1, 2}), d.between(100*time.Millisecond, 20*time.Second)
			s.work.receives = s.work.receives || b.receives > 0
		}
	}
}

// madeCall is a call that is on record.
type madeCall struct {
	attempt int32
	output  string
}

// call makes the calls of a function that are left, one after the other.
func (f *function) call(i int) {
	s := f.w.sim
	switch {
	case f.over || f.canceled:
		return
	case i == f.plan.calls:
		f.listen(0)
		return
	}
	key := fmt.Sprintf("#%d", i)
	f.ask(&messages.RecordedCalls{RunId: f.d.RunId, Step: f.d.Step, Attempt: f.d.Attempt, Epoch: f.d.Epoch, Name: "c", Key: key}, func(answer callAnswer) {
		if calls := answer.(*messages.RecordedCallsReply).Calls; len(calls) > 0 {
			s.monitor.counts.CallsTaken++
			s.must(s.monitor.callReturned(f, key, string(calls[0].GetOutput())))
			f.call(i + 1)
			return
		}
		f.record(i, key)
	})
}

// record calls the function of a call, and has the result recorded.
func (f *function) record(i int, key string) {
	s := f.w.sim
	s.must(s.monitor.called(f, key))
	output := fmt.Sprintf("%s %s", f.key(), key)
	call := &messages.CallRecorded{Step: f.d.Step, Attempt: f.d.Attempt, Kind: messages.CallKind_CALL_KIND_DO, Name: "c", Key: key,
		Outcome: &messages.CallRecorded_Output{Output: []byte(output)}}
	f.ask(&messages.RecordCall{RunId: f.d.RunId, Epoch: f.d.Epoch, Call: call}, func(callAnswer) {
		s.must(s.monitor.callReturned(f, key, output))
		f.call(i + 1)
	})
}

// callAnswer is what a run answers about a call.
type callAnswer interface{ GetError() *messages.Failure }

// ask asks the run of a function until it answers. One that is not the live attempt
// any more ends. What it has written is stored before a call is recorded, or waits.
func (f *function) ask(msg proto.Message, done func(callAnswer)) {
	messages.SentBy(msg, f.w.info.WorkerId)
	switch msg.(type) {
	case *messages.RecordCall, *messages.AwaitCall:
		f.flushed(func() { f.askRun(msg, done) })
	default:
		f.askRun(msg, done)
	}
}

func (f *function) askRun(msg proto.Message, done func(callAnswer)) {
	f.w.call(f.d.RunId, livesFor, func(sv *server, reply func(any)) {
		sv.deliver(f.d.RunId, msg, asker(func(answer any) {
			if failure := answer.(callAnswer).GetError(); failure == nil || !messages.Code(failure.Code).Retryable() || failure.Code == string(messages.CodeStaleAttempt) {
				reply(answer)
			}
		}))
	}, func(answer any) {
		if f.over || answer == nil {
			return
		}
		if failure := answer.(callAnswer).GetError(); failure != nil {
			f.w.sim.must(f.w.sim.monitor.callRefused(f, messages.FromFailure(failure)))
			f.end(nil, failure)
			return
		}
		done(answer.(callAnswer))
	})
}

// afterCalls is what a function does then.
func (f *function) afterCalls() {
	if len(f.plan.children) == 0 {
		f.w.later(f.plan.takes/2, f.returns)
		return
	}
	f.spawn(0)
}

// readCalls answers from the journal, as a server does.
func (a *actor) readCalls(act run.ReadCalls) {
	s := a.sv.sim
	a.sv.later(tiny, func() {
		answer := &messages.RecordedCallsReply{}
		rec, err := s.store.Entries(background, a.id(), act.From-1, 2)
		if s.journalDown() {
			err = unavailable
		}
		page := run.NewCallPage(act.Find)
		for _, data := range rec.Entries {
			more, err := page.Add(data)
			if s.must(err); !more {
				break
			}
		}
		if page.Signal() != 0 {
			signal, err := s.store.Entry(background, a.id(), page.Signal())
			if s.must(err); err == nil {
				s.must(page.AddSignal(signal))
			}
		}
		if answer.Calls, answer.Error = page.Calls(), messages.ToFailure(err); err != nil {
			answer.Calls = nil
		} else if len(answer.Calls) == 0 {
			s.fail("run %s, entry %d has no record of call %s of step %s", a.id(), act.From, act.Find.Key, act.Find.Step)
		}
		act.Token.(asker)(answer)
	})
}

// ---- what is checked -------------------------------------------------------------

func callOf(runID, step, key string) string { return runID + "/" + step + "/" + key }

// called checks that a call that an earlier attempt has recorded is not made again.
func (m *monitor) called(f *function, key string) error {
	m.counts.Calls++
	if err := m.notSuspended(f); err != nil {
		return err
	}
	if had, ok := m.calls[callOf(f.d.RunId, f.d.Step, key)]; ok && had.attempt < f.d.Attempt {
		return fmt.Errorf("%s makes call %s, which attempt %d has recorded", f.key(), key, had.attempt)
	}
	return nil
}

// callReturned checks that a step goes on with what is on record. One that was
// given up may have had its record cleared by a replay.
func (m *monitor) callReturned(f *function, key, output string) error {
	had, ok := m.calls[callOf(f.d.RunId, f.d.Step, key)]
	if step := m.runs[f.d.RunId].Step(f.d.Step); step.Phase != run.Live || step.Attempt != f.d.Attempt {
		return nil
	}
	if !ok || had.output != output {
		return fmt.Errorf("%s goes on with %q from call %s, on record is %q", f.key(), output, key, had.output)
	}
	return nil
}

// callRefused checks that the attempt that is wanted may make calls.
func (m *monitor) callRefused(f *function, err error) error {
	if step := m.runs[f.d.RunId].Step(f.d.Step); step.Phase == run.Live && step.Attempt == f.d.Attempt {
		return fmt.Errorf("%s is the live attempt, and may not make a call: %w", f.key(), err)
	}
	return nil
}

// callRecorded notes a call that is on record.
func (m *monitor) callRecorded(after *run.State, k *messages.CallRecorded) error {
	runID := after.RunID
	if k.Kind == messages.CallKind_CALL_KIND_CONTINUE {
		m.links.asked[callOf(runID, k.Step, "")] = true
		return nil
	}
	if err := m.inTime(after, k); err != nil {
		return err
	}
	m.suspensions.waitOver(waitOf(runID, k.Step, k.Name, k.Key))
	key := callOf(runID, k.Step, k.Key)
	output := string(k.GetOutput())
	switch k.Kind {
	case messages.CallKind_CALL_KIND_ALL:
		key = callOf(runID, k.Step, k.Name+k.Key)
	case messages.CallKind_CALL_KIND_SIGNAL:
		key, output = callOf(runID, k.Step, k.Name+k.Key), ""
		if err := m.hasPosted(after, k); err != nil {
			return err
		}
	case messages.CallKind_CALL_KIND_RECEIVE, messages.CallKind_CALL_KIND_FIRST, messages.CallKind_CALL_KIND_SLEEP:
		key, output = callOf(runID, k.Step, k.Name+k.Key), k.MessageId
		if err := m.waited(runID, k); err != nil {
			return err
		}
	}
	if k.Kind == messages.CallKind_CALL_KIND_EVENT {
		key, output = callOf(runID, k.Step, eventCall+k.Key), k.GetEvent().GetEventId()
		if err := m.listened(runID, k); err != nil {
			return err
		}
	}
	if had, ok := m.calls[key]; ok {
		return fmt.Errorf("call %s was recorded by attempt %d, and again by %d", key, had.attempt, k.Attempt)
	}
	m.calls[key] = madeCall{k.Attempt, output}
	return nil
}

// callsCleared forgets the calls of steps that a replay has cleared.
func (m *monitor) callsCleared(st *run.State) {
	for i := range st.Steps {
		if n, _ := st.Steps[i].Calls(); n > 0 {
			continue
		}
		delete(m.links.asked, callOf(st.RunID, st.Steps[i].Def.Name, ""))
		for key := range m.calls {
			if strings.HasPrefix(key, callOf(st.RunID, st.Steps[i].Def.Name, "")) {
				delete(m.calls, key)
			}
		}
		for _, k := range m.waitsOf(st.RunID, st.Steps[i].Def.Name) {
			m.suspensions.waitOver(waitOf(st.RunID, k.Step, k.Name, k.Key))
		}
	}
}

// allCalls checks that a step that succeeded has made all its calls.
func (m *monitor) allCalls(st *run.State, step string) error {
	if m.links.asked[callOf(st.RunID, step, "")] || m.links.began[st.RunID] == st.Number {
		return nil // They may be cleared already.
	}
	b := m.sim.work.byName[st.Def.Name].steps[step]
	want := b.calls + b.receives + len(b.listens) + len(b.naps) + b.posts
	for _, n := range b.naps {
		if n.all {
			want += partsOfNap
		}
	}
	if n, _ := st.Step(step).Calls(); n < want || n > want && len(b.children) == 0 {
		return fmt.Errorf("step %s succeeded with %d calls on record, it makes %d", step, n, want)
	}
	return nil
}
