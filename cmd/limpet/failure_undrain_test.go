package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// command is the limpet command with the rig's server.
func (r *rig) command(line string) result {
	return execute(r.ctx, map[string]string{"LIMPET_ADDRESS": r.api}, strings.Fields(line)...)
}

// done is a command that has to succeed.
func (r *rig) done(line string) string {
	r.t.Helper()
	got := r.command(line)
	if got.code != exitOK {
		r.t.Fatalf("limpet %s: exit %d\n%s%s", line, got.code, got.out, got.err)
	}
	return got.out
}

// inState waits until the server has a worker in a state.
func (r *rig) inState(worker, state string) {
	r.t.Helper()
	r.look(fmt.Sprintf("worker %s to be %s", worker, state), func() bool {
		w, err := r.client.Worker(r.ctx, worker)
		return err == nil && w.GetState() == state
	})
}

// An operator drains a worker under load: SOFT runs move at their next step,
// HARD runs stay to their end, what is new goes elsewhere, nothing is repeated,
// and the process stays. Undrained it takes on runs again.
func TestFailureWorkerIsDrainedAndBack(t *testing.T) {
	r := newRig(t, "local")
	r.server()
	w1 := r.worker("w1", 12)
	var soft, hard, fresh []*sdk.Run
	var held []*performance
	for range 6 {
		soft = append(soft, r.start(chainSoft, play{Hold: []string{"b"}}))
	}
	for range 3 {
		hard = append(hard, r.start(chainHard, play{Hold: []string{"b"}}))
	}
	for _, run := range append(append([]*sdk.Run{}, soft...), hard...) {
		held = append(held, r.began(run.ID(), "b", 1))
	}
	r.worker("w2", 12)

	if out := r.done("worker drain w1 --deadline 1m"); !strings.Contains(out, "9 running and 0 queued steps, 6 SOFT and 3 HARD bound runs") {
		t.Errorf("the drain says %q", out)
	}
	if out := r.done("worker list"); !strings.Contains(out, "draining 5") && !strings.Contains(out, "draining 1m0s") {
		t.Errorf("the list has no time left:\n%s", out)
	}
	r.done("worker drain w1 --deadline 2m") // again, and longer
	waited := make(chan result, 1)
	go func() { waited <- r.command("worker drain w1 --deadline 2m --wait --json") }()
	for _, workflow := range []string{chainNone, chainSoft, chainHard} {
		for range 5 {
			fresh = append(fresh, r.start(workflow, play{}))
		}
	}
	for _, run := range fresh {
		r.ends(run)
	}
	for _, p := range held {
		if p.was("canceled") {
			t.Errorf("%s#%d of %s was canceled", p.Step, p.Attempt, p.Workflow)
		}
		p.release()
	}
	for _, run := range soft {
		r.ends(run)
		r.ran(run, "a#1 w1 1", "b#1 w1 1", "c#1 w2 2")
		r.bound(run, "1 w1 first", "2 w2 worker draining")
	}
	for _, run := range hard {
		r.ends(run)
		r.ran(run, "a#1 w1 1", "b#1 w1 1", "c#1 w1 1")
	}
	for _, run := range fresh {
		for _, e := range r.executions(run.ID()) {
			if e.Worker != "w2" || e.Attempt != 1 {
				t.Errorf("%s#%d of a run that was started during the drain ran on %s", e.Step, e.Attempt, e.Worker)
			}
		}
	}
	got := <-waited
	var w struct {
		State                string
		BoundSoft, BoundHard int
	}
	if err := json.Unmarshal([]byte(got.out), &w); err != nil || got.code != exitOK || w.State != api.WorkerDraining || w.BoundSoft+w.BoundHard != 0 {
		t.Errorf("the wait for the drain: %+v", got)
	}
	if out := r.done("run get " + soft[0].ID()); !strings.Contains(out, "worker draining") {
		t.Errorf("the run shows\n%s", out)
	}

	// Both drain: a run waits, and goes on where somebody is back.
	r.done("worker drain w2")
	waits := r.start(chainHard, play{})
	r.look("the run to wait", func() bool {
		res, err := waits.Get(r.ctx)
		return err == nil && strings.Contains(res.GetRun().GetWaitingFor(), "draining")
	})
	r.done("worker undrain w1")
	r.ends(waits)
	r.ran(waits, "a#1 w1 1", "b#1 w1 1", "c#1 w1 1")
	select {
	case <-w1.gone:
		t.Error("the drained process has ended")
	default:
	}
	for _, id := range []string{"w2", "w2", "w1"} {
		r.done("worker undrain " + id)
		r.inState(id, "up")
	}
}

