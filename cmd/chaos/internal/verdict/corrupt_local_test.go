package verdict

import (
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// executionOf finds an execution.
func (d *drawn) executionOf(run, step string, attempt int) *ledger.Execution {
	d.t.Helper()
	return d.execution(func(e *ledger.Execution) bool { return e.Run == run && e.Step == step && e.Attempt == attempt })
}

// valueOf finds a value of a run, by its epoch.
func (d *drawn) valueOf(run string, epoch uint64) *ledger.Value {
	d.t.Helper()
	return pick(d, d.evidence.Values, func(v *ledger.Value) bool { return v.Run == run && v.Epoch == epoch })
}

func (d *drawn) fault(kind Kind, target string) *Fault {
	d.t.Helper()
	return pick(d, d.faults, func(f *Fault) bool { return f.Kind == kind && f.Target == target })
}

// eventOf finds an event of a run.
func (d *drawn) eventOf(run string, match func(*messages.Event) bool) spot {
	d.t.Helper()
	return d.event(func(r *Run, ev *messages.Event) bool { return r.ID == run && match(ev) })
}

func micro(t time.Time, d time.Duration) int64 { return t.Add(d).UnixMicro() }

// localCorruptions break the rules about who acts and about local state.
var localCorruptions = []corruption{
	{RuleOverlap, "a process that is cut off goes on", func(d *drawn) {
		e := d.executionOf("lease", "a", 1)
		e.Ticks = append(e.Ticks, micro(d.executionOf("lease", "a", 2).Begin, time.Millisecond))
	}},
	{RuleOverlap, "a step begins where the run is no more", func(d *drawn) {
		e := d.executionOf("lease", "a", 1)
		e.Begin, e.Ticks = d.executionOf("lease", "a", 2).Begin.Add(time.Millisecond), nil
	}},
	{RuleOverlap, "a process that was frozen acts for long after", func(d *drawn) {
		e := d.executionOf("thawed", "a", 1)
		e.Ticks = append(e.Ticks, micro(e.Canceled, 2*thawFor))
	}},
	{RuleOverlap, "it was another process that was frozen", func(d *drawn) {
		f := pick(d, d.faults, func(f *Fault) bool { return f.Kind == WorkerStop && f.PID != 0 })
		f.PID = d.evidence.Processes[1].ID
	}},
	{RuleOverlap, "a step of a NONE run goes on where it was lost", func(d *drawn) {
		e := d.executionOf("killed-STICKY_NONE", "b", 1)
		e.Ticks = append(e.Ticks, micro(d.executionOf("killed-STICKY_NONE", "b", 2).Begin, time.Millisecond))
	}},
	{RuleRebuild, "a step that needs state finds none", func(d *drawn) {
		e := d.executionOf("rebuilt", pickOne(d, "a", "b"), 2)
		e.Failed = true
	}},
	{RuleRebuild, "a step runs before its state is rebuilt", func(d *drawn) {
		e := d.executionOf("rebuilt", "b", 2)
		e.End = d.executionOf("rebuilt", "c", 1).Begin.Add(time.Second)
	}},
	{RuleRebuild, "lost state is not built again", func(d *drawn) {
		d.executionOf("found-lost", "a", 2).Begin = d.executionOf("found-lost", "a", 1).Begin
	}},
	{RuleRebuild, "a rebuild is not told so", func(d *drawn) { d.executionOf("rebuilt", "a", 2).Rebuild = false }},
	{RuleRebuild, "a step is told that it is a rebuild, and is none", func(d *drawn) { d.executionOf("rebuilt", "a", 1).Rebuild = true }},
	{RuleRebuild, "a step is rebuilt that builds nothing", func(d *drawn) { d.of("rebuilt").Want.Builds = []string{"b"} }},
	{RuleRebuild, "a step is rebuilt for one that needs nothing", func(d *drawn) { d.of("rebuilt").Want.Needs = []string{"b"} }},
	{RuleRebuild, "a rebuild of another epoch", func(d *drawn) {
		d.eventOf("rebuilt", func(ev *messages.Event) bool { return ev.GetRebuildBegan() != nil }).event.GetRebuildBegan().Epoch = 1
	}},
	{RuleRebuild, "a step is rebuilt that has worked", func(d *drawn) {
		s := d.eventOf("found-lost", func(ev *messages.Event) bool { return ev.GetAttemptLost() != nil })
		s.event.GetAttemptLost().Reason = messages.Reason_REASON_WORKER_LOST
	}},
	{RuleRebuild, "a rebuild ends that did not begin", func(d *drawn) {
		s := d.eventOf("rebuilt", func(ev *messages.Event) bool { return ev.GetStepSucceeded() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepRebuilt{StepRebuilt: &messages.StepRebuilt{Step: s.event.GetStepSucceeded().Step, Attempt: 1}}})
	}},
	{RuleRebuild, "a step is given what a rebuild returned", func(d *drawn) {
		s := d.eventOf("rebuilt", func(ev *messages.Event) bool { return ev.GetStepSucceeded().GetStep() == "c" })
		k, e := s.event.GetStepSucceeded(), d.executionOf("rebuilt", "c", 1)
		e.Note = strings.Replace(e.Note, d.executionOf("rebuilt", "b", 1).ID, d.executionOf("rebuilt", "b", 2).ID, 1)
		k.Output = []byte(e.Note)
	}},
	{RuleRecordedTwice, "a rebuild is recorded as a result", func(d *drawn) {
		s := d.eventOf("rebuilt", func(ev *messages.Event) bool { return ev.GetStepRebuilt().GetStep() == "a" })
		s.event.Kind = &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 2, Output: []byte("{}")}}
	}},
	{RuleRepeated, "a rebuild without a word of it", func(d *drawn) {
		d.eventOf("rebuilt", func(ev *messages.Event) bool { return ev.GetRebuildBegan() != nil }).remove()
	}},
	{RuleRepeated, "a step did not say that its state is lost", func(d *drawn) {
		e := d.executionOf("found-lost", "b", 1)
		e.Note = "oh"
	}},
	{RuleHandoff, "other state arrives than was given", func(d *drawn) {
		v := d.valueOf("handed", 2)
		v.Received = strings.Replace(v.Received, `:2`, `:1`, 1)
	}},
	{RuleHandoff, "state of another run arrives", func(d *drawn) {
		for _, v := range []*ledger.Value{d.valueOf("handed", 2)} {
			v.Received = strings.Replace(v.Received, "handed", "other", 1)
		}
	}},
	{RuleHandoff, "state arrives that nobody gave", func(d *drawn) { d.valueOf("rebuilt", 2).Received = `{"run":"rebuilt","version":1}` }},
	{RuleHandoff, "the history has what nobody gave", func(d *drawn) { d.valueOf("handed", 1).Gifts = nil }},
	{RuleHandoff, "state is handed on as it came, and was used", func(d *drawn) {
		v := *d.valueOf("handed-on", 3)
		w := d.of("handed-on").Entries
		for _, e := range w {
			for _, ev := range e.Events {
				if b := ev.GetBound(); b.GetEpoch() == 2 {
					v.Worker, v.Incarnation = b.Worker.WorkerId, b.Worker.Incarnation
				}
			}
		}
		v.ID, v.Epoch, v.Uses = "between", 2, nil
		d.evidence.Values = append(d.evidence.Values, v)
	}},
	{RuleRebuild, "state is not handed on", func(d *drawn) {
		d.eventOf("handed-on", func(ev *messages.Event) bool { return ev.GetStateHandedOff().GetEpoch() == 2 }).event.GetStateHandedOff().States = nil
	}},
	{RuleHandoff, "old state is given", func(d *drawn) {
		v := d.valueOf("handed", 1)
		v.Gifts[0].Data = strings.Replace(v.Gifts[0].Data, `:2`, `:1`, 1)
	}},
	{RuleHandoff, "the giver goes on with a step", func(d *drawn) {
		e := *d.executionOf("handed", "b", 1)
		e.Begin = d.valueOf("handed", 1).Gifts[0].At.Add(time.Millisecond)
		d.evidence.Executions = append(d.evidence.Executions, e)
	}},
	{RuleHandoff, "the giver goes on with its state", func(d *drawn) {
		v := d.valueOf("handed", 1)
		v.Uses[0].At = v.Gifts[0].At.Add(time.Millisecond)
	}},
	{RuleHandoff, "state of another epoch is handed off", func(d *drawn) {
		d.eventOf("handed", func(ev *messages.Event) bool { return ev.GetStateHandedOff() != nil }).event.GetStateHandedOff().Epoch = 2
	}},
	{RuleHandoff, "state is handed off while a step runs", func(d *drawn) {
		s := d.eventOf("handed", func(ev *messages.Event) bool { return ev.GetStepSucceeded().GetStep() == "b" })
		s.remove()
	}},
	{RuleDrain, "a run is bound to a worker that drains", func(d *drawn) {
		d.setDrain("w3", d.of("handed").Entries)
	}},
	{RuleDrain, "a NONE step begins on a worker that drains", func(d *drawn) {
		d.setDrain("w1", d.of("none-undrained").Entries)
	}},
	{RuleDrain, "a step goes on after the deadline", func(d *drawn) {
		e := d.executionOf("hard-drained", "a", 1)
		e.Ticks = append(e.Ticks, micro(e.Canceled, cutShort+100*time.Millisecond))
	}},
	{RuleSoftMoved, "a run comes back at once to a worker that drains", func(d *drawn) {
		s := d.eventOf("came-back", func(ev *messages.Event) bool { return ev.GetBindingLost() != nil })
		s.run.Entries[s.entry].At = s.run.Entries[s.entry].At.Add(time.Second)
	}},
	{RuleFalseLoss, "a worker that drains is left, and does not", func(d *drawn) {
		d.faults = slices.DeleteFunc(d.faults, func(f Fault) bool { return f.Kind == WorkerDrain && f.Target == "w1" })
	}},
	{RuleSameID, "a second process is let in", func(d *drawn) {
		f := d.fault(WorkerDouble, "w2")
		for f.PID == 0 {
			f = d.fault(WorkerDouble, "w2")
		}
		p := pick(d, d.evidence.Processes, func(p *ledger.Process) bool { return p.ID == f.PID })
		p.Ready = p.Begin.Add(100 * time.Millisecond)
	}},
	{RuleSameID, "a second process is let in, and the first does nothing", func(d *drawn) {
		f := pick(d, d.faults, func(f *Fault) bool { return f.Kind == WorkerDouble && f.PID != 0 })
		p := pick(d, d.evidence.Processes, func(p *ledger.Process) bool { return p.ID == f.PID })
		p.Ready = f.Until
		for _, step := range []string{"a", "b"} {
			d.executionOf("undoubled", step, 1).Ticks = nil
		}
	}},
	{RuleSameID, "a process goes on while its successor works", func(d *drawn) {
		e := d.executionOf("undoubled", "b", 1)
		e.Ticks = append(e.Ticks, micro(d.executionOf("undoubled", "c", 1).Begin, time.Millisecond))
	}},
	{RuleLocal, "a value is released twice", func(d *drawn) {
		v := pick(d, d.evidence.Values, func(v *ledger.Value) bool { return len(v.Releases) > 0 })
		v.Releases = append(v.Releases, v.Releases[0])
	}},
	{RuleLocal, "a value is released while it is used", func(d *drawn) {
		v := pick(d, d.evidence.Values, func(v *ledger.Value) bool { return len(v.Uses) > 0 })
		e := pick(d, d.evidence.Executions, func(e *ledger.Execution) bool { return e.ID == v.Uses[0].Execution })
		v.Releases[0].At = e.End.Add(-2 * slack)
	}},
	{RuleLocal, "a value is used after its release", func(d *drawn) {
		v := pick(d, d.evidence.Values, func(v *ledger.Value) bool { return len(v.Uses) > 0 && v.Run != "" })
		e := pick(d, d.evidence.Executions, func(e *ledger.Execution) bool { return e.ID == v.Uses[0].Execution })
		v.Uses[0].At, e.End = v.Releases[0].At.Add(time.Millisecond), time.Time{}
	}},
	{RuleLocal, "a run gets the value of another run", func(d *drawn) {
		v := pick(d, d.evidence.Values, func(v *ledger.Value) bool { return v.Run == "rebuilt" || v.Run == "found-lost" })
		v.Uses[0].Execution = d.executionOf("plain", "a", 1).ID
	}},
	{RuleLocal, "a run gets its value of an earlier epoch", func(d *drawn) {
		d.valueOf("handed", 1).Uses[0].Execution = d.executionOf("handed", "c", 1).ID
	}},
	{RuleLocal, "a run gets a value of another key", func(d *drawn) { d.of("shared-2").Want.Key = "other" }},
	{RuleLocal, "a value is bound twice", func(d *drawn) {
		v := *d.valueOf("handed", pickOne(d, uint64(1), 2))
		v.ID, v.Built, v.Uses, v.Gifts = "again", v.Built.Add(time.Millisecond), nil, nil
		d.evidence.Values = append(d.evidence.Values, v)
	}},
	{RuleLocal, "a version comes twice", func(d *drawn) { d.valueOf("handed", 1).Uses[1].Version = 1 }},
	{RuleLocal, "a value is released for the end of a run that goes on", func(d *drawn) { d.valueOf("rebuilt", 1).Releases[0].Why = releaseEnded }},
	{RuleLocal, "a value is released for a move of a run that stays", func(d *drawn) {
		v := d.valueOf("found-lost", 1)
		for v.Releases[0].Why != releaseLost {
			v = d.valueOf("found-lost", 1)
		}
		v.Releases[0].Why = releaseRebound
	}},
	{RuleLocal, "a value is released as lost, and nobody said so", func(d *drawn) { d.valueOf("handed", 1).Releases[0].Why = releaseLost }},
	{RuleLocal, "a private value is evicted", func(d *drawn) { d.valueOf("handed", 1).Releases[0].Why = releaseEvicted }},
	{RuleLocal, "a value is never released", func(d *drawn) {
		v := pick(d, d.evidence.Values, func(v *ledger.Value) bool { return v.Run == "found-lost" && v.Releases[0].Why == releaseEnded })
		v.Releases = nil
	}},
	{RuleLocal, "a value is of another kind", func(d *drawn) { d.valueOf("rebuilt", 1).Local = "other" }},
}

// setDrain lets a worker drain from long before the entries until after them.
func (d *drawn) setDrain(worker string, entries []Entry) {
	from, to := entries[0].At.Add(-2*drainSettle), entries[len(entries)-1].At
	for _, p := range d.evidence.Processes {
		if p.Worker == worker && p.Begin.Before(from) {
			d.faults = append(d.faults, Fault{Kind: WorkerDrain, Target: worker, At: from, Acked: from, Lifted: to, Until: to})
		}
	}
}
