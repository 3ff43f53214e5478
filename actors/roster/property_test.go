package roster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// TestProperties gives a core whatever may come, in any order, and checks what it
// wants done: R2, R4, R6 and R10 at each action, what Check checks after each
// input, and at the end, when all is answered, that everybody knows who holds the
// ids.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 60).Draw(t, "inputs") {
			w.input()
		}
		w.settle()
	})
}

// world is what is around a core.
type world struct {
	t    *rapid.T
	core *Core[string]
	now  time.Time
	// view is what was shown last, and ended who will never act again.
	view  []Process
	ended map[string]bool
	open  []asked
	// watching are those who watch, and since has the last question before each
	// began to watch a process for the first time.
	watching map[string]bool
	since    map[[2]string]uint64
	// told is what was said of each process last, since it was seen last.
	told map[string]run.WorkerState
	// silent are the processes that did not answer once since they were seen.
	silent map[string]bool
	// supersededAt is when a process that is there was told so last.
	supersededAt map[string]time.Time
}

type asked struct {
	id     uint64
	about  []string
	leases bool
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, now: epoch, ended: map[string]bool{}, watching: map[string]bool{}, since: map[[2]string]uint64{}, told: map[string]run.WorkerState{},
		silent: map[string]bool{}, supersededAt: map[string]time.Time{}}
	w.core = New[string](Config{Ended: func(id, incarnation string) bool { return w.ended[id+"~"+incarnation] }})
	return w
}

func (w *world) input() {
	switch rapid.IntRange(0, 9).Draw(w.t, "input") {
	case 0, 1:
		w.show(w.someView())
	case 2:
		by := rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(w.t, "by")
		incarnation := fmt.Sprintf("i%d", rapid.IntRange(0, 5).Draw(w.t, "of"))
		if incarnation == "i0" {
			incarnation = ""
		}
		w.watching[by] = true
		key := [2]string{by, "w1~" + incarnation}
		if _, before := w.since[key]; !before {
			w.since[key] = w.core.asked
		}
		w.do(nil, w.core.Watch(w.now, by, "w1", incarnation))
	case 3:
		by := rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(w.t, "by")
		delete(w.watching, by)
		w.core.Unwatch(by, "w1")
	case 4:
		w.ended[fmt.Sprintf("w1~i%d", rapid.IntRange(1, 5).Draw(w.t, "ended"))] = true
	case 5:
		w.pass(time.Duration(rapid.IntRange(1, 4000).Draw(w.t, "pass")) * time.Millisecond)
	default:
		if len(w.open) > 0 {
			w.answer(rapid.IntRange(0, len(w.open)-1).Draw(w.t, "question"), rapid.IntRange(0, 3).Draw(w.t, "answer"))
		}
	}
}

func (w *world) someView() []Process {
	var view []Process
	for i := 1; i <= 5; i++ {
		if rapid.IntRange(0, 2).Draw(w.t, "there") == 0 && !w.ended[fmt.Sprintf("w1~i%d", i)] {
			state := ProcessState(rapid.IntRange(0, 2).Draw(w.t, "state"))
			view = append(view, Process{WorkerID: "w1", Incarnation: fmt.Sprintf("i%d", i), State: state})
		}
	}
	return view
}

func (w *world) show(view []Process) {
	before := w.view
	w.view = view
	for _, p := range view {
		if name := p.WorkerID + "~" + p.Incarnation; !inView(before, name) {
			delete(w.told, name)
			delete(w.supersededAt, name)
			delete(w.silent, name)
		}
	}
	w.do(nil, w.core.ViewChanged(w.now, view))
}

func inView(view []Process, name string) bool {
	return slices.ContainsFunc(view, func(p Process) bool { return p.WorkerID+"~"+p.Incarnation == name })
}

