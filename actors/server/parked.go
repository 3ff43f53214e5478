package server

import (
	"context"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Parked is what waits in the journal alone, of the shards that a server owns.
type Parked struct {
	// Lines are the runs whose turn to ask for a worker has not come; ParkedMax of
	// them at most.
	Lines []ParkedLine
	// Away counts those that wait for the worker to come back that they are bound
	// to, up to ParkedMax.
	Away int
}

// ParkedLine are those of one line.
type ParkedLine struct {
	Pool, Workflow string
	Runs           int
}

// ParkedMax is how many of them are counted.
const ParkedMax = 100_000

const (
	// parkedEvery is how long a count holds.
	parkedEvery = 10 * time.Second
	// parkedWithin is how long a count is waited for; then the one before is given.
	parkedWithin = time.Second
)

// parkedCount is the newest count.
type parkedCount struct {
	mu   sync.Mutex
	last Parked
	at   time.Time
	// counting is closed when the count under way is over; nil for none.
	counting chan struct{}
}

// Parked counts what is parked here, no more often than every 10 s and however
// many ask. It waits for a second at most.
func (h *Host) Parked() Parked {
	c := &h.parked
	c.mu.Lock()
	if c.counting == nil && (c.at.IsZero() || time.Since(c.at) > parkedEvery) {
		done := make(chan struct{})
		c.counting = done
		h.background(func() { h.countParked(done) })
	}
	counting := c.counting
	c.mu.Unlock()
	if counting != nil {
		select {
		case <-counting:
		case <-time.After(parkedWithin):
		case <-h.ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// countParked counts, and keeps the count before if the journal is out of reach.
func (h *Host) countParked(done chan struct{}) {
	c := &h.parked
	defer func() {
		c.mu.Lock()
		c.counting, c.at = nil, time.Now()
		c.mu.Unlock()
		close(done)
	}()
	ctx, cancel := reading(h.ctx)
	defer cancel()
	p, err := h.parkedNow(ctx)
	if err != nil {
		h.log.Debug("runs that wait in the journal were not counted", "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = p
}

func (h *Host) parkedNow(ctx context.Context) (p Parked, err error) {
	store, shards := h.cfg.Store, h.OwnedShards()
	if p.Away, err = store.CountWokenByUp(ctx, shards, ParkedMax); err != nil {
		return p, err
	}
	lines, err := store.Lines(ctx, shards)
	if err != nil {
		return p, err
	}
	for left, i := ParkedMax, 0; left > 0 && i < len(lines); i++ {
		n, err := store.CountInLine(ctx, shards, lines[i], left)
		if err != nil {
			return p, err
		}
		// All of a line have one definition; the line may be empty by now.
		first, err := store.InLine(ctx, shards, lines[i], journal.Place{}, 1)
		if err != nil {
			return p, err
		}
		if len(first) == 1 && n > 0 {
			row := &first[0].Row
			p.Lines = append(p.Lines, ParkedLine{messages.EffectivePool(row.Pool), row.Workflow, n})
			left -= n
		}
	}
	return p, nil
}

// OwnedShards are the shards of runs that this server owns, by the newest view.
func (h *Host) OwnedShards() []int {
	view, self := h.cfg.Node.View(), h.cfg.Node.Self().Name
	var owned []int
	for shard := range messages.Shards {
		if m, ok := view.OwnerOfShard(shard); ok && m.Name == self {
			owned = append(owned, shard)
		}
	}
	return owned
}
