package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// crowd is runs in every situation that a server may die in.
type crowd struct {
	// held have step b held on a live worker, fan has another one queued.
	soft, none, hard, fan *sdk.Run
	// parent waits for child, whose step b is held.
	parent *sdk.Run
	child  string
	// backoff waits to retry its step b.
	backoff *sdk.Run
	// pending is HARD and its worker is gone.
	pending *sdk.Run
	holding map[string]*performance
}

// gather brings a crowd about: on the workers w0, w1 and w2, and on w3, which it
// kills.
func (r *rig) gather() *crowd {
	r.t.Helper()
	c := &crowd{holding: map[string]*performance{}}
	w3 := r.worker("w3", 1)
	c.pending = r.start(chainHard, play{Hold: []string{"b#1"}})
	r.began(c.pending.ID(), "b", 1)
	w3.kill()
	r.happens(c.pending, "the loss of its worker", func(e *messages.Event) bool { return e.GetBindingLost() != nil })
	// The one slot of w0 is taken by a root of the fan, for which the other waits.
	r.worker("w0", 1)
	c.fan = r.start(fanSoft, play{Hold: []string{"a", "b"}})
	r.beganAs("a root of the fan to begin", func(n note) bool { return n.Workflow == fanSoft })
	r.worker("w1", 3)
	r.worker("w2", 3)
	hold := play{Hold: []string{"b"}}
	c.soft, c.none, c.hard = r.start(chainSoft, hold), r.start(chainNone, hold), r.start(chainHard, hold)
	c.parent = r.start(chainHard, play{Spawn: chainHard, Sticky: true, Child: &hold})
	for name, run := range map[string]*sdk.Run{"soft": c.soft, "none": c.none, "hard": c.hard} {
		c.holding[name] = r.began(run.ID(), "b", 1)
	}
	c.holding["child"] = r.beganAs("the child's step b to begin", func(n note) bool {
		return n.Workflow == chainHard && n.Step == "b" && n.Run != c.hard.ID() && n.Run != c.pending.ID()
	})
	c.child = c.holding["child"].Run
	c.backoff = r.start(retried, play{Fail: []string{"b#1"}})
	r.happens(c.backoff, "the failure of b#1", func(e *messages.Event) bool { return e.GetAttemptFailed() != nil })
	return c
}

// fanOut lets the held roots of a fan go on, whichever comes first.
func (r *rig) fanOut(fan *sdk.Run) {
	r.t.Helper()
	first := r.beganAs("a root of the fan to begin", func(n note) bool { return n.Run == fan.ID() })
	first.release()
	r.beganAs("the other root of the fan to begin", func(n note) bool { return n.Run == fan.ID() && n.Step != first.Step }).release()
}

// A server that is killed costs time: what runs goes on where it is, what has
// ended is not repeated, what was accepted is there.
func TestFailureServerKilled(t *testing.T) {
	r := newRig(t, "local")
	server := r.server()
	c := r.gather()
	accepted := r.startUntil(server.gone)
	killed := server.kill()
	runs := <-accepted

	// One step ends while there is no server.
	c.holding["soft"].release()
	c.holding["soft"].follows("ended")
	r.server()
	up := time.Now()
	r.ends(c.soft)
	t.Logf("SIGKILL of the server to its return %v; from there to the end of a run whose step ended meanwhile %v; %d runs accepted just before",
		up.Sub(killed), time.Since(up), len(runs))
	for name, p := range c.holding {
		if name != "soft" && (p.was("canceled") || p.was("ended")) {
			t.Errorf("the held step of %s did not go on", name)
		}
		p.release()
	}
	r.fanOut(c.fan)
	w3 := r.launch("w3", 1)
	back := r.began(c.pending.ID(), "b", 2)
	t.Logf("restart of the HARD run's worker to the start of its step %v", back.At.Sub(w3.launch))
	for _, run := range append(runs, c.soft, c.none, c.hard, c.fan, c.parent, c.backoff, c.pending, r.client.Run(c.child)) {
		r.ends(run)
	}
	r.repeated(map[string]int{c.backoff.ID() + " b": 2, c.pending.ID() + " b": 2})
}

// startUntil starts runs, one after the other, until the server is gone; the
// channel gives those that were acknowledged.
func (r *rig) startUntil(gone <-chan struct{}) <-chan []*sdk.Run {
	out := make(chan []*sdk.Run, 1)
	enough := make(chan struct{})
	once, err := sdk.NewClient(sdk.ClientConfig{Address: r.api, RetryFor: sdk.Never})
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		var runs []*sdk.Run
		defer func() { out <- runs }()
		for i := 0; ; i++ {
			if i == 20 {
				close(enough)
			}
			run, err := once.Start(r.ctx, chainSoft, play{Quiet: true})
			if err != nil {
				if i < 20 {
					close(enough)
				}
				<-gone
				return
			}
			runs = append(runs, r.client.Run(run.ID()))
		}
	}()
	<-enough
	return out
}

