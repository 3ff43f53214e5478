package actors

import "sync"

// loadsMax bounds the runs that are read one by one at a time: a store has some
// connections, and what waits here is small.
const loadsMax = 32

// loader runs what reads the journal, some at a time. The zero value is ready.
type loader struct {
	mu      sync.Mutex
	queue   []func()
	running int
}

// put runs f soon, on a goroutine of the loader.
func (l *loader) put(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, f)
	if l.running < loadsMax {
		l.running++
		go l.loop()
	}
}

func (l *loader) loop() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.running--
			l.queue = nil
			l.mu.Unlock()
			return
		}
		f := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.mu.Unlock()
		f()
	}
}
