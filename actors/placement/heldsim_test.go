package placement

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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
	events  heldEvents
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

type heldEvents []heldEvent

func (h heldEvents) Len() int { return len(h) }
func (h heldEvents) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h heldEvents) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heldEvents) Push(x any)   { *h = append(*h, x.(heldEvent)) }
func (h *heldEvents) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}

func (s *heldSim) after(d float64, do func()) {
	s.order++
	heap.Push(&s.events, heldEvent{s.now + d, s.order, do})
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
	s := &heldSim{world: world, policy: p, dice: rand.New(rand.NewPCG(world.seed, 1)), core: New(p.config), runs: map[string]*heldRun{}}
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
	for s.after(0, s.tick); s.result.runs < world.runs && len(s.events) > 0; {
		e := heap.Pop(&s.events).(heldEvent)
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
	{name: "least loaded", config: Config{HeldLoadBound: -1}},
	{name: "bound 1.0 free none", config: Config{HeldLoadBound: 1, HeldLoadFree: -1}},
	{name: "bound 1.25 free none", config: Config{HeldLoadBound: 1.25, HeldLoadFree: -1}},
	{name: "bound 1.1 free 0.25", config: Config{HeldLoadBound: 1.1}},
	{name: "bound 1.25 free 0.25", config: Config{}},
	{name: "bound 1.25 free 0.5", config: Config{HeldLoadFree: 0.5}},
	{name: "bound 1.5 free 0.25", config: Config{HeldLoadBound: 1.5}},
	{name: "bound 2 free 0.25", config: Config{HeldLoadBound: 2}},
	{name: "bound 1000", config: Config{HeldLoadBound: 1000}},
}

var heldWorlds = []struct {
	name  string
	world heldWorld
}{
	{"steps, 20 % busy", heldWorld{workers: 10, slots: 10, keys: 300, runs: 5_000, skew: 1.1, cached: 40, busy: 0.2, steps: 1, step: 0.5, build: 2}},
	{"steps, 60 % busy", heldWorld{workers: 10, slots: 10, keys: 300, runs: 5_000, skew: 1.1, cached: 40, busy: 0.6, steps: 1, step: 0.5, build: 2}},
	{"steps, 90 % busy", heldWorld{workers: 10, slots: 10, keys: 300, runs: 5_000, skew: 1.1, cached: 40, busy: 0.8, steps: 1, step: 0.5, build: 2}},
	{"sticky, 50 % busy", heldWorld{workers: 10, slots: 10, keys: 300, runs: 5_000, skew: 1.1, cached: 40, busy: 0.5, steps: 5, step: 0.1, pause: 0.1, build: 2}},
	{"sticky, idle much", heldWorld{workers: 10, slots: 10, keys: 300, runs: 5_000, skew: 1.1, cached: 40, busy: 0.5, steps: 5, step: 0.1, pause: 1, build: 2}},
}

func TestHeldTable(t *testing.T) {
	for _, w := range heldWorlds {
		w.world.seed = 1
		t.Logf("%s", w.name)
		for _, p := range heldPolicies {
			r := simulateHeld(w.world, p)
			t.Logf("  %-22s builds %5d of %d  work max/mean %.2f  load max/mean %.2f  wait %.3f s  took %.3f s",
				p.name, r.builds, r.runs, r.work, r.load, r.wait, r.took)
		}
	}
}
