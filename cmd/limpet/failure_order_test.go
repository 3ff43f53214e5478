package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// What clients ask for holds once it was acknowledged, whatever becomes of the
// server then.

// A cancel goes on after the server's death: to a running step, to a run that
// waits for its worker, and down to a child.
func TestFailureCancelSurvivesTheServer(t *testing.T) {
	r := newRig(t, "local")
	server := r.server()
	c := r.gather()
	canceled := []*sdk.Run{c.soft, c.none, c.hard, c.parent, c.pending}
	for _, run := range canceled {
		if err := run.Cancel(r.ctx, "tested"); err != nil {
			t.Fatal(err)
		}
	}
	killed := server.kill()
	r.server()
	for _, run := range append(canceled, r.client.Run(c.child)) {
		got, err := run.Ended(r.ctx)
		if err != nil || got.GetRun().GetStatus() != sdk.Canceled {
			t.Errorf("%v, %v%s", got.GetRun(), err, r.story(run))
		}
	}
	t.Logf("SIGKILL of the server to the end of the last canceled run: %v", time.Since(killed))
	for name, p := range c.holding {
		n := p.follows("canceled")
		t.Logf("%s: %s", name, n.Cause)
	}
	r.fanOut(c.fan)
	r.ends(c.fan)
	r.ends(c.backoff)
	r.repeated(map[string]int{c.backoff.ID() + " b": 2})
}

// An event starts one run of each workflow that it matches, and no second one
// though its push is tried again and again.
func TestFailureEventsSurviveTheServer(t *testing.T) {
	r := newRig(t, "lan")
	server := r.server()
	r.worker("w1", 20)
	const pushers, events = 4, 30
	runs := make([][]string, pushers)
	var pushing sync.WaitGroup
	for pusher := range pushers {
		pushing.Go(func() {
			for i := range events {
				e, err := r.client.PushEvent(r.ctx, eventKey, play{Quiet: true}, &sdk.EventOptions{ID: fmt.Sprintf("%d/%d", pusher, i)})
				if err != nil || len(e.Runs) != 2 {
					t.Errorf("event %d/%d: %v, %v", pusher, i, e, err)
					return
				}
				for _, run := range e.Runs {
					runs[pusher] = append(runs[pusher], run.ID())
				}
			}
		})
	}
	for range 4 {
		r.pass(100 * time.Millisecond)
		server.kill()
		server = r.server()
	}
	pushing.Wait()
	seen := map[string]bool{}
	for _, ids := range runs {
		for _, id := range ids {
			seen[id] = true
			r.ends(r.client.Run(id))
		}
	}
	list, err := r.client.ListRuns(r.ctx, &api.ListRunsRequest{PageSize: 1000})
	if err != nil || len(list.GetRuns()) != len(seen) || len(seen) != 2*pushers*events {
		t.Errorf("%d runs are there, %d were returned, want %d; %v", len(list.GetRuns()), len(seen), 2*pushers*events, err)
	}
	r.repeated(nil)
}

// A run whose start was not acknowledged is either there or not, and there
// once: the same start finds out.
func TestFailureStartIsThereOnce(t *testing.T) {
	r := newRig(t, "lan")
	server := r.server()
	r.worker("w1", 20)
	once, err := sdk.NewClient(sdk.ClientConfig{Address: r.api, RetryFor: sdk.Never})
	if err != nil {
		t.Fatal(err)
	}
	const runs = 200
	started := make(chan struct{})
	go func() {
		defer close(started)
		for i := range runs {
			_, _ = once.Start(r.ctx, chainSoft, play{Quiet: true}, &sdk.StartOptions{IdempotencyKey: fmt.Sprint(i)})
		}
	}()
	r.pass(50 * time.Millisecond)
	server.kill()
	r.server()
	<-started
	ids := map[string]bool{}
	existed := 0
	for i := range runs {
		run, err := r.client.Start(r.ctx, chainSoft, play{Quiet: true}, &sdk.StartOptions{IdempotencyKey: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		if run.Existed {
			existed++
		}
		ids[run.ID()] = true
		r.ends(run)
	}
	t.Logf("%d of %d starts were there", existed, runs)
	if len(ids) != runs {
		t.Errorf("%d runs of %d starts", len(ids), runs)
	}
	// The same key for another input is another run's.
	_, err = r.client.Start(r.ctx, chainSoft, play{}, &sdk.StartOptions{IdempotencyKey: "0"})
	if code := messages.CodeOf(err); code != messages.CodeIdempotencyMismatch {
		t.Errorf("another input with the same key: %v", err)
	}
	r.repeated(nil)
}
