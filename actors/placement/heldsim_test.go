package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/messages"
)

// A simulation of runs that ask for shared values by skewed keys: how many
// values are built, and how even the load is, by the rule of the package, by
// least load alone, and by chance.

// policy says who gets a run.
type policy struct {
	name string
	// random workers with a free slot, instead of the core's.
	random bool
	config Config
}

// heldWorld is what is simulated.
type heldWorld struct {
	workers, slots, keys, runs int
	// skew is the exponent of Zipf's law.
	skew float64
	// cached is how many values a worker keeps that no run holds.
	cached int
	// busy is the share of all slots that the steps would take if nothing were
	// ever built.
	busy float64
	// steps of a run, step and pause after it, and build of a value, in seconds
	// on average. With one step the workflow is not sticky.
	steps              int
	step, pause, build float64
	seed               uint64
}

// heldResult is what came of it.
type heldResult struct {
	builds, runs int
	// work is the greatest work of a worker by the mean, load the same of the
	// slots taken, averaged over time.
	work, load float64
	// wait from ready to granted, and time from ready to the end, in seconds.
	wait, took float64
}

type heldRun struct {
	id       string
	key      uint64
	at       float64
	left     int
	worker   *heldWorker
	question *messages.Place
}

type heldWorker struct {
	id      string
	running int
	bound   int
	serial  uint64
	seen    []uint64
	values  map[uint64]*heldValue
	queue   []func()
	work    float64
}

type heldValue struct {
	users  int
	used   float64 // last
	readyT float64
}

// heldSim runs events in the order of their times.
type heldSim struct {
	world   heldWorld
	policy  policy
	dice    *rand.Rand
	now     float64
	events  heap.Heap[heldEvent]
	order   int
	core    *Core
	workers []*heldWorker
	runs    map[string]*heldRun
	queue   []*heldRun // of the random policy
	result  heldResult
	sampled int
}

type heldEvent struct {
	at    float64
	order int
	do    func()
}

func (e heldEvent) before(f heldEvent) bool {
	return e.at < f.at || e.at == f.at && e.order < f.order
}

func (s *heldSim) after(d float64, do func()) {
	s.order++
	s.events.Push(heldEvent{s.now + d, s.order, do})
}

func (s *heldSim) clock() time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(s.now * float64(time.Second)))
}

// zipf draws keys: the k-th is asked for in proportion to 1/k^skew.
func (w heldWorld) zipf(dice *rand.Rand) func() uint64 {
	sums := make([]float64, w.keys)
	sum := 0.0
	for k := range sums {
		sum += math.Pow(float64(k+1), -w.skew)
		sums[k] = sum
	}
	return func() uint64 {
		k, _ := slices.BinarySearch(sums, dice.Float64()*sum)
		return messages.HeldKey("model", fmt.Sprint(k))
	}
}

func simulateHeld(world heldWorld, p policy) heldResult {
	p.config.SettleFor, p.config.AskedWithin = -1, 1000*time.Hour
	s := &heldSim{world: world, policy: p, dice: rand.New(rand.NewPCG(world.seed, 1)), core: New(p.config), runs: map[string]*heldRun{},
		events: heap.New(heldEvent.before, nil)}
	for i := range world.workers {
		w := &heldWorker{id: fmt.Sprintf("w%02d", i), values: map[uint64]*heldValue{}}
		s.workers = append(s.workers, w)
		s.do(s.core.WorkerUp(&messages.WorkerInfo{WorkerId: w.id, Incarnation: "i1", Slots: int32(world.slots),
			Workflows: []*messages.WorkflowDefinition{{Name: "flow", Steps: []*messages.StepDefinition{{Name: "s1"}}}}}, s.clock()))
		s.report(w)
	}
	key := world.zipf(rand.New(rand.NewPCG(world.seed, 2)))
	arrivals := rand.New(rand.NewPCG(world.seed, 3))
	every := world.step * float64(world.steps) / (world.busy * float64(world.workers*world.slots))
	at := 0.0
	for i := range world.runs {
		at += arrivals.ExpFloat64() * every
		r := &heldRun{id: fmt.Sprintf("r%d", i), key: key(), at: at, left: world.steps}
		s.after(at, func() { s.start(r) })
	}
	for s.after(0, s.tick); s.result.runs < world.runs && s.events.Len() > 0; {
		e := s.events.Pop()
		s.now = e.at
		e.do()
	}
	s.finish()
	return s.result
}

// tick lets time pass, and looks at the load.
func (s *heldSim) tick() {
	s.do(s.core.Tick(s.clock()))
	most, all := 0, 0
	for _, w := range s.workers {
		most, all = max(most, w.running), all+w.running
	}
	if all > 0 {
		s.result.load += float64(most*len(s.workers)) / float64(all)
		s.sampled++
	}
	if s.order%10 == 0 {
		for _, w := range s.workers {
			s.report(w)
		}
	}
	s.after(0.1, s.tick)
}