// At the deadline of a drain what runs is canceled, and HARD runs wait until the
// worker is undrained. A worker that is killed while it drains is lost.
func TestFailureDrainMeetsItsDeadlineAndDeath(t *testing.T) {
	r := newRig(t, "local")
	r.server()
	w1 := r.worker("w1", 4)
	soft, hard := r.start(chainSoft, play{Hold: []string{"b#1"}}), r.start(chainHard, play{Hold: []string{"b#1", "b#2"}})
	held := r.began(soft.ID(), "b", 1)
	r.began(hard.ID(), "b", 1)
	r.worker("w2", 4)
	if got := r.command("worker drain w1 --deadline 700ms --wait"); got.code != exitTimeout || !strings.Contains(got.err, "w1 is not empty") {
		t.Errorf("a drain whose deadline passes: %+v", got)
	}
	held.follows("canceled")
	r.ends(soft)
	r.ran(soft, "a#1 w1 1", "b#1 w1 1", "b#2 w2 2", "c#1 w2 2")
	r.look("the HARD run to wait", func() bool {
		res, err := hard.Get(r.ctx)
		return err == nil && strings.Contains(res.GetRun().GetWaitingFor(), "draining")
	})
	r.done("worker undrain w1")
	again := r.beganAs("b of the HARD run to begin again", func(n note) bool { return n.Run == hard.ID() && n.Step == "b" && n.Attempt > 1 })
	if again.Worker != "w1" || again.Epoch != 1 {
		t.Errorf("it began as %+v", again.note)
	}

	r.done("worker drain w1")
	w1.kill()
	r.inState("w1", "gone")
	if w, err := r.client.Worker(r.ctx, "w1"); err != nil || w.GetStateReason() != messages.Reason_REASON_WORKER_LOST {
		t.Errorf("the killed worker: %v, %v", w, err)
	}
	if got := r.command("worker undrain w1"); got.code != exitPrecondition {
		t.Errorf("undrain of a worker that is gone: %+v", got)
	}
	r.launch("w1", 4)
	r.ends(hard)
	if got := r.command("worker drain nobody"); got.code != exitNotFound {
		t.Errorf("drain of nobody: %+v", got)
	}
}

// The drain lives in the worker: a server that dies and comes back knows of it.
func TestFailureServerDiesDuringADrain(t *testing.T) {
	r := newRig(t, "lan")
	server := r.server()
	r.worker("w1", 4)
	hard := r.start(chainHard, play{Hold: []string{"b"}})
	held := r.began(hard.ID(), "b", 1)
	r.done("worker drain w1 --deadline 5m")
	server.kill()
	r.server()
	r.inState("w1", "draining")
	soft := r.start(chainSoft, play{})
	held.release()
	r.ends(hard)
	r.unharmed(hard)
	r.look("the new run to wait", func() bool {
		res, err := soft.Get(r.ctx)
		return err == nil && strings.Contains(res.GetRun().GetWaitingFor(), "draining")
	})
	began := time.Now()
	r.done("worker undrain w1")
	r.ends(soft)
	t.Logf("undrain to the end of the run that waited: %v", time.Since(began))
}
