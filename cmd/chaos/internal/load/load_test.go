package load

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
)

// A load on a cluster that nothing is done to: every kind of operation happens,
// and the checker has nothing to say.
func TestHealthyClusterIsFoundHealthy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	server, err := node.Start(ctx, node.Config{
		ID: "server", Store: journal.NewMemory(), APIListen: "127.0.0.1:0", Bind: "127.0.0.1:0", Gossip: "127.0.0.1:0",
		Preset: cluster.LocalConfig(), Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop(context.WithoutCancel(ctx)) }()
	dir := t.TempDir()
	serving, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer func() {
		stop()
		workers.Wait()
	}()
	for i := range 3 {
		workers.Go(func() {
			err := RunWorker(serving, WorkerConfig{
				ID: fmt.Sprintf("w%d", i), Join: []string{server.GossipAddress()}, LedgerDir: dir, Slots: 30, Logger: quiet,
			})
			if err != nil && serving.Err() == nil {
				t.Error(err)
			}
		})
	}
	l, err := Start(ctx, Config{APIs: []string{server.APIAddress()}, Seed: 7, LedgerDir: dir, Rate: 60})
	if err != nil {
		t.Fatal(err)
	}
	if backoff.Sleep(ctx, 5*time.Second) != nil {
		t.Fatal(ctx.Err())
	}
	if err := l.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	e, err := l.Evidence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	report := verdict.Check(e, nil)
	var table strings.Builder
	if err := report.Print(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v\n%s", l.Progress(), table.String())
	if !report.OK() {
		t.Error("rules are broken and nothing was done to the cluster")
	}
	s := report.Seen
	if s.Retried == 0 || s.TimedOut == 0 || s.Canceled == 0 || s.Replayed == 0 || s.StickyChildren == 0 || s.PlainChildren == 0 || report.Runs < 200 {
		t.Errorf("the load did not do everything: %+v", s)
	}
	acts := map[verdict.Act]int{}
	for _, c := range e.Calls {
		acts[c.Act]++
	}
	if s.Made == 0 || s.Recalled == 0 || s.Messages == 0 || s.Taken == 0 || s.Taken > s.Messages {
		t.Errorf("calls and messages: %+v", s)
	}
	if s.Events == 0 || s.Suspended == 0 {
		t.Errorf("events and suspensions: %+v", s)
	}
	if s.Pieces == 0 || s.Followed == 0 {
		t.Errorf("no stream was written and read: %+v", s)
	}
	if s.Continued == 0 || s.Given == 0 || s.Answered == 0 || s.Unanswered == 0 {
		t.Errorf("links, progress and queries: %+v", s)
	}
	if len(acts) != 10 {
		t.Errorf("calls %v", acts)
	}
}
