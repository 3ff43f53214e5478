package placement

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/messages"
)

// TestProperties drives a core by a small world in which messages are lost,
// doubled and late, workers come and go, and runs give up. Whatever happens,
// no worker is granted more than its slots, none that lacks a step or a label
// or is full of sticky runs is granted anything, and when all has calmed down
// every question that a worker fits is answered.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := w.core.Check(); err != nil {
					t.Fatal(err)
				}
			},
			"ask":       w.ask,
			"ask again": w.askAgain,
			"withdraw":  w.withdraw,
			"dispatch":  w.dispatch,
			"end":       w.end,
			"report":    func(t *rapid.T) { w.report(w.pick(t)) },
			"come":      w.come,
			"go":        w.leave,
			"drain":     w.drain,
			"hold":      w.hold,
			"list":      w.list,
			"wait":      w.wait,
		})
		w.settle()
	})
}

type world struct {
	t       *rapid.T
	core    *Core
	now     time.Time
	workers map[string]*modelWorker
	runs    map[string]*modelRun
	serial  uint64
	nextRun int
	listing map[string][]string // what the journal answered, on its way
	// moves are the times at which moves were granted.
	moves []time.Time
}

// worldMoves is how many moves a second the world allows.
const worldMoves = 2

type modelWorker struct {
	info     *messages.WorkerInfo
	running  map[string]bool // run ids
	held     []uint64
	seen     []uint64
	draining bool
}

type modelRun struct {
	place   *messages.Place
	placed  *messages.Placed
	at      time.Time // of the grant
	running bool
	bound   string // worker id in the journal
}

func newWorld(t *rapid.T) *world {
	return &world{t: t, core: New(Config{SettleFor: -1, MovesPerSecond: worldMoves}), now: time.Unix(1_000_000, 0), workers: map[string]*modelWorker{},
		runs: map[string]*modelRun{}, listing: map[string][]string{}}
}

func (w *world) do(actions []Action) {
	for _, action := range actions {
		switch x := action.(type) {
		case Answer:
			if x.Placed != nil {
				w.granted(x.Placed)
			} else if x.Waiting.Stay {
				w.stays(x.Waiting)
			} else if x.Waiting.Reason == 0 || x.Waiting.Text == "" {
				w.t.Fatalf("run %s waits without a reason", x.Waiting.RunId)
			}
		case ListBound:
			w.listing[x.WorkerID] = w.boundTo(x.WorkerID)
		}
	}
}

func (w *world) boundTo(worker string) []string {
	var out []string
	for id, r := range w.runs {
		if r.bound == worker {
			out = append(out, id)
		}
	}
	return out
}

// granted checks a grant against what the world knows.
func (w *world) granted(p *messages.Placed) {
	r := w.runs[p.RunId]
	if r == nil || r.place.Question != p.Question {
		w.t.Fatalf("run %s got an answer to question %d, which it does not ask", p.RunId, p.Question)
	}
	if r.placed != nil && r.placed.GrantId == p.GrantId {
		return // told again
	}
	if r.running {
		w.t.Fatalf("run %s got a second grant", p.RunId)
	}
	m := w.workers[p.Worker.WorkerId]
	if m == nil || m.info.Incarnation != p.Worker.Incarnation {
		w.t.Fatalf("run %s was granted %s, which has gone", p.RunId, p.Worker.WorkerId)
	}
	if m.draining || r.place.ExcludeWorker == p.Worker.WorkerId || !fitsModel(r.place, m.info) {
		w.t.Fatalf("run %s was granted %s, which does not fit", p.RunId, p.Worker.WorkerId)
	}
	r.placed, r.at = p, w.now
	if r.place.Move {
		w.moved()
	}
	onTheWay, bound := 0, 0
	for _, other := range w.runs {
		if g := other.placed; g != nil && !other.running && g.Worker.WorkerId == p.Worker.WorkerId &&
			g.Worker.Incarnation == p.Worker.Incarnation && w.now.Sub(other.at) < 5*time.Second {
			onTheWay++
			if other.bound == "" && other.place.Sticky != messages.Sticky_STICKY_NONE {
				bound++
			}
		}
	}
	if n := len(m.running) + onTheWay; n > int(m.info.Slots) {
		w.t.Fatalf("worker %s has %d slots, %d are taken", p.Worker.WorkerId, m.info.Slots, n)
	}
	bound += len(w.boundTo(p.Worker.WorkerId))
	if most := int(m.info.StickyRunsMax); most > 0 && r.place.Sticky != messages.Sticky_STICKY_NONE && bound > most {
		w.t.Fatalf("worker %s has %d sticky runs, most %d", p.Worker.WorkerId, bound, most)
	}
}

