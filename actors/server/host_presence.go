package server

import (
	"time"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// notePresence notes once that this server is there.
func (h *Host) notePresence() {
	now := h.clock.Now()
	list, err := h.cfg.Store.NotePresence(h.ctx, now, activation.PresenceGap)
	if err != nil {
		if h.ctx.Err() == nil {
			h.log.Warn("the journal does not take the note that this server is there", "error", err)
		}
		return
	}
	gaps := activation.Absences(list)
	before := h.absences.Swap(&gaps)
	if before != nil && len(gaps) == len(*before) && (len(gaps) == 0 || (*before)[len(*before)-1] == gaps[len(gaps)-1]) {
		return
	}
	if n := len(gaps); n > 0 && now.Sub(gaps[n-1].To) < activation.PresenceEvery {
		h.log.Info("no server was there for a while, which does not count towards what steps may wait", "for", gaps[n-1].To.Sub(gaps[n-1].From).Round(time.Second))
	}
	h.handle(activation.Absent{})
}

func (h *Host) presenceLoop() {
	for backoff.Sleep(h.ctx, activation.PresenceEvery) == nil {
		h.notePresence()
	}
}

// notOffered counts what a run has recorded, and tells the hook.
func (h *Host) notOffered(runID string, what *messages.NotOffered) {
	h.unoffered.Add(1)
	if f := h.cfg.Hooks.NotOffered; f != nil {
		f(runID, what)
	}
}

// NotOffered counts how often a run of this server has recorded that it waits for
// what nobody offers.
func (h *Host) NotOffered() uint64 { return h.unoffered.Load() }
