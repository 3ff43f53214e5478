// Package lease sees to it that at most one worker acts for a run at a time. A
// worker that cannot be sure that no server has called it lost stops acting before
// any server does. The package is the arithmetic of both sides, without a clock or
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
// Spans are measured on monotonic clocks whose rates differ by at most 1 %. A span
// that another clock granted is used up to 99 % only (Discount). If a granted v to
// b, then b stops before a has counted v, for 0.99 × 1.01 < 1.
//
// Of a worker:
//
//   - H1. A lease ends Discount(v) after the worker sent the question that earned
//     it. Counting from the sending, not the answer, makes a slow network shorten
//     leases, never lengthen them. With several servers the latest end counts.
//   - H2. The worker finds out whether the ports of silent servers refuse
//     connections. If all servers that it knows of refuse or have left, and one at
//     least refuses, their processes have ended. Nobody is there to give its runs
//     away. The lease then ends Discount(For) after the beginning of a look: of the
//     newest look at each server, the oldest.
//   - H3. A worker without a lease has canceled the contexts of all that ran. Each
//     lease has a term of its own, and so has the time without one. A dispatch that
//     a server sent under an earlier term is dropped, for its run may have been
//     given to another worker while it was on its way. The server reads the term
//     when it begins to read the run's history, or to write the last entry of its
//     own that was stored. Whoever does not know that the run was given away since
//     knows no later term.
//   - H4. A worker shows itself ready, and reports its load, once its first lease has
//     begun. The time before it has no term of its own, and needs none: nobody sends
//     dispatches to a process that is joining.
//
// Of a server:
//
//   - G1. It grants at most For, and not beyond its own standing.
//   - G2. It has standing by any of three clauses. Each counts from when the
//     question was sent, for Discount(For). A server that was cut off, or has not
//     read the heartbeats of others yet, has none.
//     (a) Every other server that may live has answered it. Alone, that is always.
//     (b) It reaches the store, and most servers of its view have answered it. Half
//     of them are enough if it has written heartbeats without a gap for For.
//     (c) It reaches the store, and every server with a fresh heartbeat there has
//     answered it.
//   - G3. It holds the verdict on a silent worker back until For has passed since
//     each of these: its own last grant to the worker; its own start; its last
//     answer to each server that it does not reach now; the moment at which it found
//     that one of them has ended. And until what the servers that it reaches say of
//     the same has passed.
//   - G4. With a common store, a server yields that has written no heartbeat for
//     For, or says for as long that it is cut off. The verdict is also held back
//     until one of these is true: every server that may live is reached or yields;
//     or, of those that do not yield, more are reached than not, and this server has
//     written heartbeats without a gap for For.
//   - G5. A verdict is true of the moment at which it was reached. The worker may
//     have come back to another server since, and have another lease. So a server
//     that tells a verdict to a run that begins to ask for it later holds it back
//     once more by G3 and G4, from then on. Whoever dispatched for the run before
//     its history was read here knew no later term than those that have ended by
//     then (H3).
//   - G6. Nothing is held back of a process that is known to have ended (its ports
//     are refused), or that has said that it leaves.
//
// # Why that is enough
//
// Let a server r call worker w lost at time t, and let w have held one lease
// without a break until t, by a grant of server s. r waited For since its own
// grants. It also waited since those of processes that it replaced, for it began
// to hold before its start was For ago. So s is another server, and ends its grants
// with its standing. If r reached s, s has said how long its grants last (G3).
// Otherwise it depends on the clause of G2 by which s stands at t:
//
//   - (a): r has answered s within For, by r's clock, and knows it: against G3. Or
//     s does not count r among those that may live, which it does until r ended, or
//     was silent for GhostFor.
//   - (b): if r reaches more servers than not, one of those that r reaches has
//     answered s within For and has told r so: against G3. Half of them in either
//     partition is not enough for r, for s does not yield. If r goes by the
//     heartbeats of s (G4), s has written none for For before r read them. So the
//     standing of s has ended by then, and what s writes later begins another lease.
//   - (c): s has seen no fresh heartbeat of r. But r has written them without a gap
//     for For, or r has seen none of s for For. Each heartbeat is written before
//     those of the others are read, so of two servers at least one sees the other.
//
// H2 needs no server: who starts again holds all verdicts for For (G3).
//
// # What is left
//
//   - A function that does not honour its context goes on.
//   - A process that is woken after its lease has ended runs on until it gets to
//     notice it. What was asked of an outside system just before can arrive later.
//   - A firewall may refuse connections in the name of servers that live, to a worker
//     whose own are refused to them. Each side then believes that the other ended.
//   - A server that a worker has never heard of is not counted by H2: one that started
//     while all that it knew are down, or of which they had no time to tell it.
//   - Servers whose views of each other differ for longer than a gossip takes to
//     spread may count different majorities.
//
// Against all of these an outside system can be fenced by the token of the binding,
// which grows with each binding of a run: it refuses what comes with a smaller one
// than the largest that it has seen.
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
	// Store: the servers write heartbeats into a store that all of them reach.
	Store bool
	// HeartbeatGap is the longest time between two heartbeats that count as without
	// a gap; one that is older is not fresh. Required with Store.
	HeartbeatGap time.Duration
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
