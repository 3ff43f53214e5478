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
