package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// A second process under the id of a worker that lives is refused, and the
// first goes on as if nothing had happened.
func TestFailureWorkerIDTaken(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	r.worker("w1", 4)
	run := r.start(chainHard, play{Hold: []string{"b"}})
	held := r.began(run.ID(), "b", 1)
	workers, err := r.client.ListWorkers(r.ctx)
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	second := r.launch("w1", 4)
	l := second.ended(exitPrecondition, messages.CodeWorkerIDTaken)
	t.Logf("refused after %v: %s", time.Since(second.launch), l.Message)
	if !strings.Contains(l.Message, workers[0].GetAddress()) {
		t.Errorf("%q does not name the address of the first process, %s", l.Message, workers[0].GetAddress())
	}
	if held.was("canceled") {
		t.Error("the step of the first process was canceled")
	}
	held.release()
	r.ends(run)
	r.ran(run, "a#1 w1 1", "b#1 w1 1", "c#1 w1 1")
	r.unharmed(run)
}

// If the first process is frozen, the second waits for the verdict and takes
// over; the first finds out when it wakes.
func TestFailureWorkerSuperseded(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	first := r.worker("w1", 4)
	hold := play{Hold: []string{"b"}}
	soft, hard := r.start(chainSoft, hold), r.start(chainHard, hold)
	softHeld, hardHeld := r.began(soft.ID(), "b", 1), r.began(hard.ID(), "b", 1)

	first.signal(syscall.SIGSTOP)
	second := r.launch("w1", 4)
	waiting := second.says("waiting")
	t.Logf("the second process waits: %s", waiting.Message)
	second.says("ready")
	t.Logf("and is admitted after %v", time.Since(second.launch))
	for _, run := range []*sdk.Run{soft, hard} {
		p := r.began(run.ID(), "b", 2)
		if !p.StateNew || p.Worker != "w1" || p.Incarnation == softHeld.Incarnation {
			t.Errorf("the step of the second process was told %+v", p.note)
		}
		p.release()
		r.ends(run)
	}
	thawed := first.signal(syscall.SIGCONT)
	for _, p := range []*performance{softHeld, hardHeld} {
		n := p.follows("canceled")
		t.Logf("SIGCONT to the end of a step's context: %v (%s)", n.At.Sub(thawed), n.Cause)
	}
	first.ended(exitPrecondition, messages.CodeWorkerSuperseded)
	for _, run := range []*sdk.Run{soft, hard} {
		r.ran(run, "a#1 w1 1", "b#1 w1 1", "b#2 w1 2", "c#1 w1 2")
	}
}

// A worker that is killed and started again at once does not wait for anybody's
// verdict, and HARD runs come back to it.
func TestFailureWorkerRestartedAtOnce(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	w1 := r.worker("w1", 4)
	run := r.start(chainHard, play{Hold: []string{"b"}})
	r.began(run.ID(), "b", 1)
	w1.kill()
	again := r.launch("w1", 4)
	p := r.began(run.ID(), "b", 2)
	took := p.At.Sub(again.launch)
	t.Logf("restart to the start of the HARD run's step: %v", took)
	if verdict, _ := cluster.PresetNamed(r.preset); took > verdict.Suspicion(2) {
		t.Errorf("the worker came up only after %v", took)
	}
	p.release()
	r.ends(run)
	r.ran(run, "a#1 w1 1", "b#1 w1 1", "b#2 w1 2", "c#1 w1 2")
}
