package main

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
)

// With one slot, a parent with a sticky child on the same worker completes: a
// step that waits for a child holds no slot.
func TestFailureOneSlotParentAndChild(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	r.worker("w1", 1)
	run := r.start(chainHard, play{Spawn: chainHard, Sticky: true, Child: &play{}})
	got := r.ends(run)
	if len(got.GetChildren()) != 1 {
		t.Fatalf("children: %v", got.GetChildren())
	}
	child := r.client.Run(got.GetChildren()[0].GetRunId())
	r.ends(child)
	r.ran(run, "a#1 w1 1", "b#1 w1 1", "c#1 w1 1")
	r.ran(child, "a#1 w1 1", "b#1 w1 1", "c#1 w1 1")
	r.bound(child, "1 w1 child")
}

// The same when the worker dies while the parent waits: its step is called
// again and gets its child back.
func TestFailureOneSlotParentAndChildKilled(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	w1 := r.worker("w1", 1)
	run := r.start(chainHard, play{Spawn: chainHard, Sticky: true, Child: &play{Hold: []string{"b#1"}}})
	held := r.beganAs("the child's step b to begin", func(n note) bool { return n.Run != run.ID() && n.Step == "b" })
	w1.kill()
	r.worker("w1", 1)
	got := r.ends(run)
	if len(got.GetChildren()) != 1 || got.GetChildren()[0].GetRunId() != held.Run {
		t.Errorf("children %v, want %s alone", got.GetChildren(), held.Run)
	}
	r.ran(run, "a#1 w1 1", "a#2 w1 2", "b#1 w1 2", "c#1 w1 2")
	r.ran(r.client.Run(held.Run), "a#1 w1 1", "b#1 w1 1", "b#2 w1 2", "c#1 w1 2")
}

// halfBegun starts a SOFT run of two roots of which one runs and the other waits
// for a slot, and returns it with the call of the first.
func (r *rig) halfBegun() (fan *sdk.Run, first *performance) {
	r.t.Helper()
	fan = r.start(fanSoft, play{Hold: []string{"a", "b"}})
	first = r.beganAs("a root of the fan to begin", func(n note) bool { return n.Run == fan.ID() })
	return fan, first
}

// A SOFT run waits for its busy worker, ahead of runs that are not bound there.
func TestFailureBoundRunGoesFirst(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	r.worker("w1", 1)
	fan, first := r.halfBegun()
	fresh := r.start(chainSoft, play{})
	first.release()
	second := r.beganAs("the fan's other root to begin", func(n note) bool { return n.Run == fan.ID() && n.Step != first.Step })
	if e := r.executions(fresh.ID()); len(e) > 0 {
		t.Errorf("the new run went first: %+v", e)
	}
	second.release()
	r.ends(fan)
	r.ends(fresh)
	r.unharmed(fan)
	r.repeated(nil)
}

// After its patience a SOFT run leaves its busy worker for one with a free slot,
// and not before there is one.
func TestFailureBusyPatience(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	r.worker("w1", 2)
	run := r.start(restless, play{Hold: []string{"a"}})
	held := r.began(run.ID(), "a", 1)
	// One root takes the second slot, the other one the first slot as soon as
	// it is free, ahead of step b.
	fan, first := r.halfBegun()
	held.release()
	second := r.beganAs("the fan's other root to begin", func(n note) bool { return n.Run == fan.ID() && n.Step != first.Step })
	r.pass(time.Second)
	if e := r.executions(run.ID()); len(e) != 1 {
		t.Errorf("the run went on without a slot: %+v", e)
	}
	w2 := r.launch("w2", 1)
	moved := r.beganAs("step b to begin", func(n note) bool { return n.Run == run.ID() && n.Step == "b" })
	t.Logf("start of a worker with a free slot to the start of the step that waits: %v", moved.At.Sub(w2.launch))
	r.ends(run)
	first.release()
	second.release()
	r.ends(fan)
	r.bound(run, "1 w1 first", "2 w2 worker busy")
	r.repeated(nil)
	if n := len(r.executions(run.ID())); n != 3 {
		t.Errorf("%d executions%s", n, r.story(run))
	}
}
