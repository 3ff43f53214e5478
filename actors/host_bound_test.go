package actors

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// asksBound asks the host of a server whether runs are bound to a worker, and
// returns what it hears of them within a second.
func (w *hostWorld) asksBound(s *testServer, p *hostWorker, epoch uint64, runs ...string) map[string]string {
	w.t.Helper()
	heard := make(chan *messages.RunReleased, len(runs))
	root := s.node.System().Root
	pid := root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.RunReleased); ok {
			heard <- m
		}
	}))
	ask := &messages.StillBound{WorkerId: p.info.WorkerId, Incarnation: p.info.Incarnation, ReplyAddress: pid.Address, ReplyActorId: pid.Id}
	for _, id := range runs {
		ask.Runs = append(ask.Runs, &messages.BoundRun{RunId: id, Epoch: epoch})
	}
	root.Send(actor.NewPID(s.node.Self().Address, cluster.HostActor), ask)
	time.Sleep(time.Second)
	root.Stop(pid)
	out := map[string]string{}
	for range len(heard) {
		m := <-heard
		if m.Epoch != epoch {
			w.t.Errorf("run %s is released under epoch %d, asked about %d", m.RunId, m.Epoch, epoch)
		}
		out[m.RunId] = m.Reason
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
		ended, backoff := w.workflow("ends", soft, succeed), w.workflow("fails", soft, failOnce)
		busy, waits := w.workflow("runs", soft, untilDone), w.workflow("waits", hard, untilDone)
		s := w.server("s1")
		p := w.worker("w1", ended, backoff, busy, waits)
		w.start(s, "ended", ended)
		w.ends(s, "ended", time.Minute, succeeded)
		w.start(s, "asleep", backoff)
		w.dormant(s, "asleep")
		w.start(s, "busy", busy)
		w.start(s, "hard", waits)
		time.Sleep(time.Second)
		all := []string{"ended", "asleep", "busy", "hard", "never-was"}
		if got := w.asksBound(s, p, 1, all...); len(got) != 2 || got["ended"] != "run-ended" || got["never-was"] != "run-ended" {
			w.t.Errorf("of its runs the worker hears %v", got)
		}
		if n := s.awake([]string{"asleep", "ended"}); n != 0 {
			w.t.Errorf("%d runs were woken", n)
		}
		// Another worker, that had them under an epoch that is over or is this
		// one, and one that knows of a later epoch than this server.
		q := w.worker("w2", ended)
		if got := w.asksBound(s, q, 1, all...); len(got) != 5 || got["busy"] != "rebound" || got["asleep"] != "rebound" || got["hard"] != "rebound" {
			w.t.Errorf("another worker hears %v", got)
		}
		if got := w.asksBound(s, q, 2, "busy", "asleep", "hard"); len(got) != 0 {
			w.t.Errorf("of an epoch that the server does not know it says %v", got)
		}
		// A HARD run stays with the worker that is lost; it may be back.
		p.kill()
		time.Sleep(10 * time.Second)
		if got := w.asksBound(s, p, 1, "hard", "busy"); len(got) != 1 || got["busy"] != "rebound" {
			w.t.Errorf("the lost worker hears %v", got)
		}
	})
}

// shown is a worker as a server's engine lists it.
func (s *testServer) shown(id string) *api.Worker {
	all := s.host.Engine().Workers(context.Background())
	if i := slices.IndexFunc(all, func(w *api.Worker) bool { return w.WorkerId == id }); i >= 0 {
		return all[i]
	}
	return nil
}

// The message that a run is released is lost: the worker asks, is told, and
// cancels what it still executes of it.
func TestHostToldOfALostRelease(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, untilDone)
		s := w.server("s1")
		p := w.worker("w1", def)
		// A run that is over for long, as far as the journal knows.
		s.node.System().Root.Send(actor.NewPID(p.pid.Address, p.pid.Id), &messages.Dispatch{RunId: "r1", Step: "work", Attempt: 1, Epoch: 1,
			Workflow: "build", Sticky: soft, Input: []byte("null"), ExecutionTimeoutMs: messages.TimeoutNeverMs,
			ReplyAddress: s.node.Self().Address, ReplyActorId: cluster.HostActor})
		time.Sleep(30 * time.Second)
		if v := s.shown("w1"); v.BoundSoft != 1 || v.Running != 1 {
			w.t.Fatalf("the worker does not believe the run bound: %v", v)
		}
		time.Sleep(time.Minute)
		if v := s.shown("w1"); v.BoundSoft != 0 || v.Running != 0 {
			w.t.Errorf("the worker still believes the run bound: %v", v)
		}
	})
}

// A server shows the load of workers whose placement is on another one, and
// drains and undrains them.
func TestHostDrainsAWorker(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		var running int
		def := w.workflow("build", soft, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
			running++
			time.Sleep(3 * time.Second)
			return []byte("1"), nil
		})
		servers := []*testServer{w.server("s1"), w.server("s2")}
		w.worker("w1", def)
		w.settled(servers...)
		w.start(servers[0], "r1", def)
		time.Sleep(1500 * time.Millisecond)
		for _, s := range servers {
			if v := s.shown("w1"); !v.Reported || v.Running != 1 || v.BoundSoft != 1 || v.BoundRuns != 1 || v.State != "up" || v.DrainLeft != nil {
				w.t.Errorf("%s shows %v", s.node.Self().Name, v)
			}
		}
		v, err := servers[1].host.Engine().DrainWorker(w.t.Context(), "w1", time.Minute)
		if err != nil || v.State != "draining" || v.Ending || v.StateReason != "worker draining" {
			w.t.Fatalf("drained: %v, %v", v, err)
		}
		time.Sleep(1500 * time.Millisecond)
		for _, s := range servers {
			if v := s.shown("w1"); v.State != "draining" || v.DrainLeft.AsDuration() < 50*time.Second || v.DrainLeft.AsDuration() > time.Minute {
				w.t.Errorf("%s shows %v", s.node.Self().Name, v)
			}
		}
		w.ends(servers[0], "r1", time.Minute, succeeded)
		w.start(servers[0], "r2", def)
		time.Sleep(10 * time.Second)
		if running != 1 {
			w.t.Errorf("%d runs ran on a draining worker", running-1)
		}
		if v, err = servers[0].host.Engine().UndrainWorker(w.t.Context(), "w1"); err != nil || v.State != "up" {
			w.t.Fatalf("undrained: %v, %v", v, err)
		}
		w.ends(servers[0], "r2", time.Minute, succeeded)
		if _, err = servers[0].host.Engine().DrainWorker(w.t.Context(), "w9", 0); messages.CodeOf(err) != messages.CodeUnknownWorker {
			w.t.Errorf("drain of nobody: %v", err)
		}
	})
}
