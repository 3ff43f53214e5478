package server

import (
	"context"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

const (
	// startTries bounds how often a start is repeated because another
	// activation of the same id came in between.
	startTries = 3
	// startAgain is the wait before a run that does not answer its start is
	// started again, doubled each time: the activation may have failed.
	startAgain = 2 * time.Second
)

// starts are the runs of one call.
type starts struct {
	mu      sync.Mutex
	replies []*messages.StartRunReply
	left    int
	done    chan struct{}
}

func (s *starts) answer(i int, r *messages.StartRunReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replies[i] != nil {
		return
	}
	s.replies[i] = r
	if s.left--; s.left == 0 {
		close(s.done)
	}
}

func (s *starts) answered(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replies[i] != nil
}

// giveUp answers the starts that are not answered yet.
func (s *starts) giveUp(err error) []*messages.StartRunReply {
	for i := range s.replies {
		s.answer(i, &messages.StartRunReply{Error: messages.ToFailure(err)})
	}
	return s.replies
}

// startRuns returns once all runs are durable or refused; UNAVAILABLE for
// those that are neither when ctx ends, JOURNAL_UNAVAILABLE when the journal is
// out of reach for some seconds.
func (h *Host) startRuns(ctx context.Context, runs []*messages.StartRun) []*messages.StartRunReply {
	s := &starts{replies: make([]*messages.StartRunReply, len(runs)), left: len(runs), done: make(chan struct{})}
	if len(runs) == 0 {
		return s.replies
	}
	again := time.NewTimer(startAgain)
	defer again.Stop()
	for wait := startAgain; ; wait *= 2 {
		for i, msg := range runs {
			if !s.answered(i) {
				h.start(ctx, msg, func(r *messages.StartRunReply) { s.answer(i, r) })
			}
		}
		again.Reset(wait)
		select {
		case <-s.done:
			return s.replies
		case <-again.C:
			if down := h.journalDown(ctx); down != nil {
				return s.giveUp(messages.Errorf(messages.CodeJournalUnavailable, "not known whether the run was started: %w", down))
			}
		case <-ctx.Done():
			return s.giveUp(messages.Errorf(messages.CodeUnavailable, "not known whether the run was started: %w", ctx.Err()))
		}
	}
}

// start starts a run as if it were new. If it is not, its first entry
// conflicts, and the stored run says whether it is the same.
func (h *Host) start(ctx context.Context, msg *messages.StartRun, done func(*messages.StartRunReply)) {
	fail := func(err error) { done(&messages.StartRunReply{Error: messages.ToFailure(err)}) }
	def, err := h.definitions.ByHash(ctx, msg.Start.DefinitionHash)
	if err != nil {
		fail(err)
		return
	}
	tries := 0
	var try func(fresh *Definition)
	try = func(fresh *Definition) {
		tries++
		if !h.owns(msg.RunId) {
			fail(messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server now", msg.RunId))
			return
		}
		sent := h.tell(msg.RunId, fresh, &startRun{msg, func(r run.Reply) {
			switch code := messages.CodeOf(r.Err); {
			case code == messages.CodeJournalConflict && tries < startTries:
				try(nil)
			case code == messages.CodeUnknownRun && tries < startTries:
				// Another start of it failed before it was stored.
				try(def)
			case code == messages.CodeUnknownRun:
				// Only others asked for it; nothing is wrong with the start.
				fail(messages.Errorf(messages.CodeUnavailable, "run %s was asked for %d times before it could be stored", msg.RunId, tries))
			default:
				done(&messages.StartRunReply{Existed: r.Existed, Error: messages.ToFailure(r.Err)})
			}
		}}, nil)
		if !sent {
			fail(messages.Errorf(messages.CodeUnavailable, "the server is stopping"))
		}
	}
	try(def)
}
