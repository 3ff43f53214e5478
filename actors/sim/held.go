package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/messages"
)

// Functions that do not return: in some of the clusters steps with an execution
// timeout go on for long after it, now and then, whatever is said to them. In half
// of these clusters a worker ends that has waited long enough.

// heldSeeds is where the seeds of such functions begin.
const heldSeeds = 29 << 40

// holding is how the functions of a cluster hold their slots.
type holding struct {
	dice dice
	// chance is how likely one with a timeout does; 0 in most clusters.
	chance float64
	// endFor is EndIfHeldFor of all workers.
	endFor time.Duration
}

func (s *Sim) drawHolding(d dice) {
	if s.world.calm || !d.chance(0.5) {
		return
	}
	s.holding = holding{d, pick(d, []float64{0.3, 0.8}), pick(d, []time.Duration{0, 0, 4 * time.Second, 15 * time.Second})}
}

// limit gives more steps a timeout, and a retry after it.
func (h *holding) limit(st *messages.StepDefinition) {
	if h.chance > 0 && h.dice.chance(0.5) {
		st.ExecutionTimeoutMs, st.Retries = int64(500+h.dice.IntN(5000)), max(st.Retries, 1)
	}
}

// timeoutMost is the longest timeout after which a function may go on.
const timeoutMost = 10 * time.Second

// goesOn has an execution go on after its timeout.
func (h *holding) goesOn(d *messages.Dispatch, p *plan) {
	timeout := time.Duration(d.ExecutionTimeoutMs) * time.Millisecond
	if h.chance == 0 || timeout <= 0 || timeout > timeoutMost || !h.dice.chance(h.chance) {
		return
	}
	p.takes, p.stubborn, p.children = timeout+h.dice.between(time.Second, 40*time.Second), true, nil
}

// slotHeld notes what the core says of a function that does not return.
func (w *worker) slotHeld(a slots.Action) {
	s := w.sim
	switch a.Kind {
	case slots.SlotHeld:
		s.monitor.counts.SlotsHeld++
		w.held++
		w.allHeld = w.allHeld || w.held == w.info.Slots
	case slots.SlotFreed:
		w.held--
	case slots.Overheld:
		s.monitor.counts.Overheld++
		w.later(0, func() {
			w.drain(s.holding.dice.between(100*time.Millisecond, 3*time.Second))
			s.after(s.holding.dice.between(4*time.Second, 9*time.Second), func() { s.ensure(w.id) })
		})
	}
}

// leftHeld checks that all slots were held of a worker that a run left for that.
func (m *monitor) leftHeld(w *worker) error {
	m.counts.MovesHeld++
	if !w.allHeld {
		return fmt.Errorf("moved from %s, which had slots that were not held", w.address)
	}
	return nil
}
