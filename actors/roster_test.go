package actors

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// rosterWorld is a cluster in memory on fake time: a server with a roster, and
// worker processes that answer who they are and do nothing else.
type rosterWorld struct {
	t       *testing.T
	network clustertest.Network
	server  *cluster.Node
	roster  *Roster
	nodes   []*cluster.Node
	stops   []func()
	// place activates placement on the server; nil without.
	place func(string) (*actor.PID, error)
}

func rosterBubble(t *testing.T, f func(w *rosterWorld)) {
	bubble.Test(t, func(t *testing.T) {
		w := &rosterWorld{t: t}
		defer func() {
			w.network.Heal()
			for _, stop := range w.stops {
				stop()
			}
			for _, n := range w.nodes {
				_ = n.Stop(context.Background())
			}
			// The actor library leaves tickers that end by themselves.
			time.Sleep(2 * time.Second)
		}()
		w.server = w.node("s1", cluster.Config{Role: cluster.RoleServer, Kinds: []cluster.Kind{{Name: cluster.KindPlacement,
			Activate: func(pool string) (*actor.PID, error) { return w.place(pool) }}}})
		w.roster = NewRoster(RosterConfig{Node: w.server, Logger: slog.New(slog.DiscardHandler)})
		w.stops = append(w.stops, w.roster.Stop)
		f(w)
	})
}

func (w *rosterWorld) node(id string, c cluster.Config) *cluster.Node {
	w.t.Helper()
	return w.nodeOn(w.network.Host(id), id, c)
}

func (w *rosterWorld) nodeOn(h *clustertest.Host, id string, c cluster.Config) *cluster.Node {
	w.t.Helper()
	c.ID, c.Logger = id, slog.New(slog.DiscardHandler)
	if w.server != nil {
		c.Join = []string{w.server.Self().GossipAddress}
	}
	n, err := cluster.Start(w.t.Context(), h.Configure(c))
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return n
}

// testWorker is a worker process.
type testWorker struct {
	w          *rosterWorld
	node       *cluster.Node
	host       *clustertest.Host
	info       *messages.WorkerInfo
	draining   atomic.Bool
	silent     atomic.Bool
	superseded chan *messages.Superseded
}

// worker starts a process of a worker that has not been admitted yet.
func (w *rosterWorld) worker(id string) *testWorker {
	w.t.Helper()
	p := &testWorker{w: w, host: w.network.Host(id), superseded: make(chan *messages.Superseded, 100)}
	p.node = w.nodeOn(p.host, id, cluster.Config{Role: cluster.RoleWorker, Pool: "default"})
	self := p.node.Self()
	p.info = &messages.WorkerInfo{
		WorkerId: id, Incarnation: self.Incarnation, Pool: "default", Address: self.Address, Slots: 2, Host: "h", ProcessId: 7,
		ActorId: messages.WorkerActorID(id, self.Incarnation), StartedUs: time.Now().UnixMicro(),
		Workflows: []*messages.WorkflowDefinition{{Name: "build", Steps: []*messages.StepDefinition{{Name: "s1"}}}},
	}
	_, err := p.node.System().Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *messages.Describe:
			if p.silent.Load() {
				return
			}
			ctx.Respond(&messages.DescribeReply{Worker: p.info, Draining: p.draining.Load()})
		case *messages.Superseded:
			p.superseded <- m
		}
	}), p.info.ActorId)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *rosterWorld) ready(id string) *testWorker {
	w.t.Helper()
	p := w.worker(id)
	p.set(cluster.StateReady)
	return p
}

// watched starts a process, and a run that has heard that it is up.
func (w *rosterWorld) watched(id string) (*testWorker, *testRun) {
	w.t.Helper()
	p, watcher := w.worker(id), w.run()
	w.roster.Watch(id, p.info.Incarnation, watcher.pid)
	p.set(cluster.StateReady)
	watcher.hears(time.Second, p, "up")
	return p, watcher
}

func (p *testWorker) set(s cluster.State) {
	p.w.t.Helper()
	if err := p.node.SetState(s); err != nil {
		p.w.t.Fatal(err)
	}
}

