package run

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// The pause after a refusal doubles up to a limit, and ends with the drain.
func TestRefusalsInARow(t *testing.T) {
	var l leaving
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		l.refuse(scriptEpoch)
		if got := l.refusedUntil(2 * time.Second).Sub(scriptEpoch); got != want*time.Second {
			t.Fatalf("after %d refusals: %v, want %v", l.refusals, got, want*time.Second)
		}
	}
	if !l.draining || !l.refused {
		t.Fatal("who refuses drains")
	}
	l.undrained()
	if l.draining || l.refused || l.refusals > 0 {
		t.Fatalf("after the drain: %+v", l)
	}
}

func TestMoveEnds(t *testing.T) {
	var l leaving
	if l.endMove(scriptEpoch) != nil || !l.moveRetryAt.IsZero() || l.under() {
		t.Fatal("there is no move to end")
	}
	to := &messages.Placed{GrantId: 7}
	l.move = &move{to: to, since: scriptEpoch}
	var next earliest
	if l.timers(&next, &Config{MoveFor: time.Second}); !next.at.Equal(scriptEpoch.Add(time.Second)) || !l.under() {
		t.Fatalf("the move ends at %v", next.at)
	}
	retry := scriptEpoch.Add(time.Minute)
	if l.endMove(retry) != to || l.under() || !l.moveRetryAt.Equal(retry) {
		t.Fatalf("after the move: %+v", l)
	}
}

// A hand-off has no time before it is asked for; then it is asked for again, and
// given up.
func TestHandOffTimes(t *testing.T) {
	cfg := &Config{HandoffFor: 3 * time.Second, ResendAfter: 2 * time.Second}
	l := leaving{handOff: &handOff{}}
	var none earliest
	if l.timers(&none, cfg); !none.at.IsZero() {
		t.Fatalf("due at %v before it was asked for", none.at)
	}
	l.handOff.since, l.handOff.sentAt = scriptEpoch, scriptEpoch
	for _, want := range []time.Duration{2, 3} {
		var next earliest
		if l.timers(&next, cfg); next.at.Sub(scriptEpoch) != want*time.Second {
			t.Fatalf("due at %v, want %v", next.at.Sub(scriptEpoch), want*time.Second)
		}
		l.handOff.sentAt = l.handOff.sentAt.Add(2 * time.Second)
	}
	if l.forget(); l.under() {
		t.Fatal("a new binding begins with the hand-off of the last")
	}
}

func TestGoneForAWhile(t *testing.T) {
	g, w := goneProcesses{}, workerRef("w1")
	g.add(w, scriptEpoch)
	if !g.has(w, scriptEpoch.Add(goneFor-1)) || g.has(w, scriptEpoch.Add(goneFor)) || g.has(workerRef("w2"), scriptEpoch) {
		t.Fatal("w1, and nothing else, is gone for a while")
	}
	if g.back(w); g.has(w, scriptEpoch) {
		t.Fatal("w1 is back")
	}
}
