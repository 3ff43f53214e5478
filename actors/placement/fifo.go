package placement

// fifo holds what ends with time, in the order of its beginning.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(item T) { f.items = append(f.items, item) }

// front is the oldest item; the zero value if there is none.
func (f *fifo[T]) front() (item T) {
	if f.len() > 0 {
		item = f.items[f.head]
	}
	return item
}

func (f *fifo[T]) pop() {
	clear(f.items[f.head : f.head+1])
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
		if cap(f.items) > 1024 {
			f.items = nil
		}
	}
	if f.head > 1024 && f.head*2 > len(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
}

// keep leaves the items for which a condition holds.
func (f *fifo[T]) keep(holds func(T) bool) {
	var kept []T
	for _, item := range f.items[f.head:] {
		if holds(item) {
			kept = append(kept, item)
		}
	}
	f.items, f.head = kept, 0
}
