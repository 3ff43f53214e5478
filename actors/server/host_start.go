package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// startAgain is the wait before a run that does not answer its start is
// started again, doubled each time: the activation may have failed.
const startAgain = 2 * time.Second

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
// those that are neither when ctx ends or the server is cut off,
// JOURNAL_UNAVAILABLE when the journal is out of reach for some seconds.
func (h *Host) startRuns(ctx context.Context, runs []*messages.StartRun) []*messages.StartRunReply {
	s := &starts{replies: make([]*messages.StartRunReply, len(runs)), left: len(runs), done: make(chan struct{})}
	if len(runs) == 0 {
		return s.replies
	}
	for wait := startAgain; ; wait *= 2 {
		for i, msg := range runs {
			if !s.answered(i) {
				h.start(ctx, msg, func(r *messages.StartRunReply) { s.answer(i, r) })
			}
		}
		switch err := h.awaitStarts(ctx, s, wait); {
		case err == nil:
			return s.replies
		case !errors.Is(err, errNotYet):
			return s.giveUp(err)
		}
		if down := h.journalDown(ctx); down != nil {
			return s.giveUp(messages.Errorf(messages.CodeJournalUnavailable, "not known whether the run was started: %w", down))
		}
	}
}

// errNotYet: some starts were not answered in time.
var errNotYet = errors.New("not answered yet")

// awaitStarts waits until all starts are answered, for some time. A server that is
// cut off meanwhile, perhaps from the journal, has given the runs up.
func (h *Host) awaitStarts(ctx context.Context, s *starts, wait time.Duration) error {
	again := time.NewTimer(wait)
	defer again.Stop()
	for {
		_, moved := h.moved.Watch()
		if h.cfg.Node.CutOff() {
			return messages.Errorf(messages.CodeUnavailable, "this server lost the others or the journal; it is not known whether the run was started")
		}
		select {
		case <-s.done:
			return nil
		case <-moved:
		case <-again.C:
			return errNotYet
		case <-ctx.Done():
			return messages.Errorf(messages.CodeUnavailable, "not known whether the run was started: %w", ctx.Err())
		}
	}
}

// start starts a run.
func (h *Host) start(ctx context.Context, msg *messages.StartRun, done func(*messages.StartRunReply)) {
	def, err := h.definitions.ByHash(ctx, msg.Start.DefinitionHash)
	if err != nil {
		done(&messages.StartRunReply{Error: messages.ToFailure(err)})
		return
	}
	h.handle(activation.Start{Starting: &activation.Starting{Message: msg, Def: def.Def, Done: done}})
}

// startAnswered takes the machine's answer to a start, which may have to be tried
// again.
func (h *Host) startAnswered(s *activation.Starting, r run.Reply) {
	if reply := s.Answered(r); reply != nil {
		s.Done.(func(*messages.StartRunReply))(reply)
		return
	}
	h.handle(activation.Start{Starting: s})
}
