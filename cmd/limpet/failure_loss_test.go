package main

import (
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// A worker that is killed takes its attempts with it: those of SOFT runs and of
// runs that are not sticky go on elsewhere, a HARD run waits for it.
func TestFailureWorkerKilled(t *testing.T) {
	r := newRig(t, "local")
	r.server()
	w1 := r.worker("w1", 10)
	hold := play{Hold: []string{"b"}}
	soft, none, hard := r.start(chainSoft, hold), r.start(chainNone, hold), r.start(chainHard, hold)
	for _, run := range []string{soft.ID(), none.ID(), hard.ID()} {
		r.began(run, "b", 1)
	}
	r.worker("w2", 10)

	killed := w1.kill()
	atSoft, atNone := r.began(soft.ID(), "b", 2), r.began(none.ID(), "b", 2)
	t.Logf("SIGKILL to the start of the lost step elsewhere: SOFT %v, NONE %v", atSoft.At.Sub(killed), atNone.At.Sub(killed))
	if !atSoft.StateNew || atSoft.StateReason != "worker lost" || atSoft.PrevWorker != "w1" {
		t.Errorf("the SOFT step was told %+v", atSoft.note)
	}
	r.happens(hard, "the loss of the binding", func(e *messages.Event) bool { return e.GetBindingLost() != nil })
	atNone.release()
	r.ends(none)
	got, err := hard.Get(r.ctx)
	if err != nil || got.GetRun().GetWaitingFor() == "" {
		t.Errorf("the pending HARD run: %v, %v", got.GetRun(), err)
	}
	t.Logf("HARD: %s", got.GetRun().GetWaitingFor())

	back := r.launch("w1", 10)
	atHard := r.began(hard.ID(), "b", 2)
	up := back.says("ready")
	t.Logf("restart of the process to the start of its pending HARD step: %v", atHard.At.Sub(back.launch))
	if !atHard.StateNew || atHard.StateReason != "worker restarted" || atHard.Incarnation != up.Incarnation {
		t.Errorf("the HARD step was told %+v by process %s", atHard.note, up.Incarnation)
	}
	atHard.release()
	r.ends(hard)
	atSoft.release()
	r.ends(soft)

	r.ran(soft, "a#1 w1 1", "b#1 w1 1", "b#2 w2 2", "c#1 w2 2")
	r.bound(soft, "1 w1 first", "2 w2 worker lost")
	r.ran(none, "a#1 w1 0", "b#1 w1 0", "b#2 w2 0", "c#1 "+none0(r, none.ID()))
	r.ran(hard, "a#1 w1 1", "b#1 w1 1", "b#2 w1 2", "c#1 w1 2")
	r.bound(hard, "1 w1 first", "2 w1 worker restarted")
}

// none0 is where step c of a run that is not sticky ran: anywhere.
func none0(r *rig, run string) string { return r.began(run, "c", 1).Worker + " 0" }
