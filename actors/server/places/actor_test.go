package places_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// placementWorld is a RosterWorld whose server also places runs.
type placementWorld struct {
	*actorstest.RosterWorld
	deps  places.Deps
	store *failingStore
	// Pools that the server's host was told of.
	started chan string
}

// failingStore refuses definitions while it is told to.
type failingStore struct {
	journal.Store
	failing atomic.Bool
	// panics is how often it panics first.
	panics atomic.Int32
	put    atomic.Int32
}

func (s *failingStore) PutDefinition(ctx context.Context, d journal.Definition) error {
	if s.panics.Add(-1) >= 0 {
		panic("on purpose")
	}
	if s.failing.Load() {
		return messages.Errorf(messages.CodeJournalUnavailable, "the disk is full")
	}
	s.put.Add(1)
	return s.Store.PutDefinition(ctx, d)
}

func placementBubble(t *testing.T, change func(*places.Deps), f func(w *placementWorld)) {
	actorstest.RosterBubble(t, func(r *actorstest.RosterWorld) {
		w := &placementWorld{RosterWorld: r, store: &failingStore{Store: journal.NewMemory()}, started: make(chan string, 100)}
		w.deps = places.Deps{Node: r.Server, Roster: r.Roster, Store: w.store, Definitions: definitions.New(w.store), Logger: slog.New(slog.DiscardHandler)}
		if change != nil {
			change(&w.deps)
		}
		r.Place = places.New(w.deps).Kind().Activate
		_, err := r.Server.System().Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.PlacementStarted); ok {
				w.started <- m.Pool
			}
		}), cluster.HostActor)
		if err != nil {
			r.T.Fatal(err)
		}
		f(w)
		if pid, err := r.Place("default"); err == nil {
			_ = r.Server.System().Root.PoisonFuture(pid).Wait()
		}
	})
}

// register asks once.
func (w *placementWorld) register(p *actorstest.Process) *messages.RegisterReply {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), 5*time.Second)
	defer cancel()
	reply, err := p.Node.Call(ctx, cluster.KindPlacement, "default", &messages.Register{Worker: p.Info})
	if err != nil {
		w.T.Fatal(err)
	}
	return reply.(*messages.RegisterReply)
}

// admit registers a worker until it is admitted, and makes it ready.
func (w *placementWorld) admit(p *actorstest.Process, within time.Duration) {
	w.T.Helper()
	start := time.Now()
	for {
		reply := w.register(p)
		if reply.Admitted {
			p.Set(cluster.StateReady)
			return
		}
		if reply.Refused != nil || time.Since(start) > within {
			w.T.Fatalf("not admitted after %v: %v", time.Since(start), reply)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *placementWorld) pid() *actor.PID {
	w.T.Helper()
	pid, err := w.Server.Resolve(w.T.Context(), cluster.KindPlacement, "default")
	if err != nil {
		w.T.Fatal(err)
	}
	return pid
}

// send sends to placement as a worker or a run does.
func (w *placementWorld) send(m any) { w.Server.System().Root.Send(w.pid(), m) }

func (w *placementWorld) report(p *actorstest.Process, serial uint64, running int32, seen ...uint64) {
	w.send(&messages.LoadReport{WorkerId: p.Info.WorkerId, Incarnation: p.Info.Incarnation, Slots: p.Info.Slots,
		Running: running, Serial: serial, GrantsSeen: seen})
}

// asker is a run that asks placement.
type asker struct {
	w       *placementWorld
	pid     *actor.PID
	answers chan any
}

func (w *placementWorld) asker() *asker {
	a := &asker{w: w, answers: make(chan any, 100)}
	a.pid = w.Server.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *messages.Placed, *messages.PlaceWaiting:
			a.answers <- m
		}
	}))
	return a
}

func (a *asker) ask(run string, sticky messages.Sticky) {
	a.w.send(&messages.Place{RunId: run, Question: 1, Workflow: "build", Steps: []string{"s1"}, Sticky: sticky,
		Pool: "default", Priority: 2, ReplyAddress: a.pid.Address, ReplyActorId: a.pid.Id})
}

func (a *asker) placed(on *actorstest.Process) *messages.Placed {
	a.w.T.Helper()
	for {
		select {
		case m := <-a.answers:
			p, ok := m.(*messages.Placed)
			if !ok {
				continue // why it waits
			}
			if p.Worker.Incarnation != on.Info.Incarnation || p.Worker.Address != on.Info.Address || p.Worker.ActorId != on.Info.ActorId {
				a.w.T.Fatalf("got %v, not placed on %s", m, on.Info.WorkerId)
			}
			return p
		case <-time.After(10 * time.Second):
			a.w.T.Fatal("no answer")
		}
	}
}

func (a *asker) waits(why string) {
	a.w.T.Helper()
	select {
	case m := <-a.answers:
		if p, ok := m.(*messages.PlaceWaiting); !ok || !strings.Contains(p.Text, why) {
			a.w.T.Fatalf("got %v, want a wait for %q", m, why)
		}
	case <-time.After(10 * time.Second):
		a.w.T.Fatal("no answer")
	}
}