func (s *heldSim) finish() {
	most, all := 0.0, 0.0
	for _, w := range s.workers {
		most, all = max(most, w.work), all+w.work
	}
	n := float64(s.result.runs)
	s.result.work = most * float64(len(s.workers)) / all
	s.result.load /= float64(s.sampled)
	s.result.wait /= n
	s.result.took /= n
}

func (s *heldSim) start(r *heldRun) {
	s.runs[r.id] = r
	if s.policy.random {
		s.queue = append(s.queue, r)
		s.drawAll()
		return
	}
	r.question = &messages.Place{RunId: r.id, Question: 1, Workflow: "flow", Steps: []string{"s1"}, HeldKeys: []uint64{r.key},
		ReadyUs: int64(s.now * 1e6), ReplyAddress: "server", ReplyActorId: r.id}
	if s.world.steps > 1 {
		r.question.Sticky = messages.Sticky_STICKY_SOFT
	}
	s.do(s.core.Ask(r.question, s.clock()))
}

// drawAll gives waiting runs to workers with a free slot, by chance.
func (s *heldSim) drawAll() {
	for len(s.queue) > 0 {
		var open []*heldWorker
		for _, w := range s.workers {
			if w.running < s.world.slots {
				open = append(open, w)
			}
		}
		if len(open) == 0 {
			return
		}
		r := s.queue[0]
		s.queue = s.queue[1:]
		s.begin(r, open[s.dice.IntN(len(open))])
	}
}

func (s *heldSim) do(actions []Action) {
	for _, a := range actions {
		if x, ok := a.(Answer); ok && x.Placed != nil {
			r := s.runs[x.Placed.RunId]
			w := s.workers[slices.IndexFunc(s.workers, func(w *heldWorker) bool { return w.id == x.Placed.Worker.WorkerId })]
			s.after(0.0005, func() {
				w.seen = append(w.seen, x.Placed.GrantId)
				s.begin(r, w)
				s.report(w)
			})
		}
	}
}

// begin binds a run to its worker, where it takes a value and its first step.
func (s *heldSim) begin(r *heldRun, w *heldWorker) {
	r.worker = w
	w.bound++
	s.result.wait += s.now - r.at
	v := w.values[r.key]
	if v == nil {
		s.result.builds++
		v = &heldValue{readyT: s.now + s.world.build}
		w.values[r.key] = v
	}
	v.users++
	s.step(r)
}

// step takes a slot of the run's worker, or waits for one.
func (s *heldSim) step(r *heldRun) {
	w := r.worker
	if w.running >= s.world.slots && !s.policy.random || w.running >= s.world.slots+s.world.slots {
		w.queue = append(w.queue, func() { s.step(r) })
		return
	}
	w.running++
	takes := s.dice.ExpFloat64()*s.world.step + max(0, w.values[r.key].readyT-s.now)
	w.work += takes
	s.after(takes, func() { s.ended(r) })
}

func (s *heldSim) ended(r *heldRun) {
	w := r.worker
	w.running--
	if len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		next()
	}
	if r.left--; r.left > 0 {
		s.after(s.dice.ExpFloat64()*s.world.pause, func() { s.step(r); s.report(w) })
	} else {
		s.release(r)
	}
	if s.policy.random {
		s.drawAll()
		return
	}
	s.after(0.0005, func() { s.report(w) })
}

// release ends a run; of the values that nobody holds the worker keeps those
// used last.
func (s *heldSim) release(r *heldRun) {
	w := r.worker
	w.bound--
	s.result.runs++
	s.result.took += s.now - r.at
	delete(s.runs, r.id)
	v := w.values[r.key]
	v.users--
	v.used = s.now
	for {
		idle, oldest := 0, uint64(0)
		for key, v := range w.values {
			if v.users > 0 {
				continue
			}
			idle++
			if o := w.values[oldest]; o == nil || v.used < o.used || v.used == o.used && key < oldest {
				oldest = key
			}
		}
		if idle <= s.world.cached {
			return
		}
		delete(w.values, oldest)
	}
}

func (s *heldSim) report(w *heldWorker) {
	w.serial++
	keys := make([]uint64, 0, len(w.values))
	for key := range w.values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	seen := w.seen
	w.seen = nil
	s.do(s.core.Report(&messages.LoadReport{WorkerId: w.id, Incarnation: "i1", Slots: int32(s.world.slots), Running: int32(w.running),
		Queued: int32(len(w.queue)), BoundRuns: int32(w.bound), HeldKeys: keys, GrantsSeen: seen, Serial: w.serial}, s.clock()))
}

var heldPolicies = []policy{
	{name: "random", random: true},
	{name: "least-loaded", config: Config{HeldLoadBound: -1}},
	{name: "bound-1", config: Config{HeldLoadBound: 1}},
	{name: "bound-1.25", config: Config{}},
	{name: "bound-2", config: Config{HeldLoadBound: 2}},
	{name: "no-bound", config: Config{HeldLoadBound: 1000}},
}

