// Package stream is the core of what an attempt writes to a stream of its run: the
// pieces that it has written and the store has not yet.
//
// Data flow: Write → Add → Take (one batch in flight, the same until it is answered) →
// the host of the run's owner → Stored.
//
//   - Pieces are numbered from 1, in the order in which they are written.
//   - One batch is in flight at a time, and is sent again until it is stored: so the
//     next one never comes before it, and the store leaves out by the numbers what it
//     has already.
//   - What is kept is bounded: who writes faster than the store takes it waits.
//
// The run decides whether the attempt may write (actors/run/streams.go), and the store
// which pieces are the next (actors/journal/streams.go).
//
// Imports only messages.
package stream

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

const (
	// Gather is how long a piece waits for others, to be sent with them.
	Gather = 40 * time.Millisecond
	// batchBytes and batchPieces bound a batch; one piece is always sent.
	batchBytes  = 256 << 10
	batchPieces = 4096
)

// Buffer keeps the pieces of one section until they are stored. The zero value is
// empty. It is not safe for concurrent use.
type Buffer struct {
	pieces [][]byte
	// stored is how many pieces the store has; sent are those of pieces that are in
	// flight.
	stored uint64
	sent   int
	bytes  int
	// since is when the oldest piece was written that is not in flight.
	since time.Time
	// left is what more the run may write after what is stored; known once the store
	// has said so.
	left  left
	known bool
}

type left struct{ bytes, pieces int64 }

// Room says whether a piece of so many bytes may be added now.
func (b *Buffer) Room(n int) bool {
	return len(b.pieces) == 0 || b.bytes+n <= messages.StreamBufferBytesMax && len(b.pieces) < 4*batchPieces
}

// Fits returns LIMIT_EXCEEDED if it is known that the run may not write so many bytes
// more.
func (b *Buffer) Fits(runID string, n int) error {
	switch {
	case b.known && b.left.bytes < int64(b.bytes+n):
		return messages.Errorf(messages.CodeLimitExceeded, "run %s may write %d bytes more to streams, not %d: StreamBytesMax, which the server has as --stream-bytes-max", runID, b.left.bytes, b.bytes+n)
	case b.known && b.left.pieces < int64(len(b.pieces)+1):
		return messages.Errorf(messages.CodeLimitExceeded, "run %s may write %d pieces more to streams, not %d: StreamPiecesMax", runID, b.left.pieces, len(b.pieces)+1)
	}
	return nil
}

// Add takes a piece, which it keeps.
func (b *Buffer) Add(now time.Time, piece []byte) {
	if len(b.pieces) == b.sent {
		b.since = now
	}
	b.pieces = append(b.pieces, piece)
	b.bytes += len(piece)
}

// Due is when the next batch is to be sent: at once if that is full, else when its
// oldest piece has waited; zero if nothing is to be sent, or one is in flight.
func (b *Buffer) Due() time.Time {
	switch {
	case b.sent > 0 || len(b.pieces) == 0:
		return time.Time{}
	case b.bytes >= batchBytes || len(b.pieces) >= batchPieces:
		return b.since
	}
	return b.since.Add(Gather)
}

// Take returns the batch that is in flight from now on, or is already: the number of
// its first piece, and its pieces.
func (b *Buffer) Take(now time.Time) (first uint64, pieces [][]byte) {
	for bytes := 0; b.sent == 0 && len(pieces) < min(len(b.pieces), batchPieces); {
		next := b.pieces[len(pieces)]
		if bytes += len(next); len(pieces) > 0 && bytes > batchBytes {
			break
		}
		pieces = b.pieces[:len(pieces)+1]
	}
	if b.sent == 0 {
		b.sent, b.since = len(pieces), now
	}
	return b.stored + 1, b.pieces[:b.sent:b.sent]
}

// Stored takes the answer to the batch in flight: how many pieces the store has, and
// what more the run may write.
func (b *Buffer) Stored(upTo uint64, bytesLeft, piecesLeft int64) {
	b.left, b.known = left{bytesLeft, piecesLeft}, true
	if upTo < b.stored+uint64(b.sent) {
		return // of an earlier batch
	}
	for _, p := range b.pieces[:b.sent] {
		b.bytes -= len(p)
	}
	b.stored += uint64(b.sent)
	// What is left begins a slice of its own, so that what is stored is let go of.
	b.pieces = append([][]byte(nil), b.pieces[b.sent:]...)
	b.sent = 0
}

// Empty says that all is stored.
func (b *Buffer) Empty() bool { return len(b.pieces) == 0 }

// Written counts the pieces that were added, and those that are stored.
func (b *Buffer) Written() (added, stored uint64) { return b.stored + uint64(len(b.pieces)), b.stored }
