package heap

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type item struct {
	at    int
	order int
	place Place
}

func (a *item) before(b *item) bool {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) < 0
}

func placeOf(x *item) *Place { return &x.place }

// The heap gives out what a sorted list would, whatever is done to it.
func TestHeapIsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := New((*item).before, placeOf)
		var model []*item
		order := 0
		any := func() *item { return model[rapid.IntRange(0, len(model)-1).Draw(t, "which")] }
		drop := func(x *item) {
			if x.place.In() {
				t.Fatalf("what was taken out stands at %d", x.place)
			}
			model = slices.DeleteFunc(model, func(y *item) bool { return x == y })
		}
		time := rapid.IntRange(0, 20)
		for range rapid.IntRange(1, 200).Draw(t, "acts") {
			act := rapid.IntRange(0, 3).Draw(t, "act")
			switch {
			case act == 0 || len(model) == 0:
				order++
				x := &item{at: time.Draw(t, "at"), order: order}
				model = append(model, x)
				h.Push(x)
			case act == 1:
				x := any()
				x.at = time.Draw(t, "at")
				h.Fix(x)
			case act == 2:
				x := any()
				h.Remove(x)
				drop(x)
			default:
				first := slices.MinFunc(model, func(a, b *item) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
				if got := h.First(); got != first {
					t.Fatalf("first is %v, want %v", got, first)
				}
				drop(h.Pop())
			}
			if err := h.Check(); err != nil || h.Len() != len(model) || len(h.Items()) != len(model) {
				t.Fatalf("%d items, want %d: %v", h.Len(), len(model), err)
			}
		}
	})
}

// Items without a place are pushed and popped.
func TestValuesInOrder(t *testing.T) {
	h := New(func(a, b int) bool { return a < b }, nil)
	for _, n := range []int{3, 1, 2, 5, 4} {
		h.Push(n)
	}
	var got []int
	for h.Len() > 0 {
		got = append(got, h.Pop())
	}
	if !slices.Equal(got, []int{1, 2, 3, 4, 5}) {
		t.Fatal(got)
	}
}

// An empty heap gives back what it needed when it was large.
func TestEmptyHeapIsSmall(t *testing.T) {
	h := New(func(a, b int) bool { return a < b }, nil)
	for n := range 2 * roomKept {
		h.Push(n)
	}
	for h.Len() > 0 {
		h.Pop()
	}
	if cap(h.items) > roomKept {
		t.Fatalf("room for %d items is kept", cap(h.items))
	}
}

func TestBrokenInvariantsAreNoticed(t *testing.T) {
	h := New((*item).before, placeOf)
	for n := range 3 {
		h.Push(&item{at: n})
	}
	h.items[0].at = 5
	if err := h.Check(); err == nil {
		t.Error("H1 is broken and nobody says so")
	}
	h.items[0].at = 0
	h.items[2].place = 1
	if err := h.Check(); err == nil {
		t.Error("H2 is broken and nobody says so")
	}
}

func BenchmarkPushPop(b *testing.B) {
	h := New((*item).before, placeOf)
	items := make([]item, 1000)
	for b.Loop() {
		for i := range items {
			items[i].at = i * 7919 % 1000
			h.Push(&items[i])
		}
		for h.Len() > 0 {
			h.Pop()
		}
	}
}
