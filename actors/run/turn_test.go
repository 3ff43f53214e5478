package run

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// The first event gives the turn its time; actions wait for the entry, the
// acknowledgements behind all others.
func TestTurn(t *testing.T) {
	var turn turn
	if turn.any() {
		t.Fatal("a new turn has something to append")
	}
	turn.record(startedEvent, scriptEpoch)
	turn.record(endedEvent(messages.RunStatus_RUN_STATUS_SUCCEEDED), scriptEpoch.Add(time.Second))
	turn.acks = append(turn.acks, Reply{Token: "ack"})
	turn.after = append(turn.after, Reply{Token: "after"})
	turn.boundNow = true
	turn.close()
	if e := turn.entry(); len(e.Events) != 2 || e.AtUs != scriptEpoch.UnixMicro() || turn.any() {
		t.Fatalf("entry %v, more to append: %v", e, turn.any())
	}
	actions := turn.done(nil)
	if len(actions) != 2 || actions[0] != (Reply{Token: "after"}) || actions[1] != (Reply{Token: "ack"}) {
		t.Fatalf("actions %v", actions)
	}
	if turn.boundNow || len(turn.done(nil)) > 0 {
		t.Fatal("the next turn begins with what the last one had")
	}
}

func TestTurnIsFull(t *testing.T) {
	turn := turn{bytes: turnBytesMax}
	if turn.full() {
		t.Fatal("full at the limit")
	}
	turn.bytes++
	if !turn.full() {
		t.Fatal("not full beyond the limit")
	}
	if turn.entry(); turn.full() {
		t.Fatal("full after its entry was taken")
	}
}
