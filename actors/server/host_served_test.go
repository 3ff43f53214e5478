package server_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// servedWorld has a workflow that is left out when nobody serves it for two minutes.
type servedWorld struct {
	*hostWorld
	def   *messages.WorkflowDefinition
	notes atomic.Int32
}

func servedBubble(t *testing.T, f func(w *servedWorld)) {
	hostBubble(t, func(h *hostWorld) {
		w := &servedWorld{hostWorld: h, def: h.Workflow("build", soft, untilDone)}
		w.Store.Before(func(method, _ string) error {
			if method == "NoteUnserved" {
				w.notes.Add(1)
			}
			return nil
		})
		f(w)
	})
}

func (w *servedWorld) server(id string) *actorstest.Server {
	return w.StartServer(id, w.Network.Host(id), server.HostConfig{UnservedAfter: 2 * time.Minute})
}

// seen is the workflow as a server sees it.
func (w *servedWorld) seen(s *actorstest.Server) definitions.Served {
	w.T.Helper()
	all, err := s.Host.Engine().Workflows(w.T.Context())
	if err != nil || len(all) != 1 {
		w.T.Fatalf("workflows %v, %v", all, err)
	}
	return all[0]
}

// takesPart fails unless events start runs of the workflow, or do not, on all servers.
func (w *servedWorld) takesPart(when string, want bool, servers ...*actorstest.Server) {
	w.T.Helper()
	for i, s := range servers {
		if err := w.seen(s).MayStartByEvent(); (err == nil) != want {
			w.T.Errorf("%s, server %d: %v, want it to take part: %v", when, i+1, err, want)
		}
	}
}

func (w *servedWorld) noted(when string, want int32) {
	w.T.Helper()
	if n := w.notes.Load(); n != want {
		w.T.Errorf("%s: %d notes, want %d", when, n, want)
	}
}

// A workflow that no worker serves for long is left out by all servers, and takes
// part again as soon as a worker is admitted; a note is written when that changes.
func TestHostLeavesOutWhatNobodyServes(t *testing.T) {
	servedBubble(t, func(w *servedWorld) {
		s1, s2 := w.server("s1"), w.server("s2")
		w.Settled(s1, s2)
		first, second := w.Worker("w1", w.def), w.Worker("w2", w.def)
		time.Sleep(3 * time.Minute)
		if v := w.seen(s1); v.Workers != 2 || !v.UnservedSince.IsZero() {
			w.T.Errorf("served: %+v", v)
		}
		first.Kill()
		time.Sleep(3 * time.Minute)
		w.takesPart("with one worker", true, s1, s2)
		w.noted("with one worker", 0)
		second.Kill()
		time.Sleep(110 * time.Second)
		w.takesPart("not for long", true, s1, s2)
		if v := w.seen(s2); v.Workers != 0 || time.Since(v.UnservedSince) < 100*time.Second {
			w.T.Errorf("unserved: %+v", v)
		}
		time.Sleep(15 * time.Second)
		w.takesPart("for long", false, s1, s2)
		if v := w.seen(s2); v.LeftOutSince.Sub(v.UnservedSince) != 2*time.Minute || v.LeftOutAfter != 2*time.Minute {
			w.T.Errorf("left out: %+v", v)
		}
		w.noted("for long", 1)
		third := w.Worker("w3", w.def)
		w.takesPart("with a new worker", true, s1, s2)
		time.Sleep(3 * time.Minute)
		w.takesPart("with a new worker", true, s1, s2)
		w.noted("with a new worker", 2)

		// A worker that drains takes no new runs.
		if _, err := s1.Host.Engine().DrainWorker(w.T.Context(), third.Ref().WorkerId, time.Hour); err != nil {
			w.T.Fatal(err)
		}
		time.Sleep(125 * time.Second)
		w.takesPart("drained for long", false, s1, s2)
		if _, err := s1.Host.Engine().UndrainWorker(w.T.Context(), third.Ref().WorkerId); err != nil {
			w.T.Fatal(err)
		}
		w.takesPart("undrained", true, s1)
	})
}

// A server that starts anew does not forget since when, and gives workers time to
// come back; the time in which no server was there does not count.
func TestHostRemembersWhatNobodyServes(t *testing.T) {
	servedBubble(t, func(w *servedWorld) {
		s := w.server("s1")
		w.Settled(s)
		worker := w.Worker("w1", w.def)
		time.Sleep(time.Minute)
		again := func(away time.Duration) {
			s.Kill()
			w.First = nil
			time.Sleep(away)
			s = w.StartServer("s1", s.Network.Again(), server.HostConfig{UnservedAfter: 2 * time.Minute})
		}
		again(3 * time.Minute)
		time.Sleep(time.Minute)
		if v := w.seen(s); v.Workers != 1 || !v.UnservedSince.IsZero() {
			w.T.Errorf("its worker is back: %+v", v)
		}
		w.noted("its worker is back", 0)

		worker.Kill()
		time.Sleep(time.Minute)
		again(3 * time.Second)
		since := w.seen(s).UnservedSince
		if ago := time.Since(since); ago < 50*time.Second {
			w.T.Errorf("it was forgotten since when: %v", ago)
		}
		again(10 * time.Minute)
		w.takesPart("no server was there", true, s)
		time.Sleep(50 * time.Second)
		w.takesPart("not for long while a server was there", true, s)
		time.Sleep(30 * time.Second)
		w.takesPart("for long while a server was there", false, s)
		again(3 * time.Second)
		w.takesPart("after a restart", false, s)
		if got := w.seen(s).UnservedSince; !got.Equal(since) {
			w.T.Errorf("unserved since %v, was %v", got, since)
		}
		w.noted("in the end", 1)
	})
}

// What no worker serves when a server begins is noted once workers had time to come;
// without a limit nothing is left out.
func TestHostNotesWhatNobodyServed(t *testing.T) {
	servedBubble(t, func(w *servedWorld) {
		w.Record(w.def)
		s := w.StartServer("s1", w.Network.Host("s1"), server.HostConfig{})
		time.Sleep(9 * time.Second)
		w.noted("at the start", 0)
		time.Sleep(2 * time.Second)
		w.noted("soon", 1)
		time.Sleep(5 * time.Minute)
		w.takesPart("without a limit", true, s)
		if v := w.seen(s); time.Since(v.UnservedSince) < 4*time.Minute {
			w.T.Errorf("unserved: %+v", v)
		}
		w.noted("in the end", 1)
	})
}

// A worker that comes back without a workflow soon after the server began leaves that
// unserved at once: it was seen to be served, so no worker needs time to come.
func TestHostNotesWhatAWorkerComesBackWithout(t *testing.T) {
	servedBubble(t, func(w *servedWorld) {
		s := w.server("s1")
		first := w.Worker("w1", w.def)
		w.Within(time.Second, "w1 is admitted", func() bool { return w.seen(s).Workers == 1 })
		first.Kill()
		w.WorkerOn("w1", first.Network.Again(), w.Workflow("test", soft, untilDone))
		time.Sleep(5 * time.Second)
		w.noted("soon after it came back", 1)
		all, err := s.Host.Engine().Workflows(w.T.Context())
		if err != nil || len(all) != 2 {
			w.T.Fatalf("workflows %v, %v", all, err)
		}
		for _, v := range all {
			if served := v.Def.GetName() == "test"; v.UnservedSince.IsZero() != served || (v.Workers == 1) != served {
				w.T.Errorf("%s: %+v", v.Def.GetName(), v)
			}
		}
	})
}
