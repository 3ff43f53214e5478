// Package notify has the two ways in which one part of Limpet tells others.
// There is no third one.
//
//	what is told                      type        who hears what
//	an event: each one counts         Hooks[T]    functions, called with each event, in order;
//	                                              Topics[K, T] are hooks for each of many things
//	a state: only the newest counts   Value[T]    whoever reads it, waits for it or subscribes
//
// Data flow: event → (Queue →) Hooks.Call → each function; new state → Value.Set
// → those that wait, and by Value.Run those that subscribe.
//
// Whoever must not call out, for it holds a lock or is called inside of a
// library's, puts the event into a Queue. One goroutine takes events out in
// their order and calls the hooks.
//
// # What holds
//
//   - N1. No lock of this package is held while a function of somebody else is
//     called.
//   - N2. Calls of a hook come in the order of the calls of Hooks.Call. Whoever
//     calls it from several goroutines has to order them.
//   - N3. A subscriber gets the newest value at once and after each change, all
//     on the goroutine of Value.Run. Values that another one follows at once may
//     be left out; the last one never is.
//   - N4. After cancel at most the call that is under way ends.
//
// Imports nothing of ours.
package notify

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Hooks are functions that are called with each event, in the order of their
// adding. The zero value has none; calling it does nothing. Its methods may be
// called concurrently.
type Hooks[T any] struct {
	funcs atomic.Pointer[[]*func(T)]
}

// Add adds a function. It gets the events from now on.
func (h *Hooks[T]) Add(f func(T)) (cancel func()) {
	hook := &f
	h.change(func(funcs []*func(T)) []*func(T) { return append(slices.Clone(funcs), hook) })
	return func() {
		h.change(func(funcs []*func(T)) []*func(T) {
			return slices.DeleteFunc(slices.Clone(funcs), func(g *func(T)) bool { return g == hook })
		})
	}
}

func (h *Hooks[T]) change(to func([]*func(T)) []*func(T)) {
	for {
		old := h.funcs.Load()
		var funcs []*func(T)
		if old != nil {
			funcs = *old
		}
		if funcs = to(funcs); h.funcs.CompareAndSwap(old, &funcs) {
			return
		}
	}
}

// Call calls each function on this goroutine.
func (h *Hooks[T]) Call(event T) {
	funcs := h.funcs.Load()
	if funcs == nil {
		return
	}
	for _, f := range *funcs {
		(*f)(event)
	}
}

// Topics are the hooks of many things: an event goes to those of its topic. The
// zero value has none. Its methods may be called concurrently; N2 holds for the
// events of one topic.
type Topics[K comparable, T any] struct {
	// some is their number, read without the lock: most of the time there are none.
	some    atomic.Int64
	mu      sync.RWMutex
	byTopic map[K]*topic[T]
}

// topic is forgotten with its last hook.
type topic[T any] struct {
	hooks Hooks[T]
	size  int
}

// Add adds a function to a topic. It gets the events from now on. After cancel
// it may still get an event that was being told. cancel may be called again.
func (t *Topics[K, T]) Add(to K, f func(T)) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTopic == nil {
		t.byTopic = map[K]*topic[T]{}
	}
	of := t.byTopic[to]
	if of == nil {
		of = &topic[T]{}
		t.byTopic[to] = of
	}
	of.size++
	t.some.Store(int64(len(t.byTopic)))
	drop := of.hooks.Add(f)
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		drop()
		if of.size--; of.size == 0 {
			delete(t.byTopic, to)
			t.some.Store(int64(len(t.byTopic)))
		}
	})
}

// Call calls each function of a topic on this goroutine.
func (t *Topics[K, T]) Call(of K, event T) {
	if t.some.Load() == 0 {
		return
	}
	t.mu.RLock()
	topic := t.byTopic[of]
	t.mu.RUnlock()
	if topic != nil {
		topic.hooks.Call(event)
	}
}

// Queue orders the events of those who must not wait. The zero value is ready.
// Its methods may be called concurrently. It has no bound: whoever puts events
// in has to.
type Queue[T any] struct {
	mu     sync.Mutex
	events []T
	signal chan struct{}
}

// Put adds an event at the end. It does not wait, and calls nobody.
func (q *Queue[T]) Put(event T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, event)
	select {
	case q.ready() <- struct{}{}:
	default:
	}
}

// Ready has a signal when there may be events to take.
func (q *Queue[T]) Ready() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready()
}

// ready is called with mu held.
func (q *Queue[T]) ready() chan struct{} {
	if q.signal == nil {
		q.signal = make(chan struct{}, 1)
	}
	return q.signal
}

// Take takes all events out, in their order.
func (q *Queue[T]) Take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}

// Run calls f with each event, in order, until ctx ends.
func (q *Queue[T]) Run(ctx context.Context, f func(T)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.Ready():
		}
		for _, event := range q.Take() {
			f(event)
		}
	}
}

// Value is a state of which the newest version counts. Its methods may be called
// concurrently, Set only by one goroutine at a time.
type Value[T any] struct {
	current atomic.Pointer[version[T]]

	mu          sync.Mutex
	subscribers []*subscriber[T]
	added       chan struct{}
}

type version[T any] struct {
	value   T
	changed chan struct{}
}

type subscriber[T any] struct {
	f    func(T)
	seen *version[T]
	gone atomic.Bool
}

// NewValue makes one with a first version.
func NewValue[T any](first T) *Value[T] {
	v := &Value[T]{added: make(chan struct{}, 1)}
	v.current.Store(&version[T]{first, make(chan struct{})})
	return v
}

// Set makes a version the newest, and wakes whoever waits.
func (v *Value[T]) Set(value T) {
	old := v.current.Swap(&version[T]{value, make(chan struct{})})
	close(old.changed)
}

// Get returns the newest version.
func (v *Value[T]) Get() T { return v.current.Load().value }

// Watch returns the newest version and a channel that is closed when there is a
// newer one.
func (v *Value[T]) Watch() (T, <-chan struct{}) {
	current := v.current.Load()
	return current.value, current.changed
}

// Await returns the first version, from now on, that satisfies the condition, or
// ctx's cause. Versions that another one follows at once may be left out.
func (v *Value[T]) Await(ctx context.Context, condition func(T) bool) (T, error) {
	for {
		value, changed := v.Watch()
		if condition(value) {
			return value, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// Subscribe has f called by Run, see N3. f has to be quick, for it delays the
// other subscribers.
func (v *Value[T]) Subscribe(f func(T)) (cancel func()) {
	s := &subscriber[T]{f: f}
	v.mu.Lock()
	v.subscribers = append(v.subscribers, s)
	v.mu.Unlock()
	select {
	case v.added <- struct{}{}:
	default:
	}
	return func() {
		if s.gone.Swap(true) {
			return
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.subscribers = slices.DeleteFunc(slices.Clone(v.subscribers), func(other *subscriber[T]) bool { return other == s })
	}
}

// Run calls the subscribers until ctx ends. At most one goroutine may be in it.
func (v *Value[T]) Run(ctx context.Context) {
	for {
		_, changed := v.Watch()
		v.mu.Lock()
		subscribers := slices.Clone(v.subscribers)
		v.mu.Unlock()
		for _, s := range subscribers {
			if newest := v.current.Load(); s.seen != newest && !s.gone.Load() {
				s.seen = newest
				s.f(newest.value)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-v.added:
		}
	}
}