// moved checks the pace of moves over every span that ends now.
func (w *world) moved() {
	w.moves = append(w.moves, w.now)
	for i, from := range w.moves {
		if n, most := len(w.moves)-i, worldMoves+int(w.now.Sub(from)*worldMoves/time.Second); n > most {
			w.t.Fatalf("%d moves were granted in %v, at most %d may be", n, w.now.Sub(from), most)
		}
	}
}

// stays: a move is put off only while the pace does not allow it, and the
// question is over.
func (w *world) stays(p *messages.PlaceWaiting) {
	r := w.runs[p.RunId]
	granted := false // a worker that is there
	if r != nil && r.placed != nil {
		m := w.workers[r.placed.Worker.WorkerId]
		granted = m != nil && m.info.Incarnation == r.placed.Worker.Incarnation
	}
	if r == nil || !r.place.Move || granted {
		w.t.Fatalf("run %s is to stay, but is not about to move", p.RunId)
	}
	if n := len(w.moves); n < worldMoves || w.now.Sub(w.moves[n-worldMoves]) >= time.Second {
		w.t.Fatalf("run %s is to stay, but %d moves a second are allowed, and those before were at %v", p.RunId, worldMoves, w.moves)
	}
	delete(w.runs, p.RunId)
}

func fitsModel(p *messages.Place, info *messages.WorkerInfo) bool {
	for _, d := range info.Workflows {
		if d.Name != p.Workflow {
			continue
		}
		for _, s := range p.Steps {
			if d.StepNamed(s) == nil {
				return false
			}
		}
		for _, r := range p.Labels {
			if r.Required && info.Labels[r.Key] != r.Value {
				return false
			}
		}
		return true
	}
	return false
}

var names = []string{"w1", "w2", "w3"}

func (w *world) pick(t *rapid.T) *modelWorker {
	var live []string
	for id := range w.workers {
		live = append(live, id)
	}
	if len(live) == 0 {
		t.Skip("no worker")
	}
	sort.Strings(live)
	return w.workers[rapid.SampledFrom(live).Draw(t, "worker")]
}

func (w *world) pickRun(t *rapid.T, want func(*modelRun) bool) *modelRun {
	var ids []string
	for id, r := range w.runs {
		if want(r) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		t.Skip("no such run")
	}
	sort.Strings(ids)
	return w.runs[rapid.SampledFrom(ids).Draw(t, "run")]
}

func (w *world) ask(t *rapid.T) {
	w.nextRun++
	p := &messages.Place{
		RunId: fmt.Sprintf("r%d", w.nextRun), Question: 1, Workflow: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "workflow"),
		Steps: []string{"s1"}, Priority: rapid.Int32Range(1, 3).Draw(t, "priority"),
		Sticky:       messages.Sticky(rapid.Int32Range(0, 2).Draw(t, "sticky")),
		ReplyAddress: "server", ReplyActorId: "run", ReadyUs: rapid.Int64Range(0, 100).Draw(t, "ready"),
	}
	if rapid.Bool().Draw(t, "both steps") {
		p.Steps = append(p.Steps, "s2")
	}
	if rapid.Bool().Draw(t, "gpu") {
		p.Labels = append(p.Labels, &messages.LabelRule{Key: "gpu", Value: "yes", Required: true})
	}
	if rapid.IntRange(0, 4).Draw(t, "exclude") == 0 {
		p.ExcludeWorker = rapid.SampledFrom(names).Draw(t, "excluded")
	}
	p.Move = rapid.IntRange(0, 4).Draw(t, "move") == 0
	p.HeldKeys = rapid.SliceOfNDistinct(rapid.Uint64Range(1, 4), 0, 2, rapid.ID).Draw(t, "keys")
	w.runs[p.RunId] = &modelRun{place: p}
	w.do(w.core.Ask(p, w.now))
}

func (w *world) askAgain(t *rapid.T) {
	r := w.pickRun(t, func(r *modelRun) bool { return !r.running && r.bound == "" })
	if rapid.Bool().Draw(t, "newer") {
		next := r.place
		r.place = &messages.Place{RunId: next.RunId, Question: next.Question + 1, Workflow: next.Workflow, Steps: next.Steps,
			Priority: next.Priority, Sticky: next.Sticky, Labels: next.Labels, ReplyAddress: "server", ReplyActorId: "run"}
		r.placed = nil
	}
	if r.placed != nil && w.now.Sub(r.at) >= 5*time.Second {
		return // a run that has its answer does not ask the same again
	}
	w.do(w.core.Ask(r.place, w.now))
}

