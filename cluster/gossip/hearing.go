package gossip

import (
	"context"
	"sync"
	"time"
)

const (
	// hearTick is how often a server looks who has fallen silent.
	hearTick = 100 * time.Millisecond
	// hearAgain is the least time between two questions whether another server hears
	// a worker.
	hearAgain = 250 * time.Millisecond
	// hearPrefix begins the packet that asks another server whether it hears a worker,
	// heardPrefix the answer that it does, refutePrefix the packet that tells a member
	// that it is not known here, or is called dead or silent, herePrefix its answer.
	hearPrefix   = "hear? "
	heardPrefix  = "heard "
	refutePrefix = "refute "
	herePrefix   = "here "
)

// hearing is how long ago a server has heard each worker itself, beside memberlist:
// by the questions for leases that come some times a second (M6). Only the table's
// lock is inside of its own.
//
// Time is counted on a clock that goes while this process looks at it only: a
// server that was kept waiting has not read what waits for it.
type hearing struct {
	mu      sync.Mutex
	clock   time.Duration
	looked  time.Time
	workers map[string]*ear
}

// ear is about one worker: when it was heard here, when here or by another server,
// and when others were asked.
type ear struct{ here, anywhere, asked time.Duration }

// heard notes that a worker was.
func (h *hearing) heard(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.workers[name]
	if e == nil {
		e = &ear{}
		if h.workers == nil {
			h.workers = map[string]*ear{}
		}
		h.workers[name] = e
	}
	e.here, e.anywhere = h.clock, h.clock
}

// heardElsewhere notes that another server hears a worker.
func (h *hearing) heardElsewhere(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.workers[name]; e != nil {
		e.anywhere = h.clock
	}
}

// hears says whether a worker was heard here within a time.
func (h *hearing) hears(name string, within time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.workers[name]
	return e != nil && h.clock-e.here < within
}

// look returns the workers that are silent for so long, and those that others are
// to be asked about: silent for half of it. It forgets those that are not live,
// and those that are silent: they count again when they ask again.
func (h *hearing) look(now time.Time, patience time.Duration, live func(name string) bool) (silent, doubtful []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.looked.IsZero() {
		h.clock += min(now.Sub(h.looked), 2*hearTick)
	}
	h.looked = now
	for name, e := range h.workers {
		quiet := h.clock - e.anywhere
		switch {
		case !live(name):
			delete(h.workers, name)
		case quiet >= patience:
			silent = append(silent, name)
			delete(h.workers, name)
		case quiet >= patience/2 && (e.asked < e.anywhere || h.clock-e.asked >= hearAgain):
			e.asked = h.clock
			doubtful = append(doubtful, name)
		}
	}
	return silent, doubtful
}

// Heard is for a worker that has asked this server for a lease. hears says that it
// hears this server too, as far as can be told.
func (g *Gossip) Heard(name, gossipAddress string, hears bool) {
	if hears {
		g.hearing.heard(name)
	}
	g.Answered(name, gossipAddress, hears)
}

// Answered notes that a member has said something to this node itself, beside
// memberlist. If the member is not known, or is called dead or silent, it is told, so
// that it makes itself known.
func (g *Gossip) Answered(name, gossipAddress string, hears bool) {
	if g.table.heard(name, hears) && g.listening.Load() {
		g.Packet(name, gossipAddress, []byte(refutePrefix+name))
	}
}

// patience is how long a worker may be silent.
func (g *Gossip) patience() time.Duration {
	p := g.config.Preset
	return p.Suspicion(1) + p.RefuteTime + g.refuteTime()
}

// KeepHearing takes workers out that have fallen silent (M6), until ctx ends.
func (g *Gossip) KeepHearing(ctx context.Context) {
	t := time.NewTicker(hearTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			g.hearOnce(now)
		}
	}
}

func (g *Gossip) hearOnce(now time.Time) {
	silent, doubtful := g.hearing.look(now, g.patience(), g.table.serves)
	for _, name := range doubtful {
		g.toOtherServers(name, hearPrefix+name)
	}
	for _, name := range silent {
		if g.table.markSilent(name) {
			g.config.Logger.Info("a worker has fallen silent", "member", name)
		}
	}
}

// askedWhetherHeard answers another server.
func (g *Gossip) askedWhetherHeard(name string) {
	if g.hearing.hears(name, g.patience()/2) {
		g.toOtherServers(name, heardPrefix+name)
	}
}

// makeKnown says to those that this node knows, and gossips anew, that it is there.
// It does not wait.
func (g *Gossip) makeKnown() {
	self := g.Self().Name
	g.toOtherServers(self, herePrefix+self)
	if !g.making.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer g.making.Store(false)
		_ = g.update(time.Millisecond) // It is on its way when the time is over.
	}()
}

// update has memberlist gossip what this node says of itself. Of two at once the
// older could be taken for the newer.
func (g *Gossip) update(timeout time.Duration) error {
	g.updating <- struct{}{}
	defer func() { <-g.updating }()
	return g.list.UpdateNode(timeout)
}