func TestPlacementAdmitsRecordsAndPlaces(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		p, a := w.Worker("w1"), w.asker()
		a.ask("r1", messages.Sticky_STICKY_SOFT)
		a.waits(`pool "default" has no worker`)
		if pool := <-w.started; pool != "default" {
			w.T.Fatalf("started %s", pool)
		}
		w.admit(p, time.Second)
		stored, err := w.store.Workflows(w.T.Context())
		if err != nil || len(stored) != 1 || stored[0].Name != "build" {
			w.T.Fatalf("stored %v, %v", stored, err)
		}
		w.report(p, 1, 0)
		grant := a.placed(p).GrantId
		a.ask("r2", messages.Sticky_STICKY_NONE)
		a.placed(p)
		a.ask("r3", messages.Sticky_STICKY_NONE)
		a.waits("has all slots busy (2 of 2)")
		w.report(p, 2, 0, grant)
		a.placed(p)
		// It may ask to be admitted as often as it likes, and records nothing.
		w.admit(p, time.Second)
		if n := w.store.put.Load(); n != 1 {
			w.T.Fatalf("%d definitions were put", n)
		}
	})
}

func TestPlacementRefusesTakenID(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		first := w.Worker("w1")
		w.admit(first, time.Second)
		second := w.Worker("w1")
		reply := w.register(second)
		if code := reply.GetRefused().GetCode(); code != string(messages.CodeWorkerIDTaken) {
			w.T.Fatalf("got %v", reply)
		}
		for _, part := range []string{first.Info.Address, "host h", "process 7"} {
			if !strings.Contains(reply.Refused.Message, part) {
				w.T.Errorf("%q does not name %s", reply.Refused.Message, part)
			}
		}
	})
}

// A crashed process refuses connections: its successor does not wait for the
// verdict of the membership.
func TestPlacementAdmitsAfterCrashAtOnce(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		first := w.Worker("w1")
		w.admit(first, time.Second)
		first.Host.Crash()
		second := w.Worker("w1")
		w.admit(second, 600*time.Millisecond)
	})
}

// A frozen process may wake up: its successor waits for the verdict, is told
// so, and is admitted then. The first, when it wakes, is superseded.
func TestPlacementWaitsForVerdictOnFrozen(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		first := w.Worker("w1")
		w.admit(first, time.Second)
		second := w.Worker("w1")
		first.Host.Freeze()
		reply := w.register(second)
		if !reply.Wait || !strings.Contains(reply.Message, "does not answer; waiting until the membership gives it up") {
			w.T.Fatalf("got %v", reply)
		}
		w.admit(second, 4*time.Second)
		first.Host.Thaw()
		select {
		case m := <-first.Superseded:
			if m.ByIncarnation != second.Info.Incarnation {
				w.T.Fatalf("told %v", m)
			}
		case <-time.After(20 * time.Second):
			w.T.Fatal("the first was not told")
		}
	})
}

func TestPlacementRefusesStickyWebhook(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		p := w.Worker("w1")
		p.Info.Webhook = true
		p.Info.Workflows[0].Sticky = messages.Sticky_STICKY_SOFT
		if reply := w.register(p); reply.GetRefused().GetCode() != string(messages.CodeStickyNeedsLongLived) {
			w.T.Fatalf("got %v", reply)
		}
		if w.store.put.Load() != 0 {
			w.T.Fatal("a refused definition was stored")
		}
	})
}

func TestPlacementWaitsForJournal(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		w.store.failing.Store(true)
		p := w.Worker("w1")
		if reply := w.register(p); !reply.Wait || !strings.Contains(reply.Message, "the disk is full") {
			w.T.Fatalf("got %v", reply)
		}
		w.store.failing.Store(false)
		w.admit(p, time.Second)
		if w.store.put.Load() != 1 {
			w.T.Fatal("the definition was not stored")
		}
	})
}

// A panic over what a worker registers is an answer to it, and ends nothing.
func TestPlacementAnswersAfterAPanic(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		w.store.panics.Store(1)
		reply := w.register(w.Worker("w1"))
		if reply.GetRefused().GetCode() != string(messages.CodeInternal) || !strings.Contains(reply.Message, "a panic ended it: on purpose") {
			w.T.Fatalf("got %v", reply)
		}
		w.admit(w.Worker("w2"), time.Second)
	})
}

// The runs that the journal has as bound count among the sticky runs.
func TestPlacementReadsBoundRuns(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		row := &journal.Row{RunID: "old", Pool: "default", Status: messages.RunStatus_RUN_STATUS_RUNNING, BoundWorker: "w1", CreatedAt: time.Now()}
		if err := w.store.Append(w.T.Context(), []journal.Append{{RunID: "old", Number: 1, Entry: []byte{1}, Row: row}})[0]; err != nil {
			w.T.Fatal(err)
		}
		p := w.Worker("w1")
		p.Info.StickyRunsMax = 1
		w.admit(p, time.Second)
		w.report(p, 1, 0)
		// Once a question that is not sticky is answered, the report was taken.
		a := w.asker()
		a.ask("n", messages.Sticky_STICKY_NONE)
		a.placed(p)
		time.Sleep(time.Second)
		a.ask("r1", messages.Sticky_STICKY_HARD)
		a.waits("has its 1 sticky run")
		w.send(&messages.RunUnbound{RunId: "old", WorkerId: "w1", Pool: "default"})
		a.placed(p)
	})
}

