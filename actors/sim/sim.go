package sim

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
)

// Sim is one simulated cluster.
type Sim struct {
	clock
	dice dice
	// extra draws what came later, so that the seeds without it stay as they are.
	extra dice
	world world
	work  workload
	store *store

	procs        []*proc
	byRef        map[string]*worker
	incarnations map[string]int
	cuts         map[[2]string]bool
	// deaf: what one says does not reach the other, which nobody notices.
	deaf map[[2]string]bool
	// severed are pairs that do not reach each other directly.
	severed map[[2]string]*severed
	// heartbeats of the servers, by their addresses.
	heartbeats map[string]heartbeat
	// admitted is the newest admitted process of each worker id.
	admitted map[string]int
	// diedAt and bornAt are when a server died last, and began last.
	diedAt, bornAt time.Time
	// awayUntil: no server begins before.
	awayUntil time.Time
	// downUntil is when the journal is back.
	downUntil time.Time
	// storelessUntil is when a server, by its id, reaches the journal again.
	storelessUntil map[string]time.Time
	// clocks is nil where all of them are true.
	clocks  *clocks
	holding holding
	ends    dice
	goesOn  dice
	// reads draws what happens to streams.
	reads     dice
	keeping   keeping
	clients   []*client
	monitor   *monitor
	runConfig run.Config

	healed, over bool
	// settledAt is when somebody was last missing.
	settledAt time.Time
	failure   error
	trace     trace
	watch     func(string)
}

// Bounds of a simulation.
const (
	// livesFor is the simulated time within which every run must end once all
	// faults have healed.
	livesFor  = 30 * time.Minute
	eventsMax = 3_000_000
)

// extraSeeds is where the seeds of the extra dice begin, and straySeeds, clockSeeds,
// fanSeeds and callSeeds where those of strays, clocks, fans and calls do: far enough
// for the regressions to have none. Signals are sent where steps receive them alone.
const (
	extraSeeds = 1 << 40
	straySeeds = 13 << 40
	clockSeeds = 19 << 40
	fanSeeds   = 23 << 40
	callSeeds  = 76 << 40

	signalSeeds = 77 << 40
)

// Result says what a simulation did.
type Result struct {
	Seed   uint64
	Events int
	// Took is simulated time.
	Took time.Duration
	counts
	// Err is what went wrong, nil if nothing did; Trace the last lines before
	// it, if it was asked for.
	Err   error
	Trace []string
}

// Run simulates the cluster of a seed. With traced, the result has the last
// lines of what happened; watch, if it is not nil, gets each of them.
func Run(seed uint64, traced bool, watch func(string)) (res Result) {
	s := &Sim{dice: newDice(seed), extra: newDice(seed + extraSeeds), runConfig: run.Config{ShareFrom: 1}, byRef: map[string]*worker{}, incarnations: map[string]int{}, cuts: map[[2]string]bool{},
		deaf: map[[2]string]bool{}, severed: map[[2]string]*severed{}, heartbeats: map[string]heartbeat{}, storelessUntil: map[string]time.Time{}, admitted: map[string]int{},
		trace: trace{on: traced}, watch: watch}
	s.clock = newClock()
	s.monitor = newMonitor(s)
	s.store = &store{Memory: journal.NewMemory(), sim: s}
	defer func() {
		if r := recover(); r != nil {
			s.fail("panic: %v\n%s", r, debug.Stack())
		}
		res = Result{Seed: seed, Events: s.events, Took: s.now.Sub(epoch), counts: s.monitor.counts, Err: s.failure, Trace: s.trace.lines}
		if res.Err != nil {
			res.Err = fmt.Errorf("seed %d, %.4f s: %w", seed, res.Took.Seconds(), res.Err)
		}
	}()
	s.drawWorld()
	s.drawPairs(newDice(seed + pairSeeds))
	s.drawHolding(newDice(seed + heldSeeds))
	s.drawWorkload()
	s.drawFan(newDice(seed + fanSeeds))
	s.drawCalls(newDice(seed + callSeeds))
	s.drawEvents(newDice(seed + eventSeeds))
	s.drawKeeping(newDice(seed + keepSeeds))
	s.drawEndSteps(newDice(seed + endSeeds))
	s.drawPosts(newDice(seed + postSeeds))
	s.drawProgress(newDice(seed + progressSeeds))
	s.drawContinuing(newDice(seed + continueSeeds))
	s.drawStreams(newDice(seed + streamSeeds))
	s.drawClocks(newDice(seed + clockSeeds))
	s.begin()
	s.cancelAgain()
	s.drawSignals(newDice(seed + signalSeeds))
	s.drawStrays(newDice(seed + straySeeds))
	s.drawOutages(newDice(seed + outageSeeds))
	for s.failure == nil && !s.over {
		if !s.step() {
			s.fail("nothing is left to happen")
		}
		if s.events > eventsMax {
			s.fail("%d events: it goes round in circles\n%s", s.events, s.unfinished())
		}
		if s.now.Sub(epoch) > s.world.trouble+livesFor {
			s.fail("not all runs have ended:\n%s", s.unfinished())
		}
	}
	if s.failure == nil {
		s.must(s.leaks())
	}
	return res
}

