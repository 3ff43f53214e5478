package stream

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// TestABufferLosesNothingAndRepeatsNothing: whatever answers are lost and batches sent
// again, what a store that goes by numbers takes is what was written.
func TestABufferLosesNothingAndRepeatsNothing(t *testing.T) {
	texts := make([]byte, 1<<20)
	for i := range texts {
		texts[i] = byte(rand.Uint32())
	}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var b Buffer
		var written, stored [][]byte
		now := time.Unix(0, 0)
		for step := 0; step < 300 || !b.Empty(); step++ {
			now = now.Add(time.Duration(rng.IntN(30)) * time.Millisecond)
			piece := texts[rng.IntN(len(texts)/2):][:1+rng.IntN(200<<10)]
			if step < 300 && b.Room(len(piece)) {
				b.Add(now, piece)
				written = append(written, piece)
			}
			due := b.Due()
			if b.sent == 0 && (due.IsZero() || due.After(now)) {
				continue
			}
			first, pieces := b.Take(now)
			if int(first) > len(stored)+1 || len(pieces) == 0 {
				t.Fatalf("seed %d: %d pieces from %d on are sent, the store has %d", seed, len(pieces), first, len(stored))
			}
			if rng.IntN(4) == 0 {
				continue // the batch is lost
			}
			for i := len(stored) + 1 - int(first); i < len(pieces); i++ {
				stored = append(stored, pieces[i])
			}
			if rng.IntN(4) > 0 { // else the answer is
				b.Stored(uint64(len(stored)), 1<<30, 1<<30)
			}
		}
		if !slices.EqualFunc(stored, written, bytes.Equal) {
			t.Fatalf("seed %d: %d pieces are stored, %d were written", seed, len(stored), len(written))
		}
	}
}

// TestABufferIsBounded: what is beyond has no room, until something is stored; one piece
// has always.
func TestABufferIsBounded(t *testing.T) {
	var b Buffer
	now := time.Unix(0, 0)
	if !b.Room(messages.StreamBufferBytesMax + 1) {
		t.Error("an empty buffer has no room for one piece")
	}
	for range 4 {
		b.Add(now, make([]byte, messages.StreamBufferBytesMax/4))
	}
	if b.Room(1) {
		t.Error("a full buffer has room")
	}
	if due := b.Due(); !due.Equal(now) {
		t.Errorf("a full batch is due %v", due)
	}
	_, pieces := b.Take(now)
	b.Stored(uint64(len(pieces)), messages.StreamBufferBytesMax, 10)
	if !b.Room(1) || b.Fits("r", messages.StreamBufferBytesMax/4) != nil {
		t.Error("there is no room although something was stored")
	}
	if err := b.Fits("r", messages.StreamBufferBytesMax/4+1); messages.CodeOf(err) != messages.CodeLimitExceeded {
		t.Errorf("more than the run may write: %v", err)
	}
	if !b.Due().Equal(now) && !b.Due().Equal(now.Add(Gather)) {
		t.Errorf("the rest is due %v", b.Due())
	}
}
