package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Config holds the times of a machine, and what it may ask. Zero fields take the
// defaults.
type Config struct {
	// ResendAfter: a message to a worker or placement that nothing was heard
	// of is sent again. Default 2 s.
	ResendAfter time.Duration
	// HoldFor is how long a turn's append waits for placement's immediate
	// answer. Default 50 ms.
	HoldFor time.Duration
	// DormantAfter: a run that waits for its worker or for children leaves
	// memory. Default 1 s.
	DormantAfter time.Duration
	// DormantBackoff is the shortest back-off for which a run leaves memory.
	// Default 5 s.
	DormantBackoff time.Duration
	// CancelGrace: attempts that do not answer a cancel are given up.
	// Default 10 s.
	CancelGrace time.Duration
	// ExecutionGrace: an attempt of which the worker does not report the
	// execution timeout is given up. Default 10 s.
	ExecutionGrace time.Duration
	// RecordStartAfter: a start is recorded once the attempt has run for so
	// long. Default 100 ms.
	RecordStartAfter time.Duration
	// MoveFor is how long a grant for a move away from a busy worker is held
	// while its attempts are revoked. Default 4 s.
	MoveFor time.Duration
	// HandoffFor is how long a run waits for the local state that the worker
	// which it leaves hands off. Default 30 s.
	HandoffFor time.Duration
	// TryFor: a step whose schedule timeout has passed is tried for so long before
	// it fails, if it was not since the run was taken up. Default 5 s.
	TryFor time.Duration
	// NotOfferedAfter: a run says that it waits for what nobody offers. Default
	// 5 min.
	NotOfferedAfter time.Duration
	// ReassureAfter: a worker that has said nothing about a live attempt for
	// so long is asked what became of it, for what it said may have been lost.
	// Default 30 s.
	ReassureAfter time.Duration
	// ToEngine is when the wall clock shows a time, as far as that is known; nil while
	// it shows engine time.
	ToEngine func(wall time.Time) time.Time
	// EventFault is what is wrong with a branch that waits for an event; nil if nothing is.
	// Asked of a branch when its call is made. Defaults to nothing.
	EventFault func(*messages.WaitBranch) error
	// InfoOf is what a worker's process has said of itself; nil if it has not yet.
	// Defaults to workers with any number of slots.
	InfoOf func(worker *messages.WorkerRef) *messages.WorkerInfo
	// ShareFrom is how large an input is that is sent once for attempts which are
	// on one worker at the same time. Default 16 KiB.
	ShareFrom int
	// LinksKept is how many links before the present one stay in the journal of a run
	// that goes on as new. Default 10.
	LinksKept int

	complete bool
}

// Complete returns it with the defaults for its zero fields; c itself if it has them.
// Machines share it, so it is not changed any more.
func (c *Config) Complete() *Config {
	if c.complete {
		return c
	}
	all := c.withDefaults()
	all.complete = true
	return &all
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.ResendAfter, 2*time.Second)
	set(&c.HoldFor, 50*time.Millisecond)
	set(&c.DormantAfter, time.Second)
	set(&c.DormantBackoff, 5*time.Second)
	set(&c.CancelGrace, 10*time.Second)
	set(&c.ExecutionGrace, 10*time.Second)
	set(&c.RecordStartAfter, 100*time.Millisecond)
	set(&c.MoveFor, 4*time.Second)
	set(&c.HandoffFor, 30*time.Second)
	set(&c.TryFor, 5*time.Second)
	set(&c.NotOfferedAfter, 5*time.Minute)
	set(&c.ReassureAfter, 30*time.Second)
	if c.EventFault == nil {
		c.EventFault = func(*messages.WaitBranch) error { return nil }
	}
	if c.InfoOf == nil {
		c.InfoOf = func(*messages.WorkerRef) *messages.WorkerInfo { return &messages.WorkerInfo{Slots: messages.SlotsMax} }
	}
	if c.ShareFrom == 0 {
		c.ShareFrom = 16 << 10
	}
	if c.LinksKept == 0 {
		c.LinksKept = linksKept
	}
	return c
}