func (s *Sim) begin() {
	for _, id := range s.world.servers {
		s.startServer(id)
	}
	for _, id := range s.world.workers {
		s.startWorker(id, s.workflowsOf())
	}
	s.drawClients()
	s.after(s.world.every, s.trouble)
	s.drawSuccessions()
	s.drawDrains()
	s.after(s.world.trouble, s.heal)
}

func (s *Sim) newProc(id string) *proc {
	s.incarnations[id]++
	n := s.incarnations[id]
	p := &proc{sim: s, born: s.now, pace: s.pace(), id: id, address: fmt.Sprintf("%s.%d", id, n), incarnation: n, alive: true,
		sees: map[*proc]bool{}, seenSince: map[*proc]time.Time{}, state: map[*proc]memberState{}, steadySince: s.now, missed: map[*proc]bool{}, deciding: map[*proc]bool{}}
	if s.world.skewMost > 0 {
		most := s.world.skewMost
		if id[0] == 'w' {
			most *= 2
		}
		p.skew = s.dice.between(-most, most)
	}
	s.procs = append(s.procs, p)
	return p
}

func (s *Sim) fail(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf(format, args...)
		s.tracef("FAILURE: %v", s.failure)
	}
}

func (s *Sim) must(err error) {
	if err != nil {
		s.fail("%w", err)
	}
}

// unfinished says what the runs that did not end wait for.
func (s *Sim) unfinished() string {
	var b strings.Builder
	for _, c := range s.clients {
		if !c.acked {
			fmt.Fprintf(&b, "%s was never acknowledged\n", c.runID)
		}
	}
	for _, id := range s.monitor.order {
		st := s.monitor.runs[id]
		if st.Ended() {
			continue
		}
		fmt.Fprintf(&b, "%s %s entry %d epoch %d bound %s lost %v dormant %v cancel %v:", id, st.Def.Sticky, st.Number, st.Epoch,
			processKey(st.Binding.Worker), st.Binding.Lost, st.Dormant, st.Cancel)
		for i := range st.Steps {
			fmt.Fprintf(&b, " %s#%d %s@%s", st.Steps[i].Def.Name, st.Steps[i].Attempt, st.Steps[i].Phase, processKey(st.Steps[i].Worker))
		}
		for _, p := range s.procs {
			if p.server != nil && p.alive && p.server.host.Active(id) != nil {
				fmt.Fprintf(&b, " | on %s: waits for %s", p.address, p.server.host.Active(id).WaitingFor())
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// leaks reports what is left although every run has ended.
func (s *Sim) leaks() error {
	var errs []error
	errs = append(errs, s.monitor.oneOfEach(), s.monitor.readAll())
	leak := func(format string, args ...any) { errs = append(errs, fmt.Errorf("leak: "+format, args...)) }
	for _, p := range s.procs {
		switch {
		case !p.alive:
		case p.worker != nil:
			if c := p.worker.core; c.Running() > 0 || c.Unacknowledged() > 0 {
				leak("%s runs %d functions and holds %d results", p.address, c.Running(), c.Unacknowledged())
			}
		default:
			for _, a := range p.server.host.All() {
				leak("%s is still in memory", a.Address.(*actor).pid())
			}
			if err := p.server.host.Idle(); err != nil {
				leak("%s: %w", p.address, err)
			}
			if pl := p.server.place; pl != nil {
				if n := pl.core.Waiting(); n > 0 {
					leak("%d questions wait at %s", n, p.address)
				}
				for _, l := range pl.core.Loads() {
					if l.Granted > 0 || l.Running > 0 || l.Queued > 0 {
						leak("placement has %+v", l)
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}
