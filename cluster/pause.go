package cluster

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pauseTick is how often the node looks at its clock.
const pauseTick = 50 * time.Millisecond

// pauses notices that this process did not run for so long that others may
// have declared it gone: it was stopped, its machine slept, or it got no
// processor.
type pauses struct {
	mu    sync.Mutex
	hooks []*func(time.Duration)
}

// OnPause calls f when this process was paused for longer than half of the
// suspicion time, so that others may have declared it gone and taken over what
// it owned; d is about how long. It is called on a goroutine of the node, soon
// after the process goes on; what was under way then may go on before it.
func (n *Node) OnPause(f func(d time.Duration)) (cancel func()) { return n.pauses.add(f) }

func (p *pauses) add(f func(time.Duration)) (cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	hook := &f
	p.hooks = append(p.hooks, hook)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.hooks = slices.DeleteFunc(slices.Clone(p.hooks), func(h *func(time.Duration)) bool { return h == hook })
	}
}

func (p *pauses) loop(ctx context.Context, limit func() time.Duration) {
	t := time.NewTicker(pauseTick)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		// The monotonic clock stands still while a machine sleeps, the wall
		// clock does not. A wall clock that is set forward looks the same; it
		// costs activations that come back.
		d := max(now.Sub(last), now.Round(0).Sub(last.Round(0)))
		last = now
		if d-pauseTick > limit() {
			p.mu.Lock()
			hooks := p.hooks
			p.mu.Unlock()
			for _, h := range hooks {
				(*h)(d)
			}
		}
	}
}

func (n *Node) pauseLimit() time.Duration {
	return n.config.Preset.Suspicion(len(n.View().Members)) / 2
}
