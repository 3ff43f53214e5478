package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
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

// A worker that is frozen beyond the verdict has lost its SOFT runs when it
// wakes, and what it still says about them is refused; a HARD run has waited
// for just this process. As the lease of the process has ended, another one might
// have taken its place: the attempt is canceled, and made again.
func TestFailureWorkerFrozen(t *testing.T) {
	r := newRig(t, "local")
	r.server()
	w1 := r.worker("w1", 10)
	// Deaf: the step goes on though its context ends, and has a late result.
	soft := r.start(chainSoft, play{Hold: []string{"b"}, Deaf: true})
	hard := r.start(chainHard, play{Hold: []string{"b"}})
	atW1, atHard := r.began(soft.ID(), "b", 1), r.began(hard.ID(), "b", 1)
	r.worker("w2", 10)

	frozen := w1.signal(syscall.SIGSTOP)
	atW2 := r.began(soft.ID(), "b", 2)
	t.Logf("SIGSTOP to the start of the lost step elsewhere: %v", atW2.At.Sub(frozen))
	r.happens(hard, "the loss of the binding", func(e *messages.Event) bool { return e.GetBindingLost() != nil })
	thawed := w1.signal(syscall.SIGCONT)
	canceled := atW1.follows("canceled")
	t.Logf("SIGCONT to the end of the context of the step that had moved: %v (%s)", canceled.At.Sub(thawed), canceled.Cause)
	atW1.release()
	r.happens(soft, "the refusal of the late result", func(e *messages.Event) bool {
		f := e.GetResultRefused()
		return f.GetStep() == "b" && f.GetAttempt() == 1 && f.GetWorkerId() == "w1" && f.GetIncarnation() == atW1.Incarnation
	})
	atW2.release()
	r.ends(soft)
	restored := r.happens(hard, "the return of the binding", func(e *messages.Event) bool { return e.GetBindingRestored() != nil })
	t.Logf("SIGCONT to the return of the HARD run's binding: %v", restored.Sub(thawed))
	atHard.follows("canceled")
	// One that is sent before the server has heard of the new lease is dropped.
	again := r.beganAs("a later attempt of b", func(n note) bool { return n.Run == hard.ID() && n.Step == "b" && n.Attempt > 1 })
	if again.Incarnation != atHard.Incarnation || again.StateNew {
		t.Errorf("the HARD step was told %+v by process %s", again.note, again.Incarnation)
	}
	again.release()
	r.ends(hard)

	r.ran(soft, "a#1 w1 1", "b#1 w1 1", "b#2 w2 2", "c#1 w2 2")
	r.bound(soft, "1 w1 first", "2 w2 worker lost")
	r.ran(hard, "a#1 w1 1", "b#1 w1 1", fmt.Sprintf("b#%d w1 1", again.Attempt), "c#1 w1 1")
	r.bound(hard, "1 w1 first")
}

// A pause that is shorter than what the membership forgives moves nothing.
func TestFailureWorkerPaused(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	w1 := r.worker("w1", 10)
	hold := play{Hold: []string{"b"}}
	runs := []*sdk.Run{r.start(chainSoft, hold), r.start(chainNone, hold), r.start(chainHard, hold)}
	var held []*performance
	for _, run := range runs {
		held = append(held, r.began(run.ID(), "b", 1))
	}
	r.worker("w2", 10)
	w1.signal(syscall.SIGSTOP)
	r.pass(time.Second)
	w1.signal(syscall.SIGCONT)
	for _, p := range held {
		p.release()
	}
	for _, run := range runs {
		r.ends(run)
		r.unharmed(run)
	}
	r.repeated(nil)
	r.bound(runs[0], "1 w1 first")
	r.bound(runs[2], "1 w1 first")
}

// A step that kills its workers again and again is stopped before it has killed
// them all for good; others are served meanwhile.
func TestFailureDeadlyStep(t *testing.T) {
	r := newRig(t, "local")
	r.server()
	for _, id := range []string{"w1", "w2", "w3"} {
		r.keep(r.worker(id, 4), 4)
	}
	deadlyRun := r.start(deadly, play{Kill: []string{"b"}})
	var others []*sdk.Run
	for range 30 {
		others = append(others, r.start(chainNone, play{Quiet: true, Work: 50 * time.Millisecond}))
	}
	got, err := deadlyRun.Ended(r.ctx)
	if err != nil {
		t.Fatalf("%v%s", err, r.story(deadlyRun))
	}
	if f := got.GetRun().GetFailure(); got.GetRun().GetStatus() != sdk.Failed || f.GetCode() != string(messages.CodeWorkerLost) {
		t.Errorf("the deadly run: %v%s", got.GetRun(), r.story(deadlyRun))
	} else {
		t.Logf("the deadly run: %s", f.GetMessage())
	}
	lost := 0
	for _, e := range r.executions(deadlyRun.ID()) {
		if e.Step == "b" {
			lost++
		}
	}
	if lost != deadlyLosses {
		t.Errorf("the deadly step was executed %d times, want %d%s", lost, deadlyLosses, r.story(deadlyRun))
	}
	for _, run := range others {
		r.ends(run)
	}
}