// testRun is an actor that hears of workers.
type testRun struct {
	w    *rosterWorld
	pid  *actor.PID
	news chan *run.WorkerChanged
}

func (w *rosterWorld) run() *testRun {
	r := &testRun{w: w, news: make(chan *run.WorkerChanged, 1000)}
	r.pid = w.server.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if c, ok := ctx.Message().(*run.WorkerChanged); ok {
			r.news <- c
		}
	}))
	return r
}

// hears waits for the next news: "up", "draining", or "gone: reason".
func (r *testRun) hears(within time.Duration, p *testWorker, want string) {
	r.w.t.Helper()
	r.hearsOf(within, p.info.Incarnation, want)
}

func (r *testRun) hearsOf(within time.Duration, incarnation, want string) {
	r.w.t.Helper()
	select {
	case c := <-r.news:
		got := c.State.String()
		if c.State == run.WorkerGone {
			got += ": " + c.Reason
		}
		if got != want || c.Worker.Incarnation != incarnation {
			r.w.t.Fatalf("heard %q of %s, want %q of %s", got, c.Worker.Incarnation, want, incarnation)
		}
		if c.State != run.WorkerGone && c.Info.GetIncarnation() != incarnation {
			r.w.t.Fatalf("%q comes with the info of %q", got, c.Info.GetIncarnation())
		}
	case <-time.After(within):
		r.w.t.Fatalf("did not hear %q within %v", want, within)
	}
}

func (r *testRun) hearsNothing(for_ time.Duration) {
	r.w.t.Helper()
	select {
	case c := <-r.news:
		r.w.t.Fatalf("heard %v of %s: %s", c.State, c.Worker.Incarnation, c.Reason)
	case <-time.After(for_):
	}
}

func TestRosterUpDrainingLeft(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		p := w.worker("w1")
		watcher := w.run()
		w.roster.Watch("w1", p.info.Incarnation, watcher.pid)
		watcher.hearsNothing(time.Second) // joining is not up
		p.set(cluster.StateReady)
		watcher.hears(time.Second, p, "up")
		if s, ok := w.roster.Worker("w1"); !ok || s.State != run.WorkerUp || s.Info.GetSlots() != 2 {
			w.t.Fatalf("the roster has %+v", s)
		}
		p.set(cluster.StateLeaving)
		watcher.hears(time.Second, p, "draining")
		late := w.run()
		w.roster.Watch("w1", p.info.Incarnation, late.pid)
		late.hears(time.Second, p, "draining")
		_ = p.node.Stop(w.t.Context())
		watcher.hears(time.Second, p, "gone: worker left")
		late.hears(time.Second, p, "gone: worker left")
		w.roster.Unwatch("w1", watcher.pid)
		later := w.run()
		w.roster.Watch("w1", p.info.Incarnation, later.pid)
		later.hears(time.Second, p, "gone: worker left")
	})
}

// A worker that is drained by an operator stays, may be up again, and is lost,
// and has not left, when it dies.
func TestRosterDrainedAndBack(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		p, watcher := w.watched("w1")
		for range 2 {
			p.set(cluster.StateDraining)
			watcher.hears(time.Second, p, "draining")
			p.set(cluster.StateReady)
			watcher.hears(time.Second, p, "up")
		}
		p.set(cluster.StateDraining)
		watcher.hears(time.Second, p, "draining")
		p.set(cluster.StateLeaving)
		watcher.hearsNothing(time.Second)
		p.set(cluster.StateDraining)
		watcher.hearsNothing(time.Second)
		p.host.Crash()
		watcher.hears(3*time.Second, p, "gone: worker lost")
	})
}

func TestRosterLostWithinThreeSeconds(t *testing.T) {
	for name, fail := range map[string]func(*clustertest.Host){"crash": (*clustertest.Host).Crash, "freeze": (*clustertest.Host).Freeze} {
		t.Run(name, func(t *testing.T) {
			rosterBubble(t, func(w *rosterWorld) {
				p, watcher := w.watched("w1")
				fail(p.host)
				watcher.hears(3*time.Second, p, "gone: worker lost")
			})
		})
	}
}

