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
	self := n.Self()
	n.system.Root.RequestWithCustomSender(pid, &messages.DeclaredGone{Name: m.Name, By: self.Name, ByRole: string(self.Role)}, actor.NewPID(self.Address, activatorActor))
}

// heardVerdict takes what tellReturned of another node sent.
func (n *Node) heardVerdict(m *messages.DeclaredGone, from *actor.PID) {
	self := n.Self()
	if m.Name != self.Name {
		return
	}
	by, ok := n.View().Member(m.By)
	if !ok { // This node sees the other again a moment later.
		by = Member{Name: m.By, Role: Role(m.ByRole), Address: from.GetAddress()}
		by.WorkerID, by.Incarnation, _ = splitName(m.By)
	}
	n.config.Logger.Warn("this node had been declared gone and is back", "by", m.By)
	n.verdicts.call(by)
}

// pauses notices that this process did not run for so long that others may
// have declared it gone: it was stopped, its machine slept, or it got no
// processor.
type pauses struct {
	hooks[time.Duration]
	recent drowsiness
}

const (
	// drowsyWindow is how long a pause of this process counts: up to twice that.
	drowsyWindow = 15 * time.Second
	// drowsyFree is a pause that says nothing; drowsyFactor times what is above
	// it is given to others.
	drowsyFree   = 100 * time.Millisecond
	drowsyFactor = 3
	// drowsyMost, in probe intervals, bounds it.
	drowsyMost = 10
	// drowsyStopped is a pause of a process that was not kept waiting but
	// stopped: it says nothing of the others.
	drowsyStopped = 3 * time.Second
)

// drowsiness is the longest time of late that this process got no processor.
// Who is kept waiting has reason to think that others are too, above all those
// on the same machine, and gives them more time to refute a verdict. An idle
// machine gives none, so that it costs nothing there.
type drowsiness struct {
	mu       sync.Mutex
	since    time.Time
	now, old time.Duration
}

func (d *drowsiness) note(at time.Time, pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.Sub(d.since) > drowsyWindow {
		d.since, d.old, d.now = at, d.now, 0
	}
	if pause < drowsyStopped {
		d.now = max(d.now, pause)
	}
}

// slack is the time that others are given beyond their due.
func (d *drowsiness) slack(p Preset) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	over := max(0, d.now, d.old) - drowsyFree
	return min(max(0, drowsyFactor*over), drowsyMost*p.ProbeInterval)
}

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
		p.recent.note(now, d-pauseTick)
		if d-pauseTick > limit() {
			p.call(d)
		}
	}
}

func (n *Node) pauseLimit() time.Duration {
	return n.config.Preset.Suspicion(len(n.View().Members)) / 2
}
