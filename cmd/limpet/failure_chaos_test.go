package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// chaos is processes that are killed and frozen at random while runs go on.
type chaos struct {
	*rig
	random  *rand.Rand
	server  *process
	workers map[string]*process

	mu       sync.Mutex
	accepted map[string]*sdk.Run
}

// The bad things that a strike may do.
const (
	killServer = iota
	killWorker
	freezeWorker
	freezeWorkerKillServer
	killBoth
	freezeServer
	stopServer
	drainWorker
	doubleWorker
)

// Servers and workers are killed and frozen at random while runs go on: each
// run ends, and all that was executed more than once is explained by what the
// history says was lost.
func TestFailureChaos(t *testing.T) {
	c := newChaos(t, "local", 1)
	c.endure(16, killServer, killWorker, freezeWorker, freezeWorkerKillServer, killBoth, freezeServer, stopServer, drainWorker, doubleWorker)
	c.explain()
}

// As long as it is only the server, nothing is lost and nothing is repeated. It is
// not frozen for longer than a lease.
func TestFailureChaosOfTheServer(t *testing.T) {
	c := newChaos(t, "lan", 2)
	c.endure(8, killServer, freezeServer, stopServer)
	if lost, again := c.explain(); lost != 0 || again != 0 {
		t.Errorf("%d attempts were lost, %d executions were repetitions", lost, again)
	}
}

// newChaos starts a server and three workers.
func newChaos(t *testing.T, preset string, stream uint64) *chaos {
	t.Helper()
	c := &chaos{rig: newRig(t, preset), random: rand.New(rand.NewPCG(seedOf(t), stream)), workers: map[string]*process{}, accepted: map[string]*sdk.Run{}}
	c.server = c.rig.server()
	for i := range 3 {
		id := fmt.Sprintf("w%d", i)
		c.workers[id] = c.worker(id, 20)
	}
	return c
}

// endure lets runs go on while it strikes, and waits for their ends.
func (c *chaos) endure(rounds int, strikes ...int) {
	const loaders, size = 8, 10
	struck := make(chan struct{})
	var loading sync.WaitGroup
	for loader := range loaders {
		loading.Go(func() { c.load(loader, size, struck) })
	}
	for range rounds {
		c.strike(strikes[c.random.IntN(len(strikes))])
		c.pass(time.Duration(c.random.IntN(600)) * time.Millisecond)
	}
	close(struck)
	calm := time.Now()
	loading.Wait()
	c.t.Logf("all runs have ended %v after the last strike", time.Since(calm).Round(time.Millisecond))
}

// load starts runs and waits for their ends, again and again until all strikes
// are over.
func (c *chaos) load(loader, size int, struck <-chan struct{}) {
	for batch := loader; ; batch += 100 {
		select {
		case <-struck:
			return
		default:
		}
		runs, err := c.startBatch(batch, size)
		if err != nil {
			c.t.Errorf("batch %d: %v", batch, err)
			return
		}
		for _, run := range runs {
			got, err := run.Ended(c.ctx)
			if err != nil || got.GetRun().GetStatus() != sdk.Succeeded {
				c.t.Errorf("run %s: %v, %v%s", run.ID(), got.GetRun(), err, c.story(run))
				return
			}
			c.mu.Lock()
			c.accepted[run.ID()] = run
			if len(got.GetChildren()) > 1 {
				c.t.Errorf("run %s has more than one child%s", run.ID(), c.story(run))
			}
			for _, child := range got.GetChildren() {
				c.accepted[child.GetRunId()] = c.client.Run(child.GetRunId())
			}
			c.mu.Unlock()
		}
	}
}

// strike does one bad thing, or two at once, and repairs it.
func (c *chaos) strike(what int) {
	id := fmt.Sprintf("w%d", c.random.IntN(3))
	w := c.workers[id]
	pause := time.Duration(c.random.IntN(2500)) * time.Millisecond
	c.t.Logf("%s strike %d, %s, %v", time.Now().Format("15:04:05.000"), what, id, pause)
	switch what {
	case killServer:
		c.server.kill()
		c.server = c.rig.server()
	case killWorker:
		w.kill()
		c.pass(pause)
		c.workers[id] = c.launch(id, 20)
	case freezeWorker:
		w.signal(syscall.SIGSTOP)
		c.pass(pause)
		w.signal(syscall.SIGCONT)
	case freezeWorkerKillServer:
		w.signal(syscall.SIGSTOP)
		c.server.kill()
		c.server = c.rig.server()
		c.pass(pause)
		w.signal(syscall.SIGCONT)
	case killBoth:
		w.kill()
		c.server.kill()
		c.server = c.rig.server()
		c.workers[id] = c.launch(id, 20)
	case freezeServer:
		c.server.signal(syscall.SIGSTOP)
		c.pass(pause)
		c.server.signal(syscall.SIGCONT)
	case stopServer:
		c.server.signal(syscall.SIGTERM)
		if code, stderr := c.server.exit(); code != exitOK {
			c.t.Errorf("the server ended with %d after SIGTERM: %s", code, stderr)
		}
		c.server = c.rig.server()
	case drainWorker:
		w.says("ready")
		w.signal(syscall.SIGTERM)
		w.ended(exitOK, "")
		c.workers[id] = c.launch(id, 20)
	case doubleWorker:
		c.workers[id] = c.double(w, pause)
	}
	// One that was superseded or died of its own is brought back.
	select {
	case <-c.workers[id].gone:
		c.workers[id] = c.launch(id, 20)
	default:
	}
}