// answer answers a question: well, badly, with a lease, or by another process.
func (w *world) answer(i, how int) {
	q := w.open[i]
	w.open = slices.Delete(w.open, i, i+1)
	switch {
	case q.leases && how == 1:
		w.do(&q, w.core.Leases(w.now, q.id, 300*time.Millisecond, false))
	case q.leases:
		w.do(&q, w.core.Leases(w.now, q.id, 0, how == 2 || inView(w.view, q.about[0])))
	case how == 1:
		w.silent[q.about[0]] = true
		w.do(&q, w.core.Silent(w.now, q.id))
	default:
		info := ref(q.about[0])
		if how == 2 {
			w.silent[q.about[0]], info.Incarnation = true, "other"
		}
		w.do(&q, w.core.Described(w.now, q.id, &messages.WorkerInfo{WorkerId: info.WorkerId, Incarnation: info.Incarnation}, how == 3))
	}
}

func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for next := w.core.Next(); !next.IsZero() && !next.After(end); next = w.core.Next() {
		w.now = maxTime(w.now, next)
		w.do(nil, w.core.Tick(w.now))
	}
	w.now = end
	for name, at := range w.supersededAt {
		if inView(w.view, name) && w.now.Sub(at) > SupersedeEvery {
			w.t.Fatalf("R6: %s was told at %v that it is superseded, now it is %v", name, at.Sub(epoch), w.now.Sub(epoch))
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// do checks actions that follow an answer, or something else.
func (w *world) do(after *asked, actions []Action) {
	holder := ""
	for name, told := range w.told {
		if inView(w.view, name) && (told == run.WorkerUp || told == run.WorkerDraining) {
			holder = name
		}
	}
	for _, a := range actions {
		switch a := a.(type) {
		case Ask:
			w.open = append(w.open, asked{a.Question, []string{nameOf(a.Process)}, false})
		case AskLeases:
			q := asked{id: a.Question, leases: true}
			for _, i := range a.Incarnations {
				q.about = append(q.about, a.WorkerID+"~"+i)
			}
			w.open = append(w.open, q)
		case Supersede:
			w.supersededAt[nameOf(a.Process)] = w.now
		case Tell[string]:
			w.tell(after, a)
			if name := nameOf(a.News.Worker); a.Public && a.News.State == run.WorkerUp && name < holder && !w.silent[holder] {
				w.t.Fatalf("R2: %s takes the id over from %s, which has answered all questions", name, holder)
			}
		}
	}
	if err := w.core.Check(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tell(after *asked, a Tell[string]) {
	name := nameOf(a.News.Worker)
	for _, by := range a.To {
		switch {
		case !w.watching[by]:
			w.t.Fatalf("R10: %s does not watch, and hears %s", by, newsText(a.News))
		case a.News.State != run.WorkerGone || inView(w.view, name) || a.Public && after == nil:
		case after == nil && !w.ended[name]:
			w.t.Fatalf("R4: %s hears at once: %s", by, newsText(a.News))
		case after != nil && after.leases && after.id <= w.since[[2]string{by, name}]:
			w.t.Fatalf("R4: %s hears after an older question: %s", by, newsText(a.News))
		}
	}
	if !a.Public {
		return
	}
	switch last := w.told[name]; {
	case last == a.News.State && last != run.WorkerGone, last == run.WorkerGone && a.News.State != run.WorkerGone && inView(w.view, name):
		w.t.Fatalf("R10: all hear %s after %v", newsText(a.News), last)
	}
	w.told[name] = a.News.State
}

// settle lets the latest process of the id be there alone, and everything be
// answered: it holds the id, and nothing is left to be found out.
func (w *world) settle() {
	delete(w.ended, "w1~i6")
	w.show([]Process{{WorkerID: "w1", Incarnation: "i6"}})
	for range 200 {
		for len(w.open) > 0 {
			w.answer(0, 0)
		}
		w.pass(100 * time.Millisecond)
	}
	if st, ok := w.core.Worker(w.now, "w1"); !ok || st.Incarnation != "i6" || st.State != run.WorkerUp {
		w.t.Fatalf("the id is held by %+v", st)
	}
	if n := len(w.core.questions) + w.core.timers.Len(); n > 0 {
		w.t.Fatalf("%d things are still to be found out", n)
	}
}
