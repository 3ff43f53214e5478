package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// The times of calls that wait.

// entryHeld is how long an entry, which is of the time of its first event, is held for
// placement's answer, and takes others in.
const entryHeld = 50 * time.Millisecond

// waitBegan is when a call began to wait, in whatever attempt.
type waitBegan struct {
	// at is the time of the entry, decided when it was made by a true clock; zero if
	// there is none.
	at      time.Time
	decided decision
}

// keepsTimes checks that a call which waits on in a later attempt does so until the
// times that it had.
func (m *monitor) keepsTimes(after *run.State, k *messages.CallWaits) error {
	key := waitOf(after.RunID, k.Step, k.Name, k.Key)
	before := m.suspensions.waits[key]
	if before == nil {
		m.suspensions.since[key] = waitBegan{after.At, m.sim.clocks.decidedAt(after)}
		return nil
	}
	same := before.DeadlineUs == k.DeadlineUs
	for i, b := range k.Branches {
		same = same && (i >= len(before.Branches) || before.Branches[i].UntilUs == b.UntilUs)
	}
	if !same {
		return fmt.Errorf("call %s %s of %s waits until %d %v in attempt %d, and until %d %v in attempt %d", k.Name, k.Key, k.Step,
			before.DeadlineUs, before.Branches, before.Attempt, k.DeadlineUs, k.Branches, k.Attempt)
	}
	return nil
}

// inTime checks that a wait which time alone ended was not over before its time: by the
// time of its run, and by a true clock.
func (m *monitor) inTime(after *run.State, k *messages.CallRecorded) error {
	key := waitOf(after.RunID, k.Step, k.Name, k.Key)
	wait, began := m.suspensions.waits[key], m.suspensions.since[key]
	due, timed := dueOf(wait, k)
	switch at := m.sim.clocks.decidedAt(after); {
	case !timed:
		return nil
	case wait == nil:
		return fmt.Errorf("call %s %s of %s was over by its time without having waited", k.Name, k.Key, k.Step)
	case after.At.Add(entryHeld).Before(due):
		return fmt.Errorf("call %s %s of %s was over %v before its time", k.Name, k.Key, k.Step, due.Sub(after.At))
	case !at.at.IsZero() && !began.decided.at.IsZero() && began.decided.early(at.at, due.Sub(began.at)):
		return fmt.Errorf("call %s %s of %s was over after %v by a true clock, it was to wait for %v", k.Name, k.Key, k.Step, at.at.Sub(began.decided.at), due.Sub(began.at))
	}
	m.counts.Timed++
	return nil
}

// dueOf is when a wait was to be over if time ended it: by a sleep, or its timeout.
func dueOf(wait *messages.CallWaits, k *messages.CallRecorded) (due time.Time, timed bool) {
	branch := wait.GetBranches()
	switch {
	case messages.Code(k.GetFailure().GetCode()) == messages.CodeWaitTimeout:
		return time.UnixMicro(wait.GetDeadlineUs()), true
	case k.GetFailure() != nil:
		return due, false
	case k.Kind == messages.CallKind_CALL_KIND_SLEEP && wait == nil:
		return due, true
	case int(k.Branch) < len(branch) && branch[k.Branch].Kind == messages.CallKind_CALL_KIND_SLEEP:
		return time.UnixMicro(branch[k.Branch].UntilUs), true
	}
	return due, false
}

// decidedAt is when the newest entry of a run was decided, by a true clock; zero if there
// is none.
func (c *clocks) decidedAt(st *run.State) decision {
	if c == nil {
		return decision{}
	}
	return c.decided[st.RunID][st.Number]
}
