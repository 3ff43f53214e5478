package node

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// commitGrace is how long after a failed commit the journal still counts as out
// of reach for writing, beyond the pause before the next try.
const commitGrace = 2 * time.Second

// journalHealth knows whether the journal can be read and written.
type journalHealth struct {
	store   journal.Store
	metrics *metrics.Server
	// failing is the last failed commit since one succeeded.
	failing atomic.Pointer[commitFailure]
}

type commitFailure struct {
	err   error
	until time.Time
}

// hooks note and count commits, and log those that failed.
func (j *journalHealth) hooks(log *slog.Logger) journal.CommitterHooks {
	return journal.CommitterHooks{
		Retrying: func(err error, try int, wait time.Duration) {
			j.metrics.CommitRetried()
			j.failing.Store(&commitFailure{err, time.Now().Add(wait + commitGrace)})
			log.Warn("journal is out of reach, trying again", "try", try, "wait", wait.Round(time.Millisecond), "error", err)
		},
		Committed: func(c journal.CommitStats) {
			j.failing.Store(nil)
			j.metrics.Commit(c)
		},
	}
}

// check returns why the journal is out of reach: commits fail, or it does not
// tell the time.
func (j *journalHealth) check(ctx context.Context) error {
	if f := j.failing.Load(); f != nil && time.Now().Before(f.until) {
		return f.err
	}
	_, err := j.store.Now(ctx)
	return err
}

// member returns why this server can route no calls.
func (s *Server) member() error {
	view, self := s.node.View(), s.node.Self()
	at := slices.IndexFunc(view.Members, func(m cluster.Member) bool { return m.Name == self.Name })
	if at < 0 {
		return messages.Errorf(messages.CodeUnavailable, "the server is not in its own view of the cluster")
	}
	if state := view.Members[at].State; state != cluster.StateReady {
		return messages.Errorf(messages.CodeUnavailable, "the server is %s", state)
	}
	if _, ok := view.OwnerOfShard(0); !ok {
		return messages.Errorf(messages.CodeUnavailable, "no server owns runs")
	}
	return nil
}
