package local

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/messages"
)

// TestProperties asks, ends, releases and fails in any order, and checks after
// each input the invariants of the package doc, those that Check cannot see by
// the history of actions. In the end nothing is left.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWatched(t)
		t.Repeat(map[string]func(*rapid.T){
			"begin":    w.begin,
			"get":      w.get,
			"peek":     w.peek,
			"give up":  w.giveUp,
			"built":    w.built,
			"end":      w.end,
			"released": w.released,
			"gone":     w.gone,
			"hand off": w.handOff,
			"hooks":    w.hooks,
			"advance":  w.advance,
			"":         w.check,
		})
		w.finish()
	})
}

// function is an attempt as the shell knows it.
type function struct {
	run   string
	epoch uint64
	got   map[uint64]bool // values
}

// watched is a keeper with a record of what it did.
type watched struct {
	t         *rapid.T
	keeper    *Keeper
	now       time.Time
	lastID    uint64
	epochs    map[string]uint64
	functions map[uint64]*function
	asks      map[uint64]uint64 // that wait, and their function
	building  map[uint64]bool   // and whether it was canceled
	there     map[uint64]bool
	releasing map[uint64]bool
	freed     map[uint64]bool
	handing   map[uint64]bool
	handoffs  []handoffKey // that run
}

func newWatched(t *rapid.T) *watched {
	return &watched{
		t: t, now: start, epochs: map[string]uint64{}, functions: map[uint64]*function{}, asks: map[uint64]uint64{},
		keeper: New(Config{
			WorkerID: "w1", SharedMax: rapid.IntRange(1, 3).Draw(t, "max"),
			SharedBytesMax: rapid.SampledFrom([]int64{0, 5}).Draw(t, "bytes"),
			IdleFor:        rapid.SampledFrom([]time.Duration{-1, time.Second}).Draw(t, "idle"),
		}),
		building: map[uint64]bool{}, there: map[uint64]bool{}, releasing: map[uint64]bool{}, freed: map[uint64]bool{}, handing: map[uint64]bool{},
	}
}

func (w *watched) observe(actions []Action) {
	for _, a := range actions {
		switch a.Kind {
		case Build:
			if _, ok := w.building[a.Value]; ok || w.there[a.Value] || w.freed[a.Value] {
				w.t.Fatalf("L2: value %d is built again", a.Value)
			}
			if _, ok := w.asks[a.Ask]; !ok {
				w.t.Fatalf("L6: value %d is built for question %d, which does not wait", a.Value, a.Ask)
			}
			w.building[a.Value] = false
		case CancelBuild:
			if canceled, ok := w.building[a.Value]; !ok || canceled {
				w.t.Fatalf("build of value %d is canceled, built %v, canceled before %v", a.Value, !ok, canceled)
			}
			w.building[a.Value] = true
		case Give:
			w.given(a)
		case Fail:
			w.answered(a.Ask)
		case Release:
			w.release(a)
		case HandOff:
			w.handoffs = append(w.handoffs, handoffKey{a.Run, a.Epoch})
			for _, v := range a.Values {
				w.handing[v.Value] = true
			}
		}
	}
}

func (w *watched) answered(ask uint64) *function {
	number, ok := w.asks[ask]
	if !ok {
		w.t.Fatalf("L6: question %d is answered, and does not wait", ask)
	}
	delete(w.asks, ask)
	return w.functions[number]
}

func (w *watched) given(a Action) {
	f := w.answered(a.Ask)
	if !w.there[a.Value] || w.freed[a.Value] {
		w.t.Fatalf("value %d is given, there %v, released %v", a.Value, w.there[a.Value], w.freed[a.Value])
	}
	if f != nil {
		f.got[a.Value] = true
	}
}

func (w *watched) release(a Action) {
	if !w.there[a.Value] || w.freed[a.Value] || w.handing[a.Value] {
		w.t.Fatalf("L1: value %d is released, there %v, before %v, handed off %v", a.Value, w.there[a.Value], w.freed[a.Value], w.handing[a.Value])
	}
	for number, f := range w.functions {
		if f.got[a.Value] {
			w.t.Fatalf("L1: value %d is released, and function %d uses it", a.Value, number)
		}
	}
	w.freed[a.Value], w.releasing[a.Value] = true, true
}

func pick[K uint64 | string, V any](t *rapid.T, m map[K]V, what string) K {
	if len(m) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m))).Draw(t, what)
}

func (w *watched) begin(t *rapid.T) {
	run := fmt.Sprintf("r%d", rapid.IntRange(1, 3).Draw(t, "run"))
	epoch := uint64(0)
	if run != "r3" {
		// r3 is of a workflow that is not sticky.
		w.epochs[run] += uint64(rapid.IntRange(0, 1).Draw(t, "later"))
		w.epochs[run] = max(w.epochs[run], 1)
		epoch = w.epochs[run]
	}
	w.lastID++
	w.functions[w.lastID] = &function{run: run, epoch: epoch, got: map[uint64]bool{}}
	w.keeper.AttemptBegan(Attempt{Number: w.lastID, RunID: run, Epoch: epoch, Sticky: epoch > 0})
}

