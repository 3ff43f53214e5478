package activation

import (
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// What an activation keeps until it can be decided is bounded: early and held
// messages, and what waits for the append in flight. While the journal is out of
// reach that could be anything. Copies of what a worker says wait once, and what
// would go beyond the bound of the run or of the server is turned away. Workers
// say it again, and whoever asks for something is told to try again.

// waiting is what waits here, in bytes.
func (a *Activation) waiting() int {
	bytes := a.early.Bytes() + a.held.Bytes()
	if a.m != nil {
		bytes += a.m.Waiting()
	}
	return bytes
}

// turnedAway refuses a message for which there is no room.
func (a *Activation) turnedAway(e envelope) bool {
	if a.retired || a.m != nil && !a.leaving && !a.m.Appending() {
		return false
	}
	size := run.BytesOf(e.message)
	if spawn, ok := e.message.(*SpawnResolved); ok {
		size = run.BytesOf(spawn.Message)
	}
	if size == 0 {
		return false
	}
	most, what := messages.RunQueueBytesMax, "RunQueueBytesMax"
	waits := a.counted
	if waits+size <= most {
		most, what = messages.ServerQueueBytesMax, "ServerQueueBytesMax"
		if waits = a.facts.Waits(0); waits+size <= most {
			return false
		}
	}
	a.refuse(e, messages.Errorf(messages.CodeJournalUnavailable,
		"run %s: %d bytes wait for the journal, and %d more would be above %s = %d", a.RunID, waits, size, what, most))
	return true
}

// count tells the server what waits here.
func (a *Activation) count() {
	if now := a.waiting(); now != a.counted {
		a.facts.Waits(now - a.counted)
		a.counted = now
	}
}

// Abandoned is for an activation that ends without having retired: what waits
// in it is lost.
func (a *Activation) Abandoned() {
	a.facts.Waits(-a.counted)
	a.counted = 0
}