// repeated compares how often each step of each run was executed, by the
// ledger, with once, or with what is given by "run step".
func (r *rig) repeated(but map[string]int) {
	r.t.Helper()
	times := map[string]int{}
	var executions = map[string][]ledger.Execution{}
	for _, e := range r.executions("") {
		key := e.Run + " " + e.Step
		times[key]++
		executions[key] = append(executions[key], e)
	}
	faults := 0
	for key, n := range times {
		want := max(but[key], 1)
		if n == want {
			continue
		}
		if faults++; faults > 3 {
			continue
		}
		run := r.client.Run(executions[key][0].Run)
		r.t.Errorf("%s was executed %d times, want %d%s", key, n, want, r.story(run))
	}
	if faults > 3 {
		r.t.Errorf("%d steps in all were not executed as often as they should be", faults)
	}
}

// A thousand runs, and a server that is killed five times while they are
// started and run: each that was accepted ends, no step runs twice.
func TestFailureServerKilledUnderLoad(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 0))
	const rounds, batches, size = 5, 10, 20
	r := newRig(t, "lan")
	server := r.server()
	r.worker("w1", 50)
	r.worker("w2", 50)
	var mu sync.Mutex
	var accepted []*sdk.Run
	var starting sync.WaitGroup
	for round := range rounds {
		starting.Go(func() {
			for batch := range batches {
				runs, err := r.startBatch(round*batches+batch, size)
				mu.Lock()
				accepted = append(accepted, runs...)
				mu.Unlock()
				if err != nil {
					t.Errorf("round %d, batch %d: %v", round, batch, err)
				}
			}
		})
		life := 50*time.Millisecond + time.Duration(random.Int64N(int64(500*time.Millisecond)))
		r.pass(life)
		killed := server.kill()
		server = r.server()
		mu.Lock()
		t.Logf("killed after %v, back in %v, %d runs accepted", life.Round(time.Millisecond), time.Since(killed).Round(time.Millisecond), len(accepted))
		mu.Unlock()
	}
	up := time.Now()
	starting.Wait()
	for _, run := range accepted {
		r.ends(run)
	}
	t.Logf("all %d runs have ended %v after the last return", len(accepted), time.Since(up).Round(time.Millisecond))
	r.repeated(nil)
	// A fifth of the runs have a child.
	if n := len(r.executions("")); n != 3*len(accepted)*6/5 {
		t.Errorf("%d executions of %d runs", n, len(accepted))
	}
}

// A server that is killed again and again, before the membership has given its
// earlier processes up, still finds the workers that were there all the time.
func TestFailureServerKilledAgainAndAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 3))
	r := newRig(t, "local")
	server := r.server()
	r.worker("w1", 4)
	r.worker("w2", 4)
	hold := play{Hold: []string{"b"}}
	runs := []*sdk.Run{r.start(chainSoft, hold), r.start(chainNone, hold), r.start(chainHard, hold)}
	var held []*performance
	for _, run := range runs {
		held = append(held, r.began(run.ID(), "b", 1))
	}
	for range 8 {
		r.pass(50*time.Millisecond + time.Duration(random.Int64N(int64(500*time.Millisecond))))
		server.kill()
		server = r.server()
	}
	// Beyond the time that a server gives the workers of its runs to appear.
	r.pass(4 * time.Second)
	for _, p := range held {
		p.release()
	}
	for _, run := range runs {
		r.ends(run)
		r.unharmed(run)
	}
	r.repeated(nil)
}

// startBatch starts runs with keys, so that the client tries again while the
// server is away.
func (r *rig) startBatch(number, size int) ([]*sdk.Run, error) {
	names := []string{chainSoft, chainNone, chainHard, fanSoft}
	w := sdk.NewWorkflow[play](names[number%len(names)])
	inputs := make([]play, size)
	for i := range inputs {
		inputs[i] = play{Quiet: true, Work: time.Duration(i%4) * 40 * time.Millisecond}
		if i%5 == 4 {
			child := inputs[i]
			inputs[i].Spawn, inputs[i].Sticky, inputs[i].Child = names[i%len(names)], i%len(names) != 1, &child
		}
	}
	return w.StartMany(r.ctx, r.client, inputs, &sdk.StartManyOptions{
		IdempotencyKey: func(i int) string { return fmt.Sprintf("%d/%d", number, i) },
	})
}

// A server that is frozen for less than a lease finds everything as it was.
func TestFailureServerFrozen(t *testing.T) {
	r := newRig(t, "lan")
	server := r.server()
	c := r.gather()
	server.signal(syscall.SIGSTOP)
	c.holding["soft"].release()
	c.holding["soft"].follows("ended")
	r.pass(3 * time.Second)
	thawed := server.signal(syscall.SIGCONT)
	r.ends(c.soft)
	t.Logf("SIGCONT to the end of a run whose step ended meanwhile: %v", time.Since(thawed))
	for _, p := range c.holding {
		p.release()
	}
	r.fanOut(c.fan)
	r.launch("w3", 1)
	for _, run := range []*sdk.Run{c.soft, c.none, c.hard, c.fan, c.parent, c.backoff, c.pending, r.client.Run(c.child)} {
		r.ends(run)
	}
	r.repeated(map[string]int{c.backoff.ID() + " b": 2, c.pending.ID() + " b": 2})
	for _, run := range []*sdk.Run{c.soft, c.none, c.hard, c.fan, c.parent, r.client.Run(c.child)} {
		r.unharmed(run)
	}
}

// seedOf is what a test draws its accidents from: SEED, if that is set.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d", seed)
	return seed
}
