package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// callCorruptions break the rules about what clients were told.
var callCorruptions = []corruption{
	{RuleLost, "an acknowledged run is not there", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActStart && c.Outcome == Acknowledged })
		r := d.of(c.Runs[0])
		*r = Run{ID: r.ID, Unknown: true, Error: "UNKNOWN_RUN"}
	}},
	{RuleLost, "an acknowledged run vanished without a trace", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActStart && c.Outcome == Acknowledged })
		d.evidence.Runs = slices.DeleteFunc(d.evidence.Runs, func(r Run) bool { return r.ID == c.Runs[0] })
		d.evidence.Executions = slices.DeleteFunc(d.evidence.Executions, func(e ledger.Execution) bool { return e.Run == c.Runs[0] })
	}},
	{RuleLost, "a run is not listed", func(d *drawn) {
		pick(d, d.evidence.Runs, func(*Run) bool { return true }).Listed = false
	}},
	{RuleLost, "a run is not what was asked for", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActStart && c.Outcome == Acknowledged })
		switch started := d.of(c.Runs[0]).Entries[0].Events[0].GetRunStarted(); d.r.IntN(3) {
		case 0:
			started.Input = []byte(`{}`)
		case 1:
			started.Workflow = "fan"
		default:
			started.IdempotencyKey = "other"
		}
	}},
	{RuleLost, "a child is not there", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool {
			return ev.GetRunStarted().GetParentRun() != "" && ev.GetRunStarted().GetParentRun() != "canceled-parent"
		})
		d.evidence.Runs = slices.DeleteFunc(d.evidence.Runs, func(r Run) bool { return r.ID == s.run.ID })
	}},
	{RuleIdempotency, "one key starts two runs", func(d *drawn) {
		c := *d.call(func(c *Call) bool { return c.Act == ActStart && c.Outcome == Acknowledged && c.Runs[0] != "plain" })
		c.Runs = []string{"plain"}
		d.evidence.Calls = append(d.evidence.Calls, c)
	}},
	{RuleIdempotency, "a second run of one call", func(d *drawn) {
		d.of("plain").Entries[0].Events[0].GetRunStarted().Metadata = d.of("twice").Entries[0].Events[0].GetRunStarted().Metadata
	}},
	{RuleIdempotency, "a run that nobody asked for", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActStart && c.Number > 0 })
		number := c.Number
		d.evidence.Calls = slices.DeleteFunc(d.evidence.Calls, func(c Call) bool { return c.Number == number })
	}},
	{RuleIdempotency, "a refused start starts a run", func(d *drawn) {
		number := d.call(func(c *Call) bool { return c.Act == ActStart }).Number
		for i := range d.evidence.Calls {
			if c := &d.evidence.Calls[i]; c.Number == number {
				c.Outcome, c.Code, c.Runs = Refused, messages.CodeLimitExceeded, nil
			}
		}
	}},
	{RuleIdempotency, "a child that nobody spawned", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return ev.GetChildSpawned() != nil })
		s.remove()
	}},
	{RuleIdempotency, "a spawn makes two children", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return ev.GetChildSpawned() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{
			Step: s.event.GetChildSpawned().Step, Attempt: s.event.GetChildSpawned().Attempt, Key: s.event.GetChildSpawned().Key, ChildRun: "other",
		}}})
	}},
	{RuleIneffective, "an acknowledged cancel is not recorded", func(d *drawn) {
		c := *d.call(func(c *Call) bool { return c.Act == ActCancel && c.Outcome == Acknowledged })
		c.Runs = []string{pickOne(d, "plain", "retried", "busy")}
		d.evidence.Calls = append(d.evidence.Calls, c)
	}},
	{RuleIneffective, "a canceled run succeeds", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool {
			return ev.GetRunEnded().GetStatus() == messages.RunStatus_RUN_STATUS_CANCELED
		})
		s.event.GetRunEnded().Status = messages.RunStatus_RUN_STATUS_SUCCEEDED
	}},
	{RuleIneffective, "a run is canceled by nobody", func(d *drawn) {
		d.evidence.Calls = slices.DeleteFunc(d.evidence.Calls, func(c Call) bool { return c.Act == ActCancel && c.Outcome == Acknowledged })
	}},
	{RuleIneffective, "a cancel is told that a run has ended, and it has not", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActCancel && c.Outcome == Refused })
		c.End = d.of(c.Runs[0]).Entries[0].At
	}},
	{RuleIneffective, "an acknowledged replay does nothing", func(d *drawn) {
		d.evidence.Calls = append(d.evidence.Calls, Call{Act: ActReplay, Outcome: Acknowledged, Runs: []string{pickOne(d, "plain", "replayed")}})
	}},
	{RuleIneffective, "a replay that nobody asked for", func(d *drawn) {
		d.evidence.Calls = slices.DeleteFunc(d.evidence.Calls, func(c Call) bool { return c.Act == ActReplay })
	}},
	{RuleIneffective, "an event starts too few runs", func(d *drawn) {
		d.call(func(c *Call) bool { return c.Act == ActEvent }).Triggers++
	}},
	{RuleIneffective, "an event's run has another input", func(d *drawn) {
		d.of(pickOne(d, "event-1", "event-2")).Entries[0].Events[0].GetRunStarted().Input = []byte(`{}`)
	}},
	{RuleIneffective, "a child that was to be kept is canceled", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "canceled-parent.y" && ev.GetRunEnded() != nil })
		s.insert(0, &messages.Event{Kind: &messages.Event_CancelRequested{CancelRequested: &messages.CancelRequested{}}})
	}},
	{RuleIneffective, "a child outlives its canceled parent", func(d *drawn) {
		d.event(func(_ *Run, ev *messages.Event) bool {
			return ev.GetChildSpawned().GetOnParentEnd() == messages.ParentEnd_PARENT_END_LEAVE
		}).event.GetChildSpawned().OnParentEnd = messages.ParentEnd_PARENT_END_CANCEL
	}},
	{RuleWaits, "a wait fails", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActWait || c.Act == ActWatch })
		c.Outcome, c.Code = pickOne(d, Refused, Ambiguous), pickOne(d, messages.CodeUnavailable, messages.CodeUnknownRun)
	}},
	{RuleWaits, "a wait tells of another end", func(d *drawn) {
		d.call(func(c *Call) bool { return c.Act == ActWait && c.Outcome == Acknowledged }).Status = messages.RunStatus_RUN_STATUS_FAILED
	}},
	{RuleWaits, "a wait tells of an end before it", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActWait && c.Outcome == Acknowledged })
		c.End = d.of(c.Runs[0]).Entries[0].At
	}},
	{RuleWaits, "a wait is told late", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActWait && c.Outcome == Acknowledged })
		c.Begin, c.End = c.Begin.Add(-lateMost), c.End.Add(lateMost)
	}},
	{RuleWaits, "a wait after a replay is told of the end before it", func(d *drawn) {
		for _, e := range d.of("replayed").Entries {
			if e.Events[0].GetRunReplayed() != nil {
				at := e.At.Add(20 * time.Millisecond)
				d.evidence.Calls = append(d.evidence.Calls, Call{
					Act: ActWait, Outcome: Acknowledged, Runs: []string{"replayed"}, Begin: at, End: at.Add(time.Millisecond), Status: messages.RunStatus_RUN_STATUS_SUCCEEDED,
				})
			}
		}
	}},
	{RuleWaits, "a watch leaves an entry out", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActWatch })
		i := d.r.IntN(len(c.Entries))
		c.Entries = slices.Delete(slices.Clone(c.Entries), i, i+1)
	}},
	{RuleWaits, "a watch tells of an entry twice", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActWatch })
		i := d.r.IntN(len(c.Entries))
		c.Entries = slices.Insert(slices.Clone(c.Entries), i, c.Entries[i])
	}},
	{RuleRefused, "a valid call is refused", func(d *drawn) {
		d.evidence.Calls = append(d.evidence.Calls, Call{
			Act: pickOne(d, ActStart, ActEvent, ActCancel, ActReplay), Outcome: Refused, Code: messages.CodeInvalidArgument, Number: 1, Triggers: 1, Runs: []string{"plain"},
		})
	}},
	{RuleRefused, "a call ends with an internal error", func(d *drawn) {
		d.evidence.Calls = append(d.evidence.Calls, Call{Act: ActStart, Number: 1, Outcome: Ambiguous, Code: messages.CodeInternal})
	}},
}

// The time without the database, or without servers, does not count against a wait.
func TestOutage(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	c := checker{faults: []Fault{
		{Kind: PostgresKill, At: at(1), Until: at(4)},
		{Kind: WorkerKill, At: at(1), Until: at(9)},
		{Kind: PostgresFreeze, At: at(6)},
		{Kind: ServersAway, At: at(-3), Until: at(-1)},
	}}
	for _, tc := range []struct{ from, to, want float64 }{{2, 3, 1}, {0, 5, 3}, {3, 8, 3}, {4, 6, 0}, {0, 1, 0}, {-5, 0, 2}} {
		if got := c.outage(at(tc.from), at(tc.to)).Seconds(); got != tc.want {
			t.Errorf("from %v to %v: %v s, want %v", tc.from, tc.to, got, tc.want)
		}
	}
}