// Ten workers of ten slots and 300 keys of which a worker keeps 40; a build
// takes four steps' time.
var heldWorlds = []struct {
	name  string
	world heldWorld
}{
	{"steps-20%", heldWorld{busy: 0.2, steps: 1, step: 0.5}},
	{"steps-60%", heldWorld{busy: 0.6, steps: 1, step: 0.5}},
	{"steps-80%", heldWorld{busy: 0.8, steps: 1, step: 0.5}},
	{"sticky-50%", heldWorld{busy: 0.5, steps: 5, step: 0.1, pause: 0.1}},
	{"sticky-idle", heldWorld{busy: 0.5, steps: 5, step: 0.1, pause: 1}},
}

func (w heldWorld) sized(runs int, seed uint64) heldWorld {
	w.workers, w.slots, w.keys, w.skew, w.cached, w.build = 10, 10, 300, 1.1, 40, 2
	w.runs, w.seed = runs, seed
	return w
}

// TestHeldKeysSaveBuilds: of the builds that placement by load alone needs the
// rule leaves less than 60 %, the first of each key among them, with nearly the
// same work for all workers, and no run waits longer for it.
func TestHeldKeysSaveBuilds(t *testing.T) {
	for _, w := range heldWorlds {
		world := w.world.sized(3000, 7)
		plain := simulateHeld(world, policy{config: Config{HeldLoadBound: -1}})
		ours := simulateHeld(world, policy{})
		t.Logf("%s: %d builds, %d by load alone; work max/mean %.2f, %.2f; wait %.3f s, %.3f s",
			w.name, ours.builds, plain.builds, ours.work, plain.work, ours.wait, plain.wait)
		if 10*ours.builds > 6*plain.builds {
			t.Errorf("%s: %d builds, %d by load alone", w.name, ours.builds, plain.builds)
		}
		if ours.work > 1.25 || ours.took > plain.took {
			t.Errorf("%s: one worker does %.2f of the mean, and a run takes %.3f s, %.3f s by load alone", w.name, ours.work, ours.took, plain.took)
		}
	}
}

// BenchmarkHeldKeys prints the table of the package's documentation.
func BenchmarkHeldKeys(b *testing.B) {
	for _, w := range heldWorlds {
		for _, p := range heldPolicies {
			b.Run(w.name+"/"+p.name, func(b *testing.B) {
				var r heldResult
				for i := range b.N {
					r = simulateHeld(w.world.sized(5000, uint64(i+1)), p)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(100*float64(r.builds)/float64(r.runs), "builds/100runs")
				b.ReportMetric(r.work, "work-max/mean")
				b.ReportMetric(r.load, "load-max/mean")
				b.ReportMetric(r.wait, "wait-s")
			})
		}
	}
}

// TestHeldBound compares the choice with the rule as it is written down.
func TestHeldBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := New(Config{SettleFor: -1}), time.Unix(1_000_000, 0)
		type model struct {
			slots, load int
			holds       bool
		}
		workers := map[string]model{}
		load, slots := 0, 0
		for i := range rapid.IntRange(1, 6).Draw(t, "workers") {
			id := fmt.Sprintf("w%d", i)
			m := model{slots: rapid.IntRange(1, 20).Draw(t, "slots"), holds: rapid.Bool().Draw(t, "holds")}
			m.load = rapid.IntRange(0, m.slots).Draw(t, "load")
			workers[id] = m
			load, slots = load+m.load, slots+m.slots
			c.WorkerUp(&messages.WorkerInfo{WorkerId: id, Incarnation: "i1", Slots: int32(m.slots),
				Workflows: []*messages.WorkflowDefinition{{Name: "flow0", Steps: []*messages.StepDefinition{{Name: "s1"}, {Name: "s2"}}}}}, now)
			r := &messages.LoadReport{WorkerId: id, Incarnation: "i1", Slots: int32(m.slots), Running: int32(m.load), Serial: 1}
			if m.holds {
				r.HeldKeys = []uint64{5}
			}
			c.Report(r, now)
		}
		best, most := math.Inf(1), math.Inf(1) // of the holders within the bound, and of all
		for _, m := range workers {
			share := float64(m.load) / float64(m.slots)
			if m.load == m.slots {
				continue
			}
			most = min(most, share)
			bound := math.Ceil(1.25*float64((load+1)*m.slots)/float64(slots) - 1e-9)
			if m.holds && (float64(m.load+1) <= bound || float64(m.load+1) <= 0.25*float64(m.slots)) {
				best = min(best, share)
			}
		}
		q := ask(1, 1)
		q.Sticky, q.HeldKeys = messages.Sticky_STICKY_NONE, []uint64{5}
		placed := c.Ask(q, now)[0].(Answer).Placed
		if math.IsInf(most, 1) {
			if placed != nil {
				t.Fatalf("granted %v, all are full", placed)
			}
			return
		}
		got := workers[placed.GetWorker().GetWorkerId()]
		share := float64(got.load) / float64(got.slots)
		if !math.IsInf(best, 1) && (!got.holds || share != best) || math.IsInf(best, 1) && share != most {
			t.Fatalf("%+v was chosen of %+v", got, workers)
		}
	})
}
