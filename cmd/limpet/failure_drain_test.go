package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// A worker that is told to stop lets its steps end; SOFT runs go on elsewhere
// at their next step, what waited in its queue too, and HARD runs are served to
// their end.
func TestFailureWorkerDrains(t *testing.T) {
	r := newRig(t, "lan")
	r.server()
	w1 := r.worker("w1", 3)
	soft := r.start(chainSoft, play{Hold: []string{"b"}})
	hard := r.start(chainHard, play{Hold: []string{"b"}})
	softHeld, hardHeld := r.began(soft.ID(), "b", 1), r.began(hard.ID(), "b", 1)
	fan := r.start(fanSoft, play{Hold: []string{"a#1", "b#1"}})
	root := r.beganAs("a root of the fan to begin", func(n note) bool { return n.Run == fan.ID() })
	r.worker("w2", 3)

	w1.signal(syscall.SIGTERM)
	w1.says("draining")
	r.happens(fan, "the refusal of the root that waits", func(e *messages.Event) bool { return e.GetAttemptRevoked() != nil })
	// A run leaves once it has heard of the drain.
	r.inState("w1", "draining")
	for _, p := range []*performance{softHeld, hardHeld, root} {
		if p.was("canceled") {
			t.Errorf("%s#%d of %s was canceled", p.Step, p.Attempt, p.Workflow)
		}
		p.release()
	}
	// The root that waited in the queue runs elsewhere, once the other one has
	// ended where it was: there is one binding at a time.
	other := r.beganAs("the fan's other root to begin", func(n note) bool { return n.Run == fan.ID() && n.Step != root.Step })
	if other.Worker != "w2" || other.Epoch != 2 {
		t.Errorf("the root that waited began as %+v", other.note)
	}
	for _, run := range []*sdk.Run{soft, hard, fan} {
		r.ends(run)
	}
	w1.ended(exitOK, "")
	r.ran(soft, "a#1 w1 1", "b#1 w1 1", "c#1 w2 2")
	r.bound(soft, "1 w1 first", "2 w2 worker draining")
	r.ran(hard, "a#1 w1 1", "b#1 w1 1", "c#1 w1 1")
	r.bound(hard, "1 w1 first")
	r.bound(fan, "1 w1 first", "2 w2 worker draining")
	for _, run := range []*sdk.Run{soft, hard, fan} {
		for _, e := range r.history(run) {
			if e.GetAttemptLost() != nil {
				t.Errorf("run %s: %v%s", run.ID(), e, r.story(run))
			}
		}
	}
}

// When the grace is over, and at a second signal, the process ends with what it
// has: that is lost and goes on elsewhere, HARD runs wait.
func TestFailureWorkerDrainIsCutShort(t *testing.T) {
	for name, tc := range map[string]struct {
		grace time.Duration
		cut   func(*process)
		code  int
	}{
		"grace":          {500 * time.Millisecond, func(p *process) { p.ended(exitPrecondition, messages.CodeWorkerLost) }, exitPrecondition},
		"second SIGTERM": {20 * time.Second, func(p *process) { p.signal(syscall.SIGTERM) }, -1},
		"then SIGINT":    {20 * time.Second, func(p *process) { p.signal(syscall.SIGINT) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "local")
			r.server()
			w1 := r.worker("w1", 4, func(p *part) { p.Grace = tc.grace })
			// Deaf, so that only the end of the process ends it.
			hold := play{Hold: []string{"b#1"}, Deaf: true}
			soft, hard := r.start(chainSoft, hold), r.start(chainHard, hold)
			r.began(soft.ID(), "b", 1)
			r.began(hard.ID(), "b", 1)
			r.worker("w2", 4)
			told := w1.signal(syscall.SIGTERM)
			w1.says("draining")
			tc.cut(w1)
			if code, _ := w1.exit(); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			moved := r.began(soft.ID(), "b", 2)
			t.Logf("SIGTERM to the start of the SOFT step elsewhere: %v", moved.At.Sub(told))
			r.ends(soft)
			r.ran(soft, "a#1 w1 1", "b#1 w1 1", "b#2 w2 2", "c#1 w2 2")
			r.launch("w1", 4)
			r.ends(hard)
			r.ran(hard, "a#1 w1 1", "b#1 w1 1", "b#2 w1 2", "c#1 w1 2")
		})
	}
}