// A worker that placement does not know is asked to register.
func TestPlacementIntroducesUnknownWorker(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		p := w.Worker("w1")
		asked := make(chan *messages.RegisterReply, 1)
		sender := w.Server.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.RegisterReply); ok {
				asked <- m
			}
		}))
		w.Server.System().Root.RequestWithCustomSender(w.pid(),
			&messages.LoadReport{WorkerId: "w1", Incarnation: p.Info.Incarnation, Slots: 2, Serial: 1}, sender)
		if m := <-asked; !m.Wait || m.Admitted {
			w.T.Fatalf("got %v", m)
		}
		// Its report counts once it is admitted.
		a := w.asker()
		a.ask("r1", messages.Sticky_STICKY_NONE)
		a.waits("no worker")
		w.admit(p, time.Second)
		a.placed(p)
	})
}

// A lost worker gets no more grants; after a restart of placement, workers are
// known from the roster at once.
func TestPlacementFollowsRoster(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		run := w.Watcher()
		p, a := w.Worker("w1"), w.asker()
		w.Roster.Watch("w1", p.Info.Incarnation, run.PID)
		w.admit(p, time.Second)
		run.Hears(time.Second, p, "up")
		_ = w.Server.System().Root.StopFuture(w.pid()).Wait()
		w.Server.Forget(cluster.KindPlacement, "default")
		time.Sleep(time.Second)
		w.Server.Forget(cluster.KindPlacement, "default")
		a.ask("r1", messages.Sticky_STICKY_NONE)
		a.waits("worker w1 fits but does not report its load")
		p.Host.Crash()
		run.Hears(3*time.Second, p, "gone: worker lost")
		a.waits(`pool "default" has no worker`)
	})
}

// A placement actor that fails is started again, and says so.
func TestPlacementStartsAgain(t *testing.T) {
	var panics atomic.Int32
	fail := func(d *places.Deps) {
		d.Hooks.Registered = func(*messages.WorkerInfo, *messages.RegisterReply) {
			if panics.Add(1) == 1 {
				panic("as the test wants")
			}
		}
	}
	placementBubble(t, fail, func(w *placementWorld) {
		p := w.Worker("w1")
		w.register(p)
		<-w.started
		<-w.started
		w.admit(p, 3*time.Second)
	})
}

// When another server owns the pool, its placement takes over and this
// server's ends.
func TestPlacementMoves(t *testing.T) {
	placementBubble(t, nil, func(w *placementWorld) {
		before := w.pid()
		var other *placementWorld
		n := w.Node(w.nextOwner(), cluster.Config{Role: cluster.RoleServer, Kinds: []cluster.Kind{{Name: cluster.KindPlacement,
			Activate: func(pool string) (*actor.PID, error) { return other.Place(pool) }}}})
		roster := server.NewRoster(server.RosterConfig{Node: n})
		w.Stops = append(w.Stops, roster.Stop)
		other = &placementWorld{RosterWorld: &actorstest.RosterWorld{Place: places.New(places.Deps{
			Node: n, Roster: roster, Store: w.store, Logger: slog.New(slog.DiscardHandler)}).Kind().Activate}}
		if _, err := w.Server.Await(w.T.Context(), func(v *cluster.View) bool { return len(v.Servers()) == 2 }); err != nil {
			w.T.Fatal(err)
		}
		after := w.pid()
		if owner := n.Self().Address; after.Address != owner || before.Address == owner {
			w.T.Fatalf("placement is at %s, its owner at %s", after.Address, owner)
		}
		<-w.started // by the first
		select {
		case <-w.started:
		case <-time.After(time.Second):
			w.T.Fatal("the new placement did not say that it started")
		}
		synctest.Wait()
		if _, alive := w.Server.System().ProcessRegistry.Get(before); alive {
			w.T.Fatal("the old placement still runs")
		}
		_ = n.System().Root.PoisonFuture(after).Wait()
	})
}

// nextOwner is the id of a server that would own the pool.
func (w *placementWorld) nextOwner() string {
	for i := range 100_000 {
		id := fmt.Sprintf("t%d", i)
		members := append(w.Server.View().Members, cluster.Member{Name: id + "~x", WorkerID: id, Role: cluster.RoleServer, State: cluster.StateReady})
		if m, _ := cluster.NewView(1, members).OwnerOf(cluster.KindPlacement, "default"); m.WorkerID == id {
			return id
		}
	}
	w.T.Fatal("no server id owns the pool")
	return ""
}
