package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

// pair is two servers on one journal, a worker with a gate before its last
// step, and a client of both.
type pair struct {
	*testing.T
	servers [2]*node.Server
	client  *sdk.Client
	api     []string
	w       *sdk.Workflow[int]
	double  *sdk.Query[int, int]
	gate    chan struct{}
}

func startPair(t *testing.T, store journal.Store) *pair {
	t.Helper()
	p := &pair{T: t, gate: make(chan struct{})}
	var join []string
	for i, id := range []string{"s1", "s2"} {
		c := config(store)
		c.ID, c.Join = id, join
		s, err := node.Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		p.servers[i] = s
		p.api, join = append(p.api, s.APIAddress()), append(join, s.GossipAddress())
	}
	t.Cleanup(func() {
		for _, s := range p.servers {
			if s != nil {
				p.stop(s)
			}
		}
	})
	p.client = p.newClient()
	p.w = sdk.NewWorkflow[int]("count", sdk.WorkflowConfig{Sticky: sdk.Soft})
	prev := sdk.AddStep(p.w, "one", func(_ sdk.Context, n int) (int, error) { return n + 1, nil })
	sdk.AddStep(p.w, "two", func(ctx sdk.Context, n int) (int, error) {
		select {
		case <-p.gate:
			return n + 2, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, sdk.StepConfig{Parents: []sdk.AnyStep{prev}})
	p.double = sdk.AddQuery(p.w, "double", func(_ sdk.QueryContext, n int) (int, error) { return 2 * n, nil })
	p.work(join)
	return p
}

// newClient makes a client of both servers; which one it goes to is drawn.
func (p *pair) newClient() *sdk.Client {
	c, err := sdk.NewClient(sdk.ClientConfig{Addresses: p.api})
	if err != nil {
		p.Fatal(err)
	}
	return c
}

// work runs a worker until the end of the test.
func (p *pair) work(join []string) {
	w, err := worker.New(worker.Config{ID: "w1", Join: join, Slots: 100, Logger: slog.New(slog.DiscardHandler)}, p.w)
	if err != nil {
		p.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	p.Cleanup(func() { stop(); <-ended })
	select {
	case <-w.Ready():
	case err := <-ended:
		p.Fatal("the worker ended:", err)
	}
}

func (p *pair) stop(s *node.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		p.Error("stop:", err)
	}
}

// crash ends a server without a word to the others, and all its connections.
func (p *pair) crash(s *node.Server) {
	s.Node().Kill()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Stop(ctx)
}

// follower is a wait and a watch of one run.
type follower struct {
	run     *sdk.Run
	entries []uint64
	begun   chan struct{}
	errs    []error
}

func (p *pair) follow(ctx context.Context, run *sdk.Run, all *sync.WaitGroup) *follower {
	f := &follower{run: run, begun: make(chan struct{}), errs: make([]error, 2)}
	all.Go(func() { f.errs[0] = run.Wait(ctx) })
	all.Go(func() {
		for e, err := range run.Watch(ctx, 0) {
			if err != nil {
				f.errs[1] = err
				return
			}
			if f.entries = append(f.entries, e.GetEntry()); len(f.entries) == 1 {
				close(f.begun)
			}
		}
	})
	return f
}

// check wants every entry of the run once and in order.
func (f *follower) check(ctx context.Context, store journal.Store) error {
	if err := errors.Join(f.errs...); err != nil {
		return err
	}
	record, err := store.Load(ctx, f.run.ID())
	if err != nil {
		return err
	}
	want := make([]uint64, len(record.Entries))
	for i := range want {
		want[i] = uint64(i + 1)
	}
	if !slices.Equal(f.entries, want) {
		return messages.Errorf(messages.CodeInternal, "run %s has %d entries, watched were %v", f.run.ID(), len(want), f.entries)
	}
	return nil
}

// through has waits and watches under way while something happens to the
// cluster, and starts and reads meanwhile.
func (p *pair) through(store journal.Store, happens func()) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 60*time.Second)
	defer cancel()
	var all sync.WaitGroup
	var followers []*follower
	for i := range 20 {
		run, err := p.w.Start(ctx, p.client, i)
		if err != nil {
			p.Fatal(err)
		}
		// Of 20 clients some are at each server.
		followers = append(followers, p.follow(ctx, p.newClient().Run(run.ID()), &all))
	}
	for _, f := range followers {
		select {
		case <-f.begun:
		case <-ctx.Done():
			p.Fatal("a watch shows nothing")
		}
	}
	var load sync.WaitGroup
	over := make(chan struct{})
	started := 0
	load.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			run, err := p.w.Start(ctx, p.client, 1)
			if err != nil {
				p.Errorf("start %d: %v", started, err)
				return
			}
			if _, err := run.Get(ctx); err != nil {
				p.Errorf("read %d: %v", started, err)
				return
			}
			started++
		}
	})
	happens()
	close(over)
	load.Wait()
	close(p.gate)
	all.Wait()
	for _, f := range followers {
		if err := f.check(ctx, store); err != nil {
			p.Error(err)
		}
	}
	p.counted(ctx, started+len(followers))
}