// The same process, declared gone by mistake, is up again when it is back.
func TestRosterBackAfterVerdict(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		p, watcher := w.watched("w1")
		p.host.Freeze()
		watcher.hears(3*time.Second, p, "gone: worker lost")
		p.host.Thaw()
		watcher.hears(15*time.Second, p, "up")
		select {
		case m := <-p.superseded:
			w.t.Fatalf("superseded by %s", m.ByIncarnation)
		default:
		}
	})
}

func TestRosterUnknownWorkerSettles(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		gone, comes := w.run(), w.run()
		w.roster.Watch("w1", "never-seen", gone.pid)
		gone.hearsNothing(2900 * time.Millisecond)
		gone.hearsOf(200*time.Millisecond, "never-seen", "gone: worker lost")

		p := w.worker("w2")
		w.roster.Watch("w2", p.info.Incarnation, comes.pid)
		comes.hearsNothing(2 * time.Second)
		p.set(cluster.StateReady)
		comes.hears(time.Second, p, "up")
		comes.hearsNothing(5 * time.Second)
	})
}

// A process that is joining is not given up as long as it is there.
func TestRosterJoiningIsNotGone(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		p, watcher := w.worker("w1"), w.run()
		w.roster.Watch("w1", p.info.Incarnation, watcher.pid)
		watcher.hearsNothing(10 * time.Second)
		p.host.Crash()
		watcher.hears(7*time.Second, p, "gone: worker lost")
	})
}

func TestRosterSuperseded(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		old, watcher := w.watched("w1")
		time.Sleep(10 * time.Millisecond) // incarnations are in the order of time
		fresh := w.ready("w1")
		// It has a lease, which is renewed no more.
		watcher.hears(3*time.Second, old, "gone: worker superseded")
		watcher.hears(time.Second, fresh, "up")
		if m := <-old.superseded; m.ByIncarnation != fresh.info.Incarnation || m.Incarnation != old.info.Incarnation {
			w.t.Fatalf("told %v", m)
		}
		// Whoever watches the old process later hears of both at once.
		late := w.run()
		w.roster.Watch("w1", old.info.Incarnation, late.pid)
		late.hears(time.Second, old, "gone: worker superseded")
		late.hears(time.Second, fresh, "up")
		// And whoever watches an even older one that was never seen.
		older := w.run()
		w.roster.Watch("w1", "00000000000000000000000000", older.pid)
		// The server has begun a moment ago: it may still have a lease.
		older.hearsOf(2*time.Second, "00000000000000000000000000", "gone: worker superseded")
		older.hears(time.Second, fresh, "up")
	})
}

// A run that is bound to a process which this server has not seen is not told
// of an older one of the same id that is still in the view.
func TestRosterUnseenMayBeNewer(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		old, _ := w.watched("w1")
		fresh, watcher := w.worker("w1"), w.run()
		w.roster.Watch("w1", fresh.info.Incarnation, watcher.pid)
		watcher.hearsNothing(2 * time.Second)
		fresh.set(cluster.StateReady)
		watcher.hears(3*time.Second, old, "gone: worker superseded")
		watcher.hears(time.Second, fresh, "up")

		// One that never appears counts as gone, and then the other one is news.
		never := w.run()
		w.roster.Watch("w1", "zzzz", never.pid)
		never.hearsNothing(2900 * time.Millisecond)
		never.hearsOf(200*time.Millisecond, "zzzz", "gone: worker superseded")
		never.hears(time.Second, fresh, "up")
	})
}

// A process that was frozen while another one took its id over does not get
// the id back when it wakes, and is told.
func TestRosterZombieStaysSuperseded(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		old, watcher := w.watched("w1")
		old.host.Freeze()
		watcher.hears(3*time.Second, old, "gone: worker lost")
		fresh := w.ready("w1")
		watcher.hears(time.Second, fresh, "up")
		old.host.Thaw()
		select {
		case m := <-old.superseded:
			if m.ByIncarnation != fresh.info.Incarnation {
				w.t.Fatalf("told %v", m)
			}
		case <-time.After(20 * time.Second):
			w.t.Fatal("the zombie was not told")
		}
		if s, _ := w.roster.Worker("w1"); s.Incarnation != fresh.info.Incarnation || s.State != run.WorkerUp {
			w.t.Fatalf("the roster has %s %v", s.Incarnation, s.State)
		}
	})
}