func (w *watched) get(t *rapid.T) {
	number := pick(t, w.functions, "function")
	shared := w.functions[number].epoch == 0 || rapid.Bool().Draw(t, "shared")
	w.lastID++
	ask := Ask{ID: w.lastID, Attempt: number, Local: "x", Handoff: true}
	if shared {
		ask = Ask{ID: w.lastID, Attempt: number, Local: "m", Shared: true, Key: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")}
	}
	w.asks[ask.ID] = number
	w.observe(w.keeper.Get(w.now, ask))
}

// peek is answered at once, and nothing is built for it.
func (w *watched) peek(t *rapid.T) {
	number := pick(t, w.functions, "function")
	w.lastID++
	ask := Ask{ID: w.lastID, Attempt: number, Local: "x"}
	if rapid.Bool().Draw(t, "shared") {
		ask = Ask{ID: w.lastID, Attempt: number, Local: "m", Shared: true}
	}
	building := len(w.building)
	w.asks[ask.ID] = number
	w.observe(w.keeper.Peek(w.now, ask))
	if _, waits := w.asks[ask.ID]; waits || len(w.building) != building {
		t.Fatalf("peek of %q: waits %v, %d are built, %d before", ask.Local, waits, len(w.building), building)
	}
}

func (w *watched) giveUp(t *rapid.T) {
	ask := pick(t, w.asks, "question")
	delete(w.asks, ask)
	w.observe(w.keeper.GaveUp(w.now, ask))
}

func (w *watched) built(t *rapid.T) {
	value := pick(t, w.building, "value")
	delete(w.building, value)
	if rapid.Bool().Draw(t, "fails") {
		w.observe(w.keeper.Built(w.now, value, 0, errors.New("failed")))
		return
	}
	w.there[value] = true
	w.observe(w.keeper.Built(w.now, value, int64(rapid.IntRange(0, 6).Draw(t, "bytes")), nil))
}

func (w *watched) end(t *rapid.T) {
	w.returns(pick(t, w.functions, "function"), rapid.Bool().Draw(t, "state lost"))
}

func (w *watched) returns(number uint64, stateLost bool) {
	delete(w.functions, number)
	w.observe(w.keeper.AttemptEnded(w.now, number, stateLost))
	for _, of := range w.asks {
		if of == number {
			w.t.Fatalf("L6: function %d has returned and waits", number)
		}
	}
}

func (w *watched) released(t *rapid.T) {
	run := pick(t, w.epochs, "run")
	// Also one that comes late.
	epoch := uint64(rapid.IntRange(0, int(w.epochs[run])).Draw(t, "epoch"))
	w.observe(w.keeper.Released(w.now, run, epoch, messages.ReleaseReason_RELEASE_REASON_REBOUND))
}

func (w *watched) gone(t *rapid.T) {
	value := pick(t, w.releasing, "value")
	delete(w.releasing, value)
	w.observe(w.keeper.ReleaseEnded(w.now, value))
}

func (w *watched) handOff(t *rapid.T) {
	run := pick(t, w.epochs, "run")
	w.observe(w.keeper.HandOff(w.now, run, uint64(rapid.IntRange(1, int(w.epochs[run])).Draw(t, "epoch"))))
}

func (w *watched) hooks(t *rapid.T) {
	if len(w.handoffs) > 0 && rapid.Bool().Draw(t, "answer") {
		h := w.handoffs[0]
		w.handoffs = w.handoffs[1:]
		w.observe(w.keeper.HandOffEnded(w.now, h.run, h.epoch, []*messages.HandedState{{Local: "x"}}, nil))
		return
	}
	w.hook(pick(t, w.handing, "value"))
}

func (w *watched) hook(value uint64) {
	delete(w.handing, value)
	w.observe(w.keeper.HandOffReturned(w.now, value))
}

func (w *watched) advance(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * time.Millisecond)
	w.observe(w.keeper.Tick(w.now))
}

func (w *watched) check(*rapid.T) {
	if err := w.keeper.Check(); err != nil {
		w.t.Fatal(err)
	}
	for ask, number := range w.asks {
		if w.keeper.waits[ask] == nil {
			w.t.Fatalf("L6: question %d of function %d was never answered", ask, number)
		}
	}
}

// finish ends everything: nothing is left but what was released.
func (w *watched) finish() {
	for _, number := range slices.Sorted(maps.Keys(w.functions)) {
		w.returns(number, false)
	}
	for _, run := range slices.Sorted(maps.Keys(w.epochs)) {
		w.observe(w.keeper.Released(w.now, run, w.epochs[run], messages.ReleaseReason_RELEASE_REASON_RUN_ENDED))
	}
	for _, h := range w.handoffs {
		w.observe(w.keeper.HandOffEnded(w.now, h.run, h.epoch, nil, nil))
	}
	for _, value := range slices.Sorted(maps.Keys(w.handing)) {
		w.hook(value)
	}
	if w.keeper.cfg.IdleFor == 0 && rapid.Bool().Draw(w.t, "wait") {
		w.observe(w.keeper.Tick(w.now))
	} else {
		w.observe(w.keeper.Stop(w.now))
	}
	for value := range w.building {
		w.there[value] = true
		delete(w.building, value)
		w.observe(w.keeper.Built(w.now, value, 1, nil))
	}
	for value := range w.releasing {
		w.observe(w.keeper.ReleaseEnded(w.now, value))
	}
	w.check(nil)
	if !w.keeper.Empty() || len(w.keeper.runs) > 0 || len(w.keeper.attempts) > 0 || len(w.keeper.handoffs) > 0 {
		w.t.Fatalf("%d values, %d runs, %d functions and %d hand-offs are left", len(w.keeper.values), len(w.keeper.runs), len(w.keeper.attempts), len(w.keeper.handoffs))
	}
}
