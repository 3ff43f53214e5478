package verdict

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// checkCalls compares what clients were told with what became of it.
func (c *checker) checkCalls() {
	byNumber := map[uint64][]*Call{}
	c.replays = map[string][]*Call{}
	for i := range c.evidence.Calls {
		if call := &c.evidence.Calls[i]; call.Act == ActReplay {
			c.replays[call.Runs[0]] = append(c.replays[call.Runs[0]], call)
		}
	}
	for i := range c.evidence.Calls {
		call := &c.evidence.Calls[i]
		c.count(call)
		c.checkRefused(call)
		switch call.Act {
		case ActStart, ActEvent:
			byNumber[call.Number] = append(byNumber[call.Number], call)
			c.checkStarted(call)
		case ActCancel:
			c.checkCancel(call)
		case ActWait, ActWatch:
			c.checkWait(call)
		case ActSignal:
			c.checkSignal(call)
		case ActAsk:
			c.checkAsked(call)
		case ActRead:
			c.checkRead(call)
		}
	}
	c.checkNumbers(byNumber)
	c.checkReplays()
}

func (c *checker) count(call *Call) {
	switch call.Outcome {
	case Acknowledged:
		c.report.Seen.Acknowledged++
	case Refused:
		c.report.Seen.RefusedCalls++
	case Ambiguous:
		c.report.Seen.Ambiguous++
	}
}

// checkRefused: every call of the load is valid, so that only what has ended
// in the meantime may be refused.
func (c *checker) checkRefused(call *Call) {
	expected := false
	switch call.Act {
	case ActCancel:
		expected = call.Code == messages.CodeRunFinished || call.Code == messages.CodeRunEnding
	case ActSignal:
		expected = call.Code == messages.CodeRunFinished && c.canceled(call.Runs[0])
	case ActReplay:
		expected = call.Code == messages.CodeRunNotFinished && c.replayedInDoubt(call)
	case ActWait, ActWatch:
		return // checkWait's
	case ActAsk:
		expected = noAnswer[call.Code]
	case ActRead:
		expected = noStream[call.Code]
	}
	if call.Outcome == Refused && !expected || call.Code == messages.CodeInternal {
		c.breaks(RuleRefused, strings.Join(call.Runs, ","), "%s of call %d: %s", call.Act, call.Number, call.Error)
	}
}

// replayedInDoubt says that an earlier replay of the run may have come after
// all.
func (c *checker) replayedInDoubt(call *Call) bool {
	return slices.ContainsFunc(c.replays[call.Runs[0]], func(o *Call) bool {
		return o.Outcome == Ambiguous && o.Begin.Before(call.Begin)
	})
}

// checkStarted: what was acknowledged is there, and is what was asked for.
func (c *checker) checkStarted(call *Call) {
	if call.Outcome != Acknowledged {
		return
	}
	if call.Act == ActEvent && len(call.Runs) != call.Triggers {
		c.breaks(RuleIneffective, strings.Join(call.Runs, ","), "event %s started %d runs, not %d", call.Key, len(call.Runs), call.Triggers)
	}
	for _, id := range call.Runs {
		h := c.runs[id]
		if h == nil {
			c.breaks(RuleLost, id, "call %d was told of it at %s, and it is not there", call.Number, clock(call.End))
			continue
		}
		s := h.started
		switch {
		case call.Act == ActStart && (s.GetWorkflow() != call.Workflow || s.GetIdempotencyKey() != call.Key || !bytes.Equal(s.GetInput(), call.Input)):
			h.breaks(RuleLost, "call %d asked for a %s of key %q with %s, the run is a %s of key %q with %s",
				call.Number, call.Workflow, call.Key, call.Input, s.GetWorkflow(), s.GetIdempotencyKey(), s.GetInput())
		case call.Act == ActEvent && (s.GetTrigger() != "event:"+call.Event || !bytes.Equal(s.GetInput(), call.Input)):
			h.breaks(RuleIneffective, "event %s carried %s, the run was started by %q with %s", call.Key, call.Input, s.GetTrigger(), s.GetInput())
		}
	}
}

// checkNumbers: one start is one run, one event the same runs however often it
// is pushed, and no run is there that nobody asked for.
func (c *checker) checkNumbers(byNumber map[uint64][]*Call) {
	roots := map[uint64][]*history{}
	for _, h := range c.order {
		if h.started.GetParentRun() != "" {
			if !c.fathered[h.ID] {
				h.breaks(RuleIdempotency, "run %s did not spawn it", h.started.GetParentRun())
			}
			continue
		}
		number, err := strconv.ParseUint(h.started.GetMetadata()[NumberKey], 10, 64)
		if err != nil || byNumber[number] == nil {
			h.breaks(RuleIdempotency, "nobody asked for it (%q)", h.started.GetMetadata()[NumberKey])
			continue
		}
		roots[number] = append(roots[number], h)
	}
	for number, calls := range byNumber {
		told, refused := map[string]bool{}, true
		for _, call := range calls {
			for _, id := range call.Runs {
				told[id] = true
			}
			refused = refused && call.Outcome == Refused
		}
		most := max(1, calls[0].Triggers)
		switch there := roots[number]; {
		case len(there) > most || len(told) > most:
			c.breaks(RuleIdempotency, there[0].ID, "call %d was answered with %d runs and %d are there, the most is %d", number, len(told), len(there), most)
		case refused && len(there) > 0:
			there[0].breaks(RuleIdempotency, "call %d was refused, and the run is there", number)
		}
	}
}

