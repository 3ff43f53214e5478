package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/sdk"
)

// ask wants an answer of each of some runs by way of a server.
func (p *pair) ask(server int, runs []*sdk.Run) {
	p.Helper()
	c, err := sdk.NewClient(sdk.ClientConfig{Address: p.servers[server].APIAddress()})
	if err != nil {
		p.Fatal(err)
	}
	for i, run := range runs {
		if got, err := p.double.Ask(p.Context(), c.Run(run.ID()), i); err != nil || got != 2*i {
			p.Errorf("run %s of server %d: %d, %v", run.ID(), server, got, err)
		}
	}
}

// startGated starts runs that are bound, and wait before their last step.
func (p *pair) startGated(n int) (runs []*sdk.Run) {
	p.Helper()
	for i := range n {
		run, err := p.w.Start(p.Context(), p.client, i)
		if err != nil {
			p.Fatal(err)
		}
		runs = append(runs, run)
		for entry, err := range run.Watch(p.Context(), 0) {
			if err != nil {
				p.Fatal(err)
			}
			if entry.GetEntry() == 2 {
				break
			}
		}
	}
	return runs
}

// TestQueriesAtEveryServer, whichever owns the run, and after one of them was lost.
func TestQueriesAtEveryServer(t *testing.T) {
	p := startPair(t, journal.NewMemory())
	defer close(p.gate)
	runs := p.startGated(6)
	p.ask(0, runs)
	p.ask(1, runs)
	p.crash(p.servers[0])
	p.servers[0] = nil
	p.ask(1, runs)
}

// TestQueriesWithoutTheJournal are answered for runs in memory; for others the code
// says what is missing.
func TestQueriesWithoutTheJournal(t *testing.T) {
	store := journaltest.NewFaulty(journaltest.FaultyConfig{})
	p := startPair(t, store)
	defer close(p.gate)
	runs := p.startGated(2)
	store.SetDown(true)
	defer store.SetDown(false)
	p.ask(0, runs)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := p.double.Ask(ctx, p.client.Run("01k9w2c5m00000000000000000"), 1); !errors.Is(err, &sdk.Error{Code: "JOURNAL_UNAVAILABLE"}) {
		t.Errorf("a run that is not in memory: %v", err)
	}
}
