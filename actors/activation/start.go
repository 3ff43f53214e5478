package activation

import (
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// startTries bounds how often a start is repeated because another activation of
// the same id came in between.
const startTries = 3

// Starting is a run that is being started. It is the token of its run.Start.
type Starting struct {
	Message *messages.StartRun
	Def     *messages.WorkflowDefinition
	// Done is the shell's.
	Done any

	tries int
	// stored: a run of this id is in the journal.
	stored bool
}

// start starts a run as if it were new. If it is not, its first entry conflicts,
// and the stored run says whether it is the same.
func (h *Host) start(s *Starting, now time.Time) {
	id := s.Message.RunId
	s.tries++
	if !h.facts.Owns(id) {
		h.act(StartDone{Starting: s, Reply: failed(messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server now", id))})
		return
	}
	if p := h.parking[id]; p != nil {
		p.more = append(p.more, s)
		return
	}
	a := h.active.Get(id)
	if a == nil {
		l := h.lineOfStart(s)
		if l != nil && h.full(l) {
			h.startParked(s, now)
			return
		}
		a = &Activation{RunID: id}
		if !s.stored {
			a.fresh = s.Def
		}
		h.spawn(a)
		if l != nil {
			h.join(a, l, len(s.Message.Start.Input))
		}
	}
	h.tell(a, run.Start{Started: s.Message.Start, Cancel: s.Message.Cancel, Signal: s.Message.Signal, Token: s}, nil)
}

// Answered turns the machine's reply into that of the start; nil if the start is
// to be given to the host again.
func (s *Starting) Answered(r run.Reply) *messages.StartRunReply {
	code := messages.CodeOf(r.Err)
	switch {
	case code == messages.CodeJournalConflict && s.tries < startTries:
		s.stored = true
		return nil
	case code == messages.CodeUnknownRun && s.tries < startTries:
		// Another start of it failed before it was stored.
		s.stored = false
		return nil
	case code == messages.CodeUnknownRun:
		// Only others asked for it; nothing is wrong with the start.
		return failed(messages.Errorf(messages.CodeUnavailable, "run %s was asked for %d times before it could be stored", s.Message.RunId, s.tries))
	}
	return &messages.StartRunReply{Existed: r.Existed, Error: messages.ToFailure(r.Err)}
}

func failed(err error) *messages.StartRunReply {
	return &messages.StartRunReply{Error: messages.ToFailure(err)}
}
