package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Strays: workers that all servers have called lost, and that come back to all of
// them but one. Runs go to such a worker, and then they go to the server that has
// not seen it since.

// drawStrays lets workers stray, now and then in some of the clusters. It has dice
// of its own, so that the seeds without it stay as they are.
func (s *Sim) drawStrays(d dice) {
	if s.world.calm || !d.chance(0.3) {
		return
	}
	var next func()
	next = func() {
		if !s.healed {
			s.stray(d)
			s.after(d.between(6*time.Second, 15*time.Second), next)
		}
	}
	s.after(d.between(500*time.Millisecond, 6*time.Second), next)
}

// stray cuts a worker off from all servers until they have called it lost, and from
// one of them for longer.
func (s *Sim) stray(d dice) {
	servers, workers := s.serversLeft(), s.serving()
	if len(servers) < 2 || len(workers) == 0 {
		return
	}
	blind, w := pick(d, servers), pick(d, workers)
	var others [][2]string
	for _, p := range servers {
		if p != blind {
			others = append(others, linkOf(p.id, w.id))
		}
	}
	s.monitor.counts.Strays++
	lost := d.between(3*time.Second, 5*time.Second)
	s.cutFor(lost, others)
	s.cutFor(lost+d.between(2*time.Second, 6*time.Second), [][2]string{linkOf(blind.id, w.id)})
	s.after(lost, func() { s.handOver(d, w.worker, blind) })
}

// handOver lets the server leave that owns a run for which a worker acts, while
// another server does not see the worker. A HARD run would wait for it in any case.
func (s *Sim) handOver(d dice, w *worker, blind *proc) {
	if s.healed || !w.alive || !blind.alive || !s.cut(blind, w.proc) {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(w.functions)) {
		f := w.functions[id]
		if owner := w.ownerOfRun(f.d.RunId); f.d.Sticky != messages.Sticky_STICKY_HARD && f.acts() && owner != nil && owner != blind && owner.alive {
			s.leave(owner, d.between(20*time.Millisecond, s.world.downMost))
			return
		}
	}
	s.after(20*time.Millisecond, func() { s.handOver(d, w, blind) })
}
