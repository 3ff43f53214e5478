// Package heap is the priority queue of this module. A heap gives out the item
// that goes before all others; an item can be moved or removed wherever it
// stands.
//
// Data flow: Push → order → First, Pop.
//
// Invariants, checked by Check:
//
//	H1 no item goes before the one above it in the heap
//	H2 the Place of each item says where it stands
//
// Imports nothing of the module.
package heap

import "fmt"

// Place is where an item stands in a heap, counted from 1; the zero value is
// nowhere. An item keeps one Place for each heap that it can be in.
type Place int

// In says that the item is in the heap.
func (p Place) In() bool { return p > 0 }

// Heap is a priority queue. Make it with New. It is not safe for concurrent use.
type Heap[T any] struct {
	items  []T
	before func(a, b T) bool
	place  func(T) *Place
}

// New returns an empty heap. before is the order. place returns where an item
// keeps its Place; nil for items that are only pushed and popped.
func New[T any](before func(a, b T) bool, place func(T) *Place) Heap[T] {
	return Heap[T]{before: before, place: place}
}

// Len is the number of items.
func (h *Heap[T]) Len() int { return len(h.items) }

// Items returns all items, the first one first and the others in no useful
// order. The slice is the heap's.
func (h *Heap[T]) Items() []T { return h.items }

// First returns the item that Pop would return. The heap must not be empty.
func (h *Heap[T]) First() T { return h.items[0] }

// Push adds an item.
func (h *Heap[T]) Push(x T) {
	h.items = append(h.items, x)
	h.up(len(h.items)-1, x)
}

// Pop removes the first item. The heap must not be empty.
func (h *Heap[T]) Pop() T {
	x := h.items[0]
	h.removeAt(0)
	return x
}

// Fix puts an item that is in the heap where it belongs, after its order has
// changed.
func (h *Heap[T]) Fix(x T) { h.settle(int(*h.place(x))-1, x) }

// Remove takes an item that is in the heap out of it.
func (h *Heap[T]) Remove(x T) { h.removeAt(int(*h.place(x)) - 1) }

// roomKept is the number of items for which an empty heap keeps its memory.
const roomKept = 4096

func (h *Heap[T]) removeAt(i int) {
	if h.place != nil {
		*h.place(h.items[i]) = 0
	}
	last := len(h.items) - 1
	x := h.items[last]
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	if i < last {
		h.settle(i, x)
	}
	if last == 0 && cap(h.items) > roomKept {
		h.items = nil
	}
}

func (h *Heap[T]) settle(i int, x T) {
	if !h.down(i, x) {
		h.up(i, x)
	}
}

// up puts x, which replaces what stands at i, there or above.
func (h *Heap[T]) up(i int, x T) {
	for i > 0 {
		above := (i - 1) / 2
		if !h.before(x, h.items[above]) {
			break
		}
		h.put(i, h.items[above])
		i = above
	}
	h.put(i, x)
}

// down puts x, which replaces what stands at i, there or below; false if there.
func (h *Heap[T]) down(i int, x T) bool {
	start := i
	for {
		below := 2*i + 1
		if below >= len(h.items) {
			break
		}
		if right := below + 1; right < len(h.items) && h.before(h.items[right], h.items[below]) {
			below = right
		}
		if !h.before(h.items[below], x) {
			break
		}
		h.put(i, h.items[below])
		i = below
	}
	h.put(i, x)
	return i > start
}

func (h *Heap[T]) put(i int, x T) {
	h.items[i] = x
	if h.place != nil {
		*h.place(x) = Place(i + 1)
	}
}

// Check returns the first invariant of the package doc that is broken.
func (h *Heap[T]) Check() error {
	for i, x := range h.items {
		if i > 0 && h.before(x, h.items[(i-1)/2]) {
			return fmt.Errorf("H1: item %d goes before item %d, which is above it", i, (i-1)/2)
		}
		if h.place != nil && int(*h.place(x)) != i+1 {
			return fmt.Errorf("H2: item %d says that it stands at %d", i, *h.place(x)-1)
		}
	}
	return nil
}