func (w *world) withdraw(t *rapid.T) {
	r := w.pickRun(t, func(r *modelRun) bool { return !r.running && r.bound == "" })
	delete(w.runs, r.place.RunId)
	w.do(w.core.Withdraw(&messages.WithdrawPlace{RunId: r.place.RunId, Question: r.place.Question, ReplyAddress: "server", ReplyActorId: "run"}, w.now))
}

// dispatch lets a granted run use its grant, in time.
func (w *world) dispatch(t *rapid.T) {
	r := w.pickRun(t, func(r *modelRun) bool { return w.usable(r) })
	m := w.workers[r.placed.Worker.WorkerId]
	r.running = true
	m.running[r.place.RunId] = true
	m.seen = append(m.seen, r.placed.GrantId)
	if r.place.Sticky != messages.Sticky_STICKY_NONE {
		r.bound = r.placed.Worker.WorkerId
	}
}

func (w *world) usable(r *modelRun) bool {
	if r.running || r.placed == nil || w.now.Sub(r.at) >= 4*time.Second {
		return false
	}
	m := w.workers[r.placed.Worker.WorkerId]
	return m != nil && m.info.Incarnation == r.placed.Worker.Incarnation
}

// end finishes a run; that it is unbound may be lost.
func (w *world) end(t *rapid.T) {
	r := w.pickRun(t, func(r *modelRun) bool { return r.running || r.bound != "" })
	w.finish(r, rapid.Bool().Draw(t, "told"))
}

func (w *world) finish(r *modelRun, told bool) {
	bound := r.bound
	delete(w.runs, r.place.RunId)
	if m := w.workers[r.placed.Worker.WorkerId]; m != nil {
		delete(m.running, r.place.RunId)
	}
	if bound != "" && told {
		w.do(w.core.RunUnbound(&messages.RunUnbound{RunId: r.place.RunId, WorkerId: bound}, w.now))
	}
}

func (w *world) report(m *modelWorker) {
	w.serial++
	seen := m.seen
	m.seen = nil
	w.do(w.core.Report(&messages.LoadReport{
		WorkerId: m.info.WorkerId, Incarnation: m.info.Incarnation, Slots: m.info.Slots, Running: int32(len(m.running)),
		BoundRuns: int32(len(w.boundTo(m.info.WorkerId))), Draining: m.draining, GrantsSeen: seen, Serial: w.serial, HeldKeys: m.held,
	}, w.now))
}

func (w *world) come(t *rapid.T) {
	id := rapid.SampledFrom(names).Draw(t, "worker")
	w.lose(id)
	w.serial++
	info := &messages.WorkerInfo{
		WorkerId: id, Incarnation: fmt.Sprintf("i%d", w.serial), Slots: rapid.Int32Range(1, 4).Draw(t, "slots"),
		StickyRunsMax: rapid.Int32Range(0, 2).Draw(t, "sticky runs"), Labels: map[string]string{},
	}
	if rapid.Bool().Draw(t, "gpu") {
		info.Labels["gpu"] = "yes"
	}
	for _, name := range rapid.SampledFrom([][]string{{"a"}, {"b"}, {"a", "b"}}).Draw(t, "workflows") {
		d := &messages.WorkflowDefinition{Name: name, Steps: []*messages.StepDefinition{{Name: "s1"}}}
		if rapid.Bool().Draw(t, "both steps") {
			d.Steps = append(d.Steps, &messages.StepDefinition{Name: "s2"})
		}
		info.Workflows = append(info.Workflows, d)
	}
	w.workers[id] = &modelWorker{info: info, running: map[string]bool{}}
	w.do(w.core.WorkerUp(info, w.now))
}

func (w *world) leave(t *rapid.T) { w.lose(w.pick(t).info.WorkerId) }

func (w *world) lose(id string) {
	m := w.workers[id]
	if m == nil {
		return
	}
	delete(w.workers, id)
	delete(w.listing, id)
	for run := range m.running {
		// HARD runs stay bound, others end here.
		if r := w.runs[run]; r.place.Sticky == messages.Sticky_STICKY_HARD {
			r.running = false
			continue
		}
		delete(w.runs, run)
	}
	w.do(w.core.WorkerGone(id, m.info.Incarnation, w.now))
}

