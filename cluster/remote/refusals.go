package remote

import (
	"log/slog"
	"sync/atomic"
)

// Refusal is why something that came from another node was refused.
type Refusal int

// Refusals.
const (
	// RefusedMember is a process that could not prove that it may be what it says.
	RefusedMember Refusal = iota
	// RefusedUnreadable is a message that cannot be read, or may not be.
	RefusedUnreadable
	// RefusedDenied is a message of a type that the role of the sender may not send, or
	// not to that kind of actor.
	RefusedDenied
	// RefusedForeign is a message in the name of another member.
	RefusedForeign

	// Refusals is how many there are.
	Refusals
)

// String is the word for metrics.
func (r Refusal) String() string {
	return [...]string{"member", "unreadable", "denied", "foreign"}[r]
}

// refusals counts.
type refusals [Refusals]atomic.Uint64

// count counts one. A peer that sends many is not worth a line of the log for each: of
// each kind the first is logged, the second, the fourth, the eighth and so on.
func (r *refusals) count(why Refusal, log *slog.Logger, what string, attributes ...any) {
	if n := r[why].Add(1); n&(n-1) == 0 {
		log.Warn(what, append(attributes, "refused_so_far", n)...)
	}
}
