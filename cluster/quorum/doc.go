// Package quorum decides what a server may conclude from members that it does
// not reach: that they have gone, or that it is cut off itself. It is the rules
// alone, without a clock, a network or a store of its own.
//
// Data flow: members that are missed → Filter.Hold (they stay in the view) →
// Filter.Begin → Round: whom to ask, and their answers → the heartbeat that is
// due, and those of the others → Verdict → Filter.Conclude: whom to let go,
// whether this server is cut off, when the next round begins.
//
// # The question
//
// memberlist says that a member does not answer. Two things look the same from
// here: the member has died, or this server's own network is down. To take a
// server for dead that lives means to take over runs that it executes; to take a
// worker for dead that lives means to give its runs away. So the filter stands
// between memberlist and the view, and asks before it believes.
//
// # The rules
//
//   - Q1. A member that is missed stays in the view until a round has concluded
//     that it may go, if somebody loses by its going (Member.Loss). A server that
//     was alone has nobody to ask and lets everybody go. It was not alone if another
//     server was in its view in any state: one that leaves may have given leases.
//   - Q2. A server that reaches most of the servers that it knows concludes that
//     the others have gone. This is the usual case, and costs one round trip.
//   - Q3. Without a majority it goes by the heartbeats in the store, which every
//     server writes each HeartbeatEvery. It concludes nothing as long as it cannot
//     read them, and as long as a server that nobody has declared gone is silent.
//   - Q4. No fresh heartbeat of a server that it does not reach: those have died,
//     and it goes on alone. Of two servers one may die, and of three two at once;
//     who is left has no majority then, so counting alone would not do.
//   - Q5. A fresh heartbeat of a server that it does not reach: the cluster is
//     partitioned. One partition goes on, in this order: the one with more
//     servers, the one with more workers, the one with the first name. Both
//     partitions find the same.
//   - Q6. A server whose partition does not go on is cut off. It owns nothing,
//     lets nobody go and calls nobody lost, until a round says that it may go on.
//   - Q7. A rival that still counts this server among those that it reaches has
//     not noticed yet: it gets Patience before it counts.
//   - Q8. A heartbeat is fresh if it was written at most freshFor ago. Its age by
//     the store's clock does not tell, for that clock may be set: what counts is
//     that its serial changes.
//   - Q9. A member that another server sees alive is not let go: after a partition
//     members are heard of one by one.
//   - Q10. A server writes its heartbeats however long it cannot tell: others go by
//     them.
//   - Q11. A server that has not got a heartbeat into the store for StoreSilence asks
//     the others. If one that owns something has, of late (HasStore), this server is
//     without the store: it is cut off in the sense of Q6. It goes on when it has
//     read heartbeats without a failure for freshFor, or when no other server owns
//     anything.
//
// # Why a server that is cut off owns nothing
//
// Let two servers not reach each other, and let both live and read the store.
// Each then finds a fresh heartbeat of the other (Q8, Q10), unless it reaches a
// majority (Q2). Two majorities of the same servers have one in common, which both
// reach. Otherwise both compare the same two partitions by one order (Q5), so one
// of them at most goes on and the other is cut off (Q6). Two servers may differ in
// what they know for about as long as a heartbeat is old; what they write at the
// same time is decided by the journal's compare-and-swap. The filter spares work
// and needless moves of runs, the journal keeps them right.
//
// # Why somebody always owns what there is
//
// Let no server reach the store. Of those that own something, one has got a heartbeat
// into it last, at some time t. Whoever asks it gives up only if it says that it has
// the store, so before t + storeRecent. It gives up itself only if another one says
// so after t + StoreSilence. That one would have written at t + StoreSilence -
// storeRecent or later, which is after t. So it stays. It waits for the store, and
// the others wait for it.
//
// Imports nothing of ours.
package quorum

import "time"

const (
	// HeartbeatEvery is the pace of the heartbeats.
	HeartbeatEvery = 400 * time.Millisecond
	// freshFor is the age up to which a heartbeat shows that its server lives: less
	// than memberlist takes to declare a member gone.
	freshFor = 3 * HeartbeatEvery
	// StoreSilence is how long a server tries to get a heartbeat into the store before
	// it asks whether others can, and storeRecent is how long ago one was written by
	// a server that can. The answer may take AskFor.
	StoreSilence = 1500 * time.Millisecond
	storeRecent  = 2 * HeartbeatEvery
	// AskFor bounds the questions of one round, and its reading of the heartbeats.
	AskFor = 300 * time.Millisecond
	// Again is the pause before the next round while it is too early to tell.
	Again = 100 * time.Millisecond
	// Patience is how long a rival is given to notice that it does not reach this
	// server.
	Patience = 2 * time.Second
)
