package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/messages"
)

// pauseTick is how often the node looks at its clock.
const pauseTick = 50 * time.Millisecond

// hooks are functions to call, nil-safe and in the order of their adding.
type hooks[T any] struct {
	mu    sync.Mutex
	funcs []*func(T)
}

func (h *hooks[T]) add(f func(T)) (cancel func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hook := &f
	h.funcs = append(slices.Clip(h.funcs), hook)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.funcs = slices.DeleteFunc(slices.Clone(h.funcs), func(g *func(T)) bool { return g == hook })
	}
}

func (h *hooks[T]) call(value T) {
	h.mu.Lock()
	funcs := h.funcs
	h.mu.Unlock()
	for _, f := range funcs {
		(*f)(value)
	}
}

// OnPause calls f when this process was paused for longer than half of the
// suspicion time, so that others may have declared it gone and taken over what
// it owned; d is about how long. It is called on a goroutine of the node, soon
// after the process goes on; what was under way then may go on before it.
func (n *Node) OnPause(f func(d time.Duration)) (cancel func()) { return n.pauses.add(f) }

// OnDeclaredGone calls f when another member says that it had declared this
// node gone and sees it again, as a new member: what this node owned may have
// been taken over meanwhile. After a partition both sides hear it from each
// other, so it is no reason to exit, but to drop activations and let the
// journal decide. f is called inside an actor and must not wait.
func (n *Node) OnDeclaredGone(f func(by Member)) (cancel func()) { return n.verdicts.add(f) }

// tellReturned tells a member that came back of the verdict on it, which it
// cannot know by itself: memberlist refutes on its own.
func (n *Node) tellReturned(m Member) {
	pid := actor.NewPID(m.Address, activatorActor)
	n.system.Root.Send(pid, &messages.DeclaredGone{Name: m.Name, By: n.Self().Name})
}

// heardVerdict takes what tellReturned of another node sent.
func (n *Node) heardVerdict(m *messages.DeclaredGone) {
	self := n.Self()
	if m.Name != self.Name {
		return
	}
	by, ok := n.View().Member(m.By)
	if !ok { // This node sees the other again a moment later.
		by = Member{Name: m.By}
		by.WorkerID, by.Incarnation, _ = splitName(m.By)
	}
	n.config.Logger.Warn("this node had been declared gone and is back", "by", m.By)
	n.verdicts.call(by)
}

// pauses notices that this process did not run for so long that others may
// have declared it gone: it was stopped, its machine slept, or it got no
// processor.
type pauses struct{ hooks[time.Duration] }

// loop takes the time of its start from the caller: a pause may come before
// the goroutine runs.
func (p *pauses) loop(ctx context.Context, last time.Time, limit func() time.Duration) {
	t := time.NewTicker(pauseTick)
	defer t.Stop()
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
			p.call(d)
		}
	}
}

func (n *Node) pauseLimit() time.Duration {
	return n.config.Preset.Suspicion(len(n.View().Members)) / 2
}