// counted wants as many runs as were started: none is lost, none there twice.
func (p *pair) counted(ctx context.Context, want int) {
	p.Helper()
	runs, token := 0, ""
	for {
		page, err := p.client.ListRuns(ctx, &api.ListRunsRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			p.Fatal(err)
		}
		runs += len(page.GetRuns())
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if runs != want {
		p.Errorf("%d runs are there of %d that were started", runs, want)
	}
}

func TestWaitsAndWatchesSurviveTheirServer(t *testing.T) {
	for name, lose := range map[string]func(*pair, *node.Server){"stop": (*pair).stop, "crash": (*pair).crash} {
		t.Run(name, func(t *testing.T) {
			store := journal.NewMemory()
			p := startPair(t, store)
			p.through(store, func() {
				lose(p, p.servers[0])
				p.servers[0] = nil
			})
		})
	}
}

// A server is restarted in order, then the other one: a rolling restart.
func TestWaitsAndWatchesSurviveARollingRestart(t *testing.T) {
	store := journal.NewMemory()
	p := startPair(t, store)
	p.through(store, func() {
		for i := range p.servers {
			old, other := p.servers[i], p.servers[1-i]
			self := old.Node().Self()
			c := config(store)
			c.ID, c.APIListen, c.Bind, c.Gossip, c.Join = []string{"s1", "s2"}[i], old.APIAddress(), self.Address, self.GossipAddress, []string{other.GossipAddress()}
			p.stop(old)
			p.servers[i] = nil
			s, err := node.Start(p.Context(), c)
			if err != nil {
				p.Fatal(err)
			}
			p.servers[i] = s
		}
	})
}

func TestWaitsAndWatchesSurviveTheJournal(t *testing.T) {
	store := journaltest.NewFaulty(journaltest.FaultyConfig{})
	p := startPair(t, store)
	p.through(store, func() {
		store.SetDown(true)
		p.ready(false, "journal")
		store.SetDown(false)
		p.ready(true, "")
	})
}

// ready waits until both servers say so, or that something is missing.
func (p *pair) ready(want bool, missing string) {
	p.Helper()
	http := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, s := range p.servers {
		for deadline := time.Now().Add(10 * time.Second); ; {
			resp, err := http.Get("http://" + s.APIAddress() + "/readyz")
			if err != nil {
				p.Fatal(err)
			}
			var body struct {
				Ready  bool
				Checks map[string]struct{ OK bool }
			}
			err = errors.Join(json.NewDecoder(resp.Body).Decode(&body), resp.Body.Close())
			if err != nil {
				p.Fatal(err)
			}
			if body.Ready == want && (want || !body.Checks[missing].OK) {
				break
			}
			if time.Now().After(deadline) {
				p.Fatalf("%s: %+v", s.APIAddress(), body)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
}

// A server whose journal is away says so to those who do not ask for long.
func TestJournalAwayIsSaid(t *testing.T) {
	store := journaltest.NewFaulty(journaltest.FaultyConfig{})
	p := startPair(t, store)
	defer close(p.gate)
	if _, err := p.w.Start(t.Context(), p.client, 1); err != nil {
		t.Fatal(err)
	}
	store.SetDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	_, err := p.w.Start(ctx, p.client, 2)
	if messages.CodeOf(err) != messages.CodeJournalUnavailable || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), p.servers[0].APIAddress()) && !strings.Contains(err.Error(), p.servers[1].APIAddress()) {
		t.Errorf("start: %v", err)
	}
	store.SetDown(false)
	if _, err := p.w.Start(t.Context(), p.client, 2); err != nil {
		t.Error(err)
	}
}