// checkCancel: an acknowledged cancel is recorded, and the run ends canceled.
func (c *checker) checkCancel(call *Call) {
	h := c.runs[call.Runs[0]]
	if h == nil {
		return
	}
	switch {
	case call.Outcome == Acknowledged:
		if !slices.ContainsFunc(h.generations, func(g *generation) bool { return g.canceled }) {
			h.breaks(RuleIneffective, "its cancel was acknowledged at %s, and is not recorded", clock(call.End))
		}
	case call.Code == messages.CodeRunFinished:
		if g := h.generations[0]; !g.ended || g.endedAt.After(call.End.Add(slack)) {
			h.breaks(RuleIneffective, "a cancel at %s was told that the run has ended, and it had not", clock(call.End))
		}
	}
}

// checkReplays: acknowledged replays are recorded, others only if they may
// have come; a run that nobody canceled is not canceled.
func (c *checker) checkReplays() {
	type asked struct{ acknowledged, ambiguous, cancels int }
	by := map[string]*asked{}
	for i := range c.evidence.Calls {
		call := &c.evidence.Calls[i]
		if call.Act != ActReplay && call.Act != ActCancel {
			continue
		}
		a := by[call.Runs[0]]
		if a == nil {
			a = &asked{}
			by[call.Runs[0]] = a
		}
		switch {
		case call.Act == ActCancel:
			a.cancels++
		case call.Outcome == Acknowledged:
			a.acknowledged++
		case call.Outcome == Ambiguous:
			a.ambiguous++
		}
	}
	for _, h := range c.order {
		a := by[h.ID]
		if a == nil {
			a = &asked{}
		}
		n := len(h.generations) - 1
		if n < a.acknowledged || n > a.acknowledged+a.ambiguous {
			h.breaks(RuleIneffective, "%d replays are recorded, %d were acknowledged and %d may have come", n, a.acknowledged, a.ambiguous)
		}
		if a.cancels == 0 && h.started.GetParentRun() == "" && slices.ContainsFunc(h.generations, func(g *generation) bool { return g.canceled }) {
			h.breaks(RuleIneffective, "it is canceled, and nobody asked for that")
		}
	}
}

// lateMost is how much later than the run's end a wait or a watch may be told
// of it: its server may have been frozen or cut off meanwhile. The time for
// which the database or all servers were away comes on top.
const lateMost = 12 * time.Second

// outage is how long no server was there that could read the database between two
// times.
func (c *checker) outage(from, to time.Time) (sum time.Duration) {
	for i := range c.faults {
		f := &c.faults[i]
		if !slices.Contains([]Kind{PostgresRestart, PostgresKill, PostgresFreeze, ServersAway}, f.Kind) {
			continue
		}
		begin, end := f.At, f.Until
		if end.IsZero() || end.After(to) {
			end = to
		}
		if begin.Before(from) {
			begin = from
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// checkWait: a wait or watch that was not broken off tells of an end that the
// run had by then and that no acknowledged replay had made void before it
// began, soon after that end; a watch tells of all entries up to it.
func (c *checker) checkWait(call *Call) {
	h := c.runs[call.Runs[0]]
	switch {
	case call.Code == GivenUp || h == nil:
		return
	case call.Outcome != Acknowledged:
		h.breaks(RuleWaits, "a %s from %s to %s ended with %s", call.Act, clock(call.Begin), clock(call.End), call.Error)
		return
	}
	for i, number := range call.Entries {
		if number != uint64(i)+1 {
			h.breaks(RuleWaits, "a watch was told of entry %d after %d entries", number, i)
		}
	}
	late, allowed := c.lateness(h, call)
	switch {
	case late < 0:
		h.breaks(RuleWaits, "a %s was told at %s that it is %s, and it was not", call.Act, clock(call.End), call.Status)
	case late > allowed:
		h.breaks(RuleWaits, "a %s from %s was told of the end at %s, %s late", call.Act, clock(call.Begin), clock(call.End), late.Round(time.Millisecond))
	}
	c.report.Late = max(c.report.Late, late.Seconds())
}

// lateness is how long after the run's end a wait or watch told of it, and how
// long it may have taken; negative if there was no such end.
func (c *checker) lateness(h *history, call *Call) (late, allowed time.Duration) {
	replays := 0
	for _, o := range c.replays[h.ID] {
		if o.Outcome == Acknowledged && o.End.Before(call.Begin) {
			replays++
		}
	}
	late, allowed = -1, lateMost
	for i, g := range h.generations {
		told := g.ended && g.status == call.Status && !g.endedAt.After(call.End.Add(slack)) && i >= replays
		if told && (call.Act == ActWait || slices.Contains(call.Entries, g.endEntry)) {
			late = max(0, min(call.End.Sub(g.endedAt), call.End.Sub(call.Begin)))
			allowed = lateMost + c.outage(call.End.Add(-late), call.End)
		}
	}
	return late, allowed
}
