// Package lease sees to it that at most one worker acts for a run at a time: a
// worker that cannot be sure that no server has called it lost stops acting
// before any server does. It is the arithmetic of both sides, without a clock or
// a network of its own.
//
// Data flow: a worker's Holder asks every server each For/7 → a server's Granter
// answers for how long, as far as its own standing lasts → the Holder says until
// when the worker may act. Servers ask each other in the same way: the answers of
// the others are a server's standing. A server that wants to call a silent worker
// lost asks its Granter for how long it has to hold that back.
//
// # The rules
//
// Spans are measured on monotonic clocks whose rates differ by at most 1 %. Each
// span that was granted by another clock is used up to 99 % only (Discount): if a
// granted v to b, b stops before a has counted v, for 0.99 × 1.01 < 1.
//
//   - H1. A lease lasts until Discount(v) after the worker SENT the question, the
//     longest of those of all servers. What is in flight is on the safe side.
//   - H2. If all servers that the worker knows of refuse connections or have left,
//     and one at least refuses, their processes have ended, and nobody is there to
//     give its runs away: the lease lasts until Discount(For) after the beginning
//     of the oldest of the newest looks that found so.
//   - H3. Whoever has no lease has canceled the contexts of all that ran. Its next
//     lease is of another term than that, and than the time in between. A dispatch
//     that a server sent under an earlier term is dropped: it may have been on its
//     way while its run was given to another. The term is one that the server knew
//     when it began to read the run's history, or to write the last entry of its
//     own that was stored: whoever writes, or dispatches, without knowing that the
//     run was given away since, knows no later one.
//   - G1. A server grants at most For, and not beyond its own standing.
//   - G2. A server has standing (a) as long as every other server that may live
//     has answered it; or (b) as long as most servers of its view have answered it
//     and it reaches the store, or half of them, if it has given signs of life
//     there without a gap for For; or (c) as long as it reaches the store, and every
//     server that shows a fresh sign of life there has answered it. All count from when the question
//     was sent, for Discount(For). Alone, that is always. A server that was cut
//     off, or has not looked around yet, has none.
//   - G3. A server holds the verdict on a silent worker back until For has passed
//     since its own last grant to the worker, since its own start, since its last
//     answer to every server that it does not reach now, since it found that one of
//     them has ended, and since what those that it reaches say of the same.
//   - G4. If the servers share a store, a server yields that has given no sign
//     there for For, or says for as long that it is cut off. The verdict is also
//     held back unless every server that may live is reached or yields; or more
//     are reached than not, of those that do not yield, and signs of life were
//     given without a gap for For. One whose sign says that it is of before there
//     were leases has given none, and is not waited for.
//   - G5. A verdict is true of the moment at which it was reached. The worker may
//     have come back to another server since, and have another lease. So a server
//     tells a verdict to a run that begins to ask for it later only after it has
//     held it back once more by G3 and G4, from then on. Who dispatched for the run
//     before its history was read here knew no later term than those that have
//     ended by then (H3).
//   - A process that is known to have ended (its ports are refused) or has said
//     that it leaves is no silent one: nothing is held back.
//
// # Why that is enough
//
// Let a server r call worker w lost at time t, and let w have held one lease
// without a break until t, by a grant of server s. r waited For since its own
// grants and, as it began to hold before its start was For ago, since those of
// processes that it replaced: s is another server, and ends its grants with its
// standing. If r reached s, s has said how long its grants last (G3). Otherwise, by
// the clause of G2 that s stands by at t:
//
//   - (a): r has answered s within For, by r's clock, and knows it: against G3. Or
//     s does not count r among those that may live, which it does until r ended,
//     or was silent for GhostFor.
//   - (b): if r reaches more servers than not, one of those that r reaches has
//     answered s within For and has told r so: against G3. Half of them on either
//     side is not enough for r, for s does not yield. If r goes by the signs of s
//     (G4), s has written none for For before r looked, so the standing of s has
//     ended by then, and what s writes later begins another lease.
//   - (c): s has seen no fresh sign of r. But r has given them without a gap for
//     For, or r has seen none of s for For; and each sign is written before those
//     of the others are read, so of two servers at least one sees the other.
//
// H2 needs no server: who starts again holds all verdicts for For (G3).
//
// # What is left
//
// A function that does not honour its context goes on. So does, for the time in
// which the process has not been given a processor to notice it, whatever runs when
// a process is woken after its lease has ended: what was asked of an outside system
// just before can arrive there later. A firewall that refuses connections in the
// name of servers that live, to a worker whose own are refused to them, makes each
// side believe that the other has ended. A server that a worker has never heard of,
// started while all that it knew are down, is not counted by H2. And servers whose
// views of each other differ for longer than it takes a gossip to spread may count
// different majorities. Against all of these an outside system can be fenced by the
// token of the binding, which grows with each binding of a run: it refuses what
// comes with a smaller one than the largest that it has seen.
//
// Imports nothing of ours.
package lease

import "time"

// GhostFor is how long a server that is out of the view and not known to have
// ended counts among those that may live.
const GhostFor = 5 * time.Minute

// Config of both sides.
type Config struct {
	// For is how long a lease lasts at most. Required.
	For time.Duration
	// Store: the servers give signs of life in a store that all of them reach.
	Store bool
	// SignGap is the longest time between two signs of life that count as without
	// a gap; a sign that is older is not fresh. Required with Store.
	SignGap time.Duration
}

// Every is the pace of the questions.
func (c Config) Every() time.Duration { return c.For / 7 }

// Discount is what of a span on one clock has passed on any other by the time
// that the whole has passed on the first.
func Discount(d time.Duration) time.Duration { return d - d/100 }

// roundsMax is how many questions are remembered: those of more than For.
const roundsMax = 32

// rounds are the last questions, in order.
type rounds struct {
	seq  uint64
	sent [roundsMax]time.Time
}

func (r *rounds) begin(now time.Time) uint64 {
	r.seq++
	r.sent[r.seq%roundsMax] = now
	return r.seq
}

// at is when a question was sent; false if it is not remembered.
func (r *rounds) at(seq uint64) (time.Time, bool) {
	if seq == 0 || seq > r.seq || r.seq-seq >= roundsMax {
		return time.Time{}, false
	}
	return r.sent[seq%roundsMax], true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
