package server_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// asksBound asks the host of a server whether runs are bound to a worker, and
// returns what it hears of them within a second.
func (w *hostWorld) asksBound(s *actorstest.Server, p *actorstest.Worker, epoch uint64, runs ...string) map[string]string {
	w.T.Helper()
	heard := make(chan *messages.RunReleased, len(runs))
	root := s.Node.System().Root
	pid := root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.RunReleased); ok {
			heard <- m
		}
	}))
	ask := &messages.StillBound{WorkerId: p.Ref().WorkerId, Incarnation: p.Ref().Incarnation, ReplyAddress: pid.Address, ReplyActorId: pid.Id}
	for _, id := range runs {
		ask.Runs = append(ask.Runs, &messages.BoundRun{RunId: id, Epoch: epoch})
	}
	root.Send(actor.NewPID(s.Node.Self().Address, cluster.HostActor), ask)
	time.Sleep(time.Second)
	root.Stop(pid)
	out := map[string]string{}
	for range len(heard) {
		m := <-heard
		if m.Epoch != epoch {
			w.T.Errorf("run %s is released under epoch %d, asked about %d", m.RunId, m.Epoch, epoch)
		}
		out[m.RunId] = m.Reason.Words()
	}
	return out
}

// untilDone runs until its context ends.
func untilDone(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// What a host says of runs that a worker believes bound: nothing of those that
// are, and it wakes none.
func TestHostAnswersForBoundRuns(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		ended, backoff := w.Workflow("ends", soft, succeed), w.Workflow("fails", soft, failOnce)
		busy, waits := w.Workflow("runs", soft, untilDone), w.Workflow("waits", hard, untilDone)
		s := w.Server("s1")
		p := w.Worker("w1", ended, backoff, busy, waits)
		w.Start(s, "ended", ended)
		w.Ends(s, "ended", time.Minute, succeeded)
		w.Start(s, "asleep", backoff)
		w.Dormant(s, "asleep")
		w.Start(s, "busy", busy)
		w.Start(s, "hard", waits)
		time.Sleep(time.Second)
		all := []string{"ended", "asleep", "busy", "hard", "never-was"}
		if got := w.asksBound(s, p, 1, all...); len(got) != 2 || got["ended"] != "run-ended" || got["never-was"] != "run-ended" {
			w.T.Errorf("of its runs the worker hears %v", got)
		}
		if n := s.Host.Awake([]string{"asleep", "ended"}); n != 0 {
			w.T.Errorf("%d runs were woken", n)
		}
		// Another worker, that had them under an epoch that is over or is this
		// one, and one that knows of a later epoch than this server.
		q := w.Worker("w2", ended)
		if got := w.asksBound(s, q, 1, all...); len(got) != 5 || got["busy"] != "rebound" || got["asleep"] != "rebound" || got["hard"] != "rebound" {
			w.T.Errorf("another worker hears %v", got)
		}
		if got := w.asksBound(s, q, 2, "busy", "asleep", "hard"); len(got) != 0 {
			w.T.Errorf("of an epoch that the server does not know it says %v", got)
		}
		// A HARD run stays with the worker that is lost; it may be back.
		p.Kill()
		time.Sleep(10 * time.Second)
		if got := w.asksBound(s, p, 1, "hard", "busy"); len(got) != 1 || got["busy"] != "rebound" {
			w.T.Errorf("the lost worker hears %v", got)
		}
	})
}

// shown is a worker as a server's engine lists it.
func shown(s *actorstest.Server, id string) *api.Worker {
	all := s.Host.Engine().Workers(context.Background())
	if i := slices.IndexFunc(all, func(w *api.Worker) bool { return w.WorkerId == id }); i >= 0 {
		return all[i]
	}
	return nil
}

// The message that a run is released is lost: the worker asks, is told, and
// cancels what it still executes of it.
func TestHostToldOfALostRelease(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, untilDone)
		s := w.Server("s1")
		p := w.Worker("w1", def)
		// A run that is over for long, as far as the journal knows.
		s.Node.System().Root.Send(p.PID(), &messages.Dispatch{RunId: "r1", Step: "work", Attempt: 1, Epoch: 1,
			Workflow: "build", Sticky: soft, Input: []byte("null"), ExecutionTimeoutMs: messages.TimeoutNeverMs,
			ReplyAddress: s.Node.Self().Address, ReplyActorId: cluster.HostActor})
		time.Sleep(30 * time.Second)
		if v := shown(s, "w1"); v.BoundSoft != 1 || v.Running != 1 {
			w.T.Fatalf("the worker does not believe the run bound: %v", v)
		}
		time.Sleep(time.Minute)
		if v := shown(s, "w1"); v.BoundSoft != 0 || v.Running != 0 {
			w.T.Errorf("the worker still believes the run bound: %v", v)
		}
	})
}

// A server shows the load of workers whose placement is on another one, and
// drains and undrains them.
func TestHostDrainsAWorker(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		var running int
		def := w.Workflow("build", soft, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
			running++
			time.Sleep(3 * time.Second)
			return []byte("1"), nil
		})
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2")}
		w.Worker("w1", def)
		w.Settled(servers...)
		w.Start(servers[0], "r1", def)
		time.Sleep(1500 * time.Millisecond)
		for _, s := range servers {
			if v := shown(s, "w1"); !v.Reported || v.Running != 1 || v.BoundSoft != 1 || v.BoundRuns != 1 || v.State != api.WorkerUp || v.DrainLeft != nil {
				w.T.Errorf("%s shows %v", s.Node.Self().Name, v)
			}
		}
		v, err := servers[1].Host.Engine().DrainWorker(w.T.Context(), "w1", time.Minute)
		if err != nil || v.State != api.WorkerDraining || v.Ending || v.StateReason != messages.Reason_REASON_WORKER_DRAINING {
			w.T.Fatalf("drained: %v, %v", v, err)
		}
		time.Sleep(1500 * time.Millisecond)
		for _, s := range servers {
			if v := shown(s, "w1"); v.State != api.WorkerDraining || v.DrainLeft.AsDuration() < 50*time.Second || v.DrainLeft.AsDuration() > time.Minute {
				w.T.Errorf("%s shows %v", s.Node.Self().Name, v)
			}
		}
		w.Ends(servers[0], "r1", time.Minute, succeeded)
		w.Start(servers[0], "r2", def)
		time.Sleep(10 * time.Second)
		if running != 1 {
			w.T.Errorf("%d runs ran on a draining worker", running-1)
		}
		if v, err = servers[0].Host.Engine().UndrainWorker(w.T.Context(), "w1"); err != nil || v.State != api.WorkerUp {
			w.T.Fatalf("undrained: %v, %v", v, err)
		}
		w.Ends(servers[0], "r2", time.Minute, succeeded)
		if _, err = servers[0].Host.Engine().DrainWorker(w.T.Context(), "w9", 0); messages.CodeOf(err) != messages.CodeUnknownWorker {
			w.T.Errorf("drain of nobody: %v", err)
		}
	})
}
