package worker

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// Drain lets the worker come to its end and returns at once: attempts of runs
// that may go elsewhere are refused, bound runs are served until they have left
// and running attempts end, both up to the grace; Done tells the rest.
func (w *Worker) Drain() {
	w.drainOnce.Do(func() {
		w.cfg.Hooks.draining()
		w.root.Send(w.pid, beginDrain{time.Now().Add(w.cfg.Grace)})
		w.shown.show(cluster.StateLeaving)
	})
}

// drain does what an operator asks for, and answers: the process stays.
func (a *workerActor) drain(ctx actor.Context, now time.Time, m *messages.DrainWorker) {
	w := a.worker
	err := a.drainOrUndrain(ctx, now, m)
	if err != nil {
		w.cfg.Logger.Info("a drain was refused", "undrain", m.Undrain, "error", err)
	}
	if ctx.Sender() != nil {
		ctx.Respond(&messages.DrainWorkerReply{Error: messages.ToFailure(err)})
	}
}

func (a *workerActor) drainOrUndrain(ctx actor.Context, now time.Time, m *messages.DrainWorker) error {
	w := a.worker
	if m.WorkerId != w.info.WorkerId || m.Incarnation != w.info.Incarnation {
		return messages.Errorf(messages.CodeUnknownWorker, "this is worker %q, incarnation %s", w.info.WorkerId, w.info.Incarnation)
	}
	drained := a.core.Draining()
	if m.Undrain {
		actions, err := a.core.Undrain(now)
		if err != nil || !drained {
			return err
		}
		a.do(ctx, actions)
		w.cfg.Logger.Info("the worker was told not to drain any more")
		w.cfg.Hooks.undrained()
		w.shown.show(cluster.StateReady)
		return nil
	}
	left := time.Duration(m.DeadlineMs) * time.Millisecond
	if left <= 0 {
		left = w.cfg.Grace
	}
	actions, err := a.core.DrainFor(now, now.Add(left))
	if err != nil {
		return err
	}
	a.do(ctx, actions)
	w.cfg.Logger.Info("the worker was told to drain", "within", left)
	if !drained {
		w.cfg.Hooks.draining()
		w.shown.show(cluster.StateDraining)
	}
	return nil
}

// shownState tells the cluster the state of a worker, the newest one: that may
// take a moment, in which others follow. Leaving is the last one.
type shownState struct {
	worker *Worker

	mu     sync.Mutex
	wanted cluster.State
	busy   bool
}

func (s *shownState) show(state cluster.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted != cluster.StateLeaving {
		s.wanted = state
	}
	if !s.busy {
		s.busy = true
		go s.run()
	}
}

func (s *shownState) run() {
	w := s.worker
	for {
		s.mu.Lock()
		state := s.wanted
		s.mu.Unlock()
		w.node.SetState(state)
		s.mu.Lock()
		if s.wanted == state {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// askBound asks the owners of runs whether they are still bound here. What is
// lost on the way is asked again.
func (w *Worker) askBound(runs []*messages.BoundRun) {
	view := w.node.View()
	asks := map[string]*messages.StillBound{}
	owners := map[string]*actor.PID{}
	for _, r := range runs {
		host, ok := view.HostPID(r.RunId)
		if !ok {
			continue
		}
		ask := asks[host.Address]
		if ask == nil {
			ask = &messages.StillBound{WorkerId: w.info.WorkerId, Incarnation: w.info.Incarnation,
				ReplyAddress: w.pid.Address, ReplyActorId: w.pid.Id}
			asks[host.Address], owners[host.Address] = ask, host
		}
		ask.Runs = append(ask.Runs, r)
	}
	for address, ask := range asks {
		w.root.Send(owners[address], ask)
	}
}