// A server that was restarted may hear of an earlier process of an id after the
// one that holds it: what is gossiped of a dead one comes late.
func TestRosterHearsOfAnEarlierProcessLate(t *testing.T) {
	for name, dead := range map[string]bool{"dead": true, "awake": false} {
		t.Run(name, func(t *testing.T) {
			rosterBubble(t, func(w *rosterWorld) {
				old := w.worker("w1")
				old.silent.Store(dead)
				time.Sleep(10 * time.Millisecond) // incarnations are in the order of time
				fresh, watcher := w.watched("w1")
				old.set(cluster.StateReady)
				watcher.hears(time.Second, old, "gone: worker superseded")
				if m := <-old.superseded; m.ByIncarnation != fresh.info.Incarnation {
					w.t.Fatalf("told %v", m)
				}
				watcher.hearsNothing(5 * time.Second)
				if s, _ := w.roster.Worker("w1"); s.Incarnation != fresh.info.Incarnation || s.State != run.WorkerUp {
					w.t.Fatalf("the roster has %s %v", s.Incarnation, s.State)
				}
				select {
				case m := <-fresh.superseded:
					w.t.Fatalf("told %v", m)
				default:
				}
			})
		})
	}
}

// The clock of a worker's new host may be behind that of its old one: who
// answers holds the id, not who claims to be younger.
func TestRosterEarlierProcessOfADeadHolder(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		behind := w.worker("w1")
		time.Sleep(10 * time.Millisecond)
		dead, watcher := w.watched("w1")
		dead.silent.Store(true)
		behind.set(cluster.StateReady)
		watcher.hears(3*time.Second, dead, "gone: worker superseded")
		watcher.hears(time.Second, behind, "up")
		watcher.hearsNothing(5 * time.Second)
		select {
		case m := <-behind.superseded:
			w.t.Fatalf("told %v", m)
		default:
		}
	})
}

func TestRosterListsAndListeners(t *testing.T) {
	rosterBubble(t, func(w *rosterWorld) {
		var heard []string
		done := make(chan struct{}, 100)
		cancel := w.roster.OnChange(func(c run.WorkerChanged) {
			heard = append(heard, c.Worker.WorkerId+" "+c.State.String())
			done <- struct{}{}
		})
		w.ready("w1")
		<-done
		b := w.ready("w2")
		<-done
		b.host.Crash()
		<-done
		if got := strings.Join(heard, ", "); got != "w1 up, w2 up, w2 gone" {
			w.t.Fatalf("heard %s", got)
		}
		cancel()
		all := w.roster.Workers()
		if len(all) != 2 || all[0].State != run.WorkerUp || all[1].State != run.WorkerGone || all[1].Reason != "worker lost" {
			w.t.Fatalf("listed %+v", all)
		}
	})
}

// BenchmarkRosterFanOut tells 100,000 runs that their worker has gone; Watch
// goes on meanwhile.
func BenchmarkRosterFanOut(b *testing.B) {
	const runs = 100_000
	root := actor.NewActorSystem().Root
	heard := make(chan struct{}, runs)
	sink := root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*run.WorkerChanged); ok {
			heard <- struct{}{}
		}
	}))
	r := &Roster{root: root, news: newNewsroom(root), workers: map[string]*rosterWorker{}}
	go r.news.loop()
	defer r.news.close()
	w := r.worker("w1")
	for i := range runs {
		w.watchers[strconv.Itoa(i)] = sink
	}
	var locked time.Duration
	for b.Loop() {
		start := time.Now()
		r.mu.Lock()
		r.tell(w, run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: "w1"}, State: run.WorkerGone})
		r.mu.Unlock()
		locked += time.Since(start)
		for range runs {
			<-heard
		}
	}
	b.ReportMetric(float64(locked.Microseconds())/float64(b.N), "µs-locked/op")
}