func (w *world) drain(t *rapid.T) {
	m := w.pick(t)
	m.draining = true
	w.do(w.core.WorkerDraining(m.info.WorkerId, m.info.Incarnation, w.now))
}

// hold lets a worker hold other keys, and perhaps say so.
func (w *world) hold(t *rapid.T) {
	m := w.pick(t)
	m.held = rapid.SliceOfNDistinct(rapid.Uint64Range(1, 4), 0, 3, rapid.ID).Draw(t, "held")
	slices.Sort(m.held)
	if rapid.Bool().Draw(t, "report") {
		w.report(m)
	}
}

func (w *world) list(t *rapid.T) {
	m := w.pick(t)
	runs, ok := w.listing[m.info.WorkerId]
	if !ok {
		t.Skip("nothing is read")
	}
	delete(w.listing, m.info.WorkerId)
	if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
		w.do(w.core.BoundRunsFailed(m.info.WorkerId, w.now))
		return
	}
	w.do(w.core.BoundRuns(m.info.WorkerId, runs, w.now))
}

// wait lets time pass. A worker reports at once what was dispatched to it; a
// report that is lost or takes seconds may cost a slot too many, by design.
func (w *world) wait(t *rapid.T) {
	for _, id := range slices.Sorted(maps.Keys(w.workers)) {
		if m := w.workers[id]; len(m.seen) > 0 {
			w.report(m)
		}
	}
	w.now = w.now.Add(time.Duration(rapid.Int64Range(1, 3000).Draw(t, "ms")) * time.Millisecond)
	w.do(w.core.Tick(w.now))
}

// settle lets everything work: runs use their grants and end, workers report.
func (w *world) settle() {
	for range 200 {
		w.now = w.now.Add(500 * time.Millisecond)
		for _, id := range slices.Sorted(maps.Keys(w.runs)) {
			switch r := w.runs[id]; {
			case r.running || r.bound != "":
				w.finish(r, true)
			case w.usable(r):
				r.running = true
				m := w.workers[r.placed.Worker.WorkerId]
				m.running[id] = true
				m.seen = append(m.seen, r.placed.GrantId)
				if r.place.Sticky != messages.Sticky_STICKY_NONE {
					r.bound = r.placed.Worker.WorkerId
				}
			case r.placed != nil:
				delete(w.runs, id) // gave up
				w.do(w.core.Withdraw(&messages.WithdrawPlace{RunId: id, Question: r.place.Question, ReplyAddress: "server", ReplyActorId: "run"}, w.now))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(w.workers)) {
			w.report(w.workers[id])
			if runs, ok := w.listing[id]; ok {
				delete(w.listing, id)
				w.do(w.core.BoundRuns(id, runs, w.now))
			}
		}
		w.do(w.core.Tick(w.now))
	}
	for id, r := range w.runs {
		for _, m := range w.workers {
			if !m.draining && r.place.ExcludeWorker != m.info.WorkerId && fitsModel(r.place, m.info) {
				w.t.Fatalf("run %s is still waiting for %s, which is idle", id, m.info.WorkerId)
			}
		}
	}
}

// TestBalance: no worker got a grant while another had a smaller share of its
// slots taken.
func TestBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := New(Config{}), time.Unix(1_000_000, 0)
		slots := rapid.SliceOfN(rapid.IntRange(10, 100), 2, 8).Draw(t, "slots")
		total := 0 // slots
		for i, n := range slots {
			id := fmt.Sprintf("w%d", i)
			c.WorkerUp(&messages.WorkerInfo{WorkerId: id, Incarnation: "i1", Slots: int32(n),
				Workflows: []*messages.WorkflowDefinition{{Name: "flow0", Steps: []*messages.StepDefinition{{Name: "s1"}, {Name: "s2"}}}}}, now)
			c.Report(&messages.LoadReport{WorkerId: id, Incarnation: "i1", Slots: int32(n), Serial: 1}, now)
			total += n
		}
		asked := rapid.IntRange(1, total).Draw(t, "runs")
		for i := range asked {
			c.Ask(ask(i, 1), now)
		}
		for _, a := range c.Loads() {
			for _, b := range c.Loads() {
				if before := a.Granted - 1; before*b.Slots > b.Granted*a.Slots {
					t.Fatalf("%s got its grant %d of %d slots while %s had %d of %d", a.WorkerID, a.Granted, a.Slots, b.WorkerID, b.Granted, b.Slots)
				}
			}
		}
	})
}
