package sim

import (
	"fmt"
	"strings"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Messages that steps send to runs, and steps that wait for all of several things. Both
// are drawn where steps receive messages alone.

// postSeeds is where the seeds of such steps begin.
const postSeeds = 89 << 40

// postCall is the name of calls that send a message.
const postCall = "post"

// partsOfNap are those of a nap that waits for all of them.
const partsOfNap = 3

// keyOfAll is the key by which a wait is known to the worker: that of the ALL which it is
// a part of, else its own.
func keyOfAll(wait *messages.AwaitCall) string {
	if all, part := strings.CutPrefix(wait.Key, "##"); part {
		all, _, _ = strings.Cut(all, "/")
		return "#" + all
	}
	return wait.Key
}

// drawPosts has steps send messages, and some of their naps wait for all of several
// things.
func (s *Sim) drawPosts(d dice) {
	if !s.work.receives || !d.chance(0.6) {
		return
	}
	for _, def := range s.work.order {
		for _, st := range def.Def.Steps {
			b := def.steps[st.Name]
			if b.receives > 0 {
				b.posts = pick(d, []int{0, 1, 1, 2})
			}
			for i := range b.naps {
				b.naps[i].all = !b.naps[i].first && d.chance(0.5)
			}
		}
	}
}

// post sends the messages of a function, one after the other.
func (f *function) post(i int) {
	s := f.w.sim
	posts := s.work.byName[f.d.Workflow].steps[f.d.Step].posts
	switch {
	case f.over || f.canceled:
		return
	case i == posts || len(s.clients) == 0:
		f.afterCalls()
		return
	}
	key := fmt.Sprintf("#%d", i)
	id := messages.MessageIDForCall(f.d.RunId, s.monitor.runs[f.d.RunId].Generation, f.d.Step, postCall, key)
	s.monitor.posted[id] = true
	send := &messages.SendSignal{RunId: f.d.RunId, Step: f.d.Step, Attempt: f.d.Attempt, Epoch: f.d.Epoch, Name: postCall, Key: key,
		ToRun: s.addressee(f.d.Step, i), Signal: signalName, Payload: []byte(`"` + id + `"`)}
	f.ask(send, func(answer callAnswer) {
		s.must(s.monitor.callReturned(f, postCall+key, ""))
		f.post(i + 1)
	})
}

// addressee is the run that a call of a step sends its message to.
func (s *Sim) addressee(step string, i int) string {
	return s.clients[(int(step[len(step)-1])+i)%len(s.clients)].runID
}

// napAll waits for all of two times and a message: it begins to in one call, and then
// waits for one part after the other.
func (f *function) napAll(i int) {
	n := f.plan.naps[i]
	sleeps := func(ms int64) *messages.WaitBranch {
		return &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_SLEEP, SleepMs: ms}
	}
	ms := n.lasts.Milliseconds()
	all := f.waitCall(&messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_ALL, Name: "all", Key: fmt.Sprintf("#%d", i), TimeoutMs: 2 * ms,
		Branches: []*messages.WaitBranch{sleeps(ms), {Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: signalName}, sleeps(ms / 2)}})
	f.ask(all, func(answer callAnswer) {
		f.w.sim.must(f.w.sim.monitor.callReturned(f, all.Name+all.Key, ""))
		f.awaitParts(i, all, messages.PartsOf(all))
	})
}

func (f *function) awaitParts(i int, all *messages.AwaitCall, parts []*messages.AwaitCall) {
	switch {
	case f.over || f.canceled:
		return
	case len(parts) == 0:
		f.w.sim.monitor.counts.Alls++
		f.nap(i + 1)
		return
	}
	part := parts[0]
	f.awaitCall(part, func(call *messages.CallRecorded) {
		f.w.sim.must(f.w.sim.monitor.callReturned(f, part.Name+part.Key, call.MessageId))
		f.awaitParts(i, all, parts[1:])
	})
}

// ---- what is checked -------------------------------------------------------------

// hasPosted checks that a message which a call has sent, by its record, is in the mailbox of
// the run that it was for; the other run has ended if it is not.
func (m *monitor) hasPosted(after *run.State, k *messages.CallRecorded) error {
	var i int
	_, _ = fmt.Sscanf(k.Key, "#%d", &i)
	to := m.sim.addressee(k.Step, i)
	stored := m.letters[to+"/"+messages.MessageIDForCall(after.RunID, after.Generation, k.Step, k.Name, k.Key)] > 0
	switch code := messages.Code(k.GetFailure().GetCode()); {
	case code == "" && !stored:
		return fmt.Errorf("call %s of step %s has sent its message, and run %s does not have it", k.Key, k.Step, to)
	case code != "" && stored:
		return fmt.Errorf("call %s of step %s failed with %s, and run %s has its message", k.Key, k.Step, code, to)
	case code != "" && code != messages.CodeRunFinished && code != messages.CodeUnknownRun:
		return fmt.Errorf("call %s of step %s failed with %s", k.Key, k.Step, code)
	}
	m.counts.Posts++
	return nil
}

// wasSent checks that a message on record was sent: by a client, or by a call under the one
// id that it has.
func (m *monitor) wasSent(id string) error {
	if id[0] == 's' && !m.posted[id] {
		return fmt.Errorf("message %s is recorded, which no call has sent", id)
	}
	return nil
}