// double starts a second process of a worker while the first one is frozen, and
// returns the one that keeps the id; the other one ends.
func (c *chaos) double(first *process, pause time.Duration) *process {
	first.says("ready")
	first.signal(syscall.SIGSTOP)
	second := c.launch(first.name, 20)
	c.pass(pause)
	first.signal(syscall.SIGCONT)
	select {
	case <-first.gone:
		first.ended(exitPrecondition, messages.CodeWorkerSuperseded)
		return second
	case <-second.gone:
		second.ended(exitPrecondition, messages.CodeWorkerIDTaken)
		return first
	case <-c.ctx.Done():
		c.t.Fatalf("two processes are worker %s", first.name)
		return nil
	}
}

// explain compares what was executed with the histories, and counts the
// attempts that were lost by those and the repetitions by the ledger.
func (c *chaos) explain() (lost, again int) {
	byRun := map[string][]ledger.Execution{}
	for _, e := range c.executions("") {
		byRun[e.Run] = append(byRun[e.Run], e)
	}
	executed := 0
	for id, run := range c.accepted {
		executions := byRun[id]
		again += len(executions) - 3
		executed += len(executions)
		history := c.history(run)
		faults := unexplained(history, executions)
		for _, e := range history {
			if e.GetAttemptLost() != nil {
				lost++
			}
		}
		if len(faults) > 0 {
			c.t.Errorf("run %s: %s%s", id, strings.Join(faults, "; "), c.story(run))
		}
	}
	c.t.Logf("%d runs, %d attempts were lost by the histories, %d executions were repetitions by the ledger, of %d", len(c.accepted), lost, again, executed)
	return lost, again
}

// unexplained says what in the ledger of a run its history does not account
// for.
func unexplained(history []*messages.Event, executions []ledger.Execution) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	hard := false
	// An attempt that was lost and one that was suspended are executed anew by
	// the next one.
	lost, suspended, succeeded := map[string]int{}, map[string]int{}, map[string]int{}
	dispatched, bindings := map[string]string{}, map[uint64]string{}
	for _, e := range history {
		switch {
		case e.GetRunStarted() != nil:
			hard = e.GetRunStarted().GetSticky() == sdk.Hard
		case e.GetBound() != nil:
			bindings[e.GetBound().GetEpoch()] = e.GetBound().GetWorker().GetIncarnation()
		case e.GetStepDispatched() != nil:
			d := e.GetStepDispatched()
			dispatched[fmt.Sprintf("%s#%d", d.GetStep(), d.GetAttempt())] = d.GetWorker().GetIncarnation()
		case e.GetAttemptLost() != nil:
			lost[e.GetAttemptLost().GetStep()]++
		case e.GetAttemptSuspended() != nil:
			suspended[e.GetAttemptSuspended().GetStep()]++
		case e.GetStepSucceeded() != nil:
			succeeded[e.GetStepSucceeded().GetStep()]++
		}
	}
	times, attempts := map[string]int{}, map[string]int{}
	workers := map[string]bool{}
	for _, e := range executions {
		times[e.Step]++
		workers[e.Worker] = true
		attempt := fmt.Sprintf("%s#%d", e.Step, e.Attempt)
		if attempts[attempt]++; attempts[attempt] > 1 {
			fault("%s was executed %d times", attempt, attempts[attempt])
		}
		if dispatched[attempt] != e.Incarnation {
			fault("%s was executed by %s, and dispatched to %s", attempt, e.Incarnation, dispatched[attempt])
		}
		if e.Epoch > 0 && bindings[e.Epoch] != e.Incarnation {
			fault("%s of epoch %d was executed by %s, the binding was %s", attempt, e.Epoch, e.Incarnation, bindings[e.Epoch])
		}
	}
	for _, step := range []string{"a", "b", "c"} {
		if succeeded[step] != 1 {
			fault("step %s succeeded %d times", step, succeeded[step])
		}
		if n := times[step]; n < 1 || n > 1+lost[step]+suspended[step] {
			fault("step %s was executed %d times, with %d losses and %d suspensions", step, n, lost[step], suspended[step])
		}
	}
	if hard && len(workers) > 1 {
		fault("a HARD run was on %d workers", len(workers))
	}
	slices.Sort(faults)
	return faults
}
