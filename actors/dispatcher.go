package actors

import (
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// pooled is a dispatcher that runs mailboxes, or whatever else is scheduled by it,
// in turn on goroutines that it keeps for a while. A goroutine per scheduling, as
// the library does it, begins with a small stack, and growing it was a fifth of a
// busy server's time.
type pooled struct{ *pool }

// newPooled makes a dispatcher of few goroutines, for mailboxes whose actors
// never wait: more goroutines than processors can keep busy cost memory, for
// their stacks, and nothing is gained. They end by themselves.
func newPooled() pooled { return pooled{&pool{most: 8 * runtime.GOMAXPROCS(0)}} }

// newElastic makes a dispatcher of as many goroutines as there is to do at
// once, for what may wait: functions of users.
func newElastic() actor.Dispatcher { return pooled{&pool{most: math.MaxInt}} }

const (
	// pooledIdle is how long a goroutine waits for the next mailbox.
	pooledIdle = 5 * time.Second
	// pooledThroughput is how many messages of a mailbox are handled in a row.
	pooledThroughput = 300
	// pooledQueueKept is the room in the queue that an empty one keeps.
	pooledQueueKept = 4096
)

// pool is the goroutines and what waits for them. Nothing waits while one of
// them is parked, or while there are fewer than most.
type pool struct {
	most int

	mu      sync.Mutex
	running int
	// parked goroutines wait for work, the one that stopped last at the end:
	// its stack is warm, and those before it can end.
	parked []chan func()
	// queue[head:] waits, in the order of arrival.
	queue []func()
	head  int
}

// Schedule hands the mailbox to a parked goroutine, starts one, or has it wait
// for its turn.
func (p pooled) Schedule(fn func()) {
	p.mu.Lock()
	switch n := len(p.parked); {
	case n > 0:
		next := p.parked[n-1]
		p.parked[n-1] = nil
		p.parked = p.parked[:n-1]
		p.mu.Unlock()
		next <- fn
	case p.running < p.most:
		p.running++
		p.mu.Unlock()
		go p.loop(fn)
	default:
		p.queue = append(p.queue, fn)
		p.mu.Unlock()
	}
}

// backlog is how many mailboxes wait for a goroutine.
func (p *pool) backlog() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) - p.head
}

// Throughput implements actor.Dispatcher.
func (p pooled) Throughput() int { return pooledThroughput }

// loop is a goroutine of the pool; it may be ended by what it calls.
func (p pooled) loop(fn func()) {
	work := make(chan func(), 1)
	defer p.end()
	for fn != nil {
		fn()
		if fn = p.next(work); fn == nil {
			fn = p.park(work)
		}
	}
}

// next takes what waits longest; if nothing does, the goroutine is parked.
func (p *pool) next(work chan func()) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.parked = append(p.parked, work)
		return nil
	}
	fn := p.queue[p.head]
	p.queue[p.head] = nil
	p.head++
	switch {
	case p.head < len(p.queue) && p.head < pooledQueueKept:
	case p.head < len(p.queue)/2:
	default:
		p.compact()
	}
	return fn
}

// compact moves what waits to the front of the queue, and lets go of a large
// one that is empty.
func (p *pool) compact() {
	left := copy(p.queue, p.queue[p.head:])
	clear(p.queue[left:])
	p.queue, p.head = p.queue[:left], 0
	if left == 0 && cap(p.queue) > pooledQueueKept {
		p.queue = nil
	}
}

// park waits for work; nil after a while without any.
func (p *pool) park(work chan func()) func() {
	idle := time.NewTimer(pooledIdle)
	defer idle.Stop()
	select {
	case fn := <-work:
		return fn
	case <-idle.C:
	}
	p.mu.Lock()
	for i, one := range p.parked {
		if one == work {
			p.parked = append(p.parked[:i], p.parked[i+1:]...)
			p.mu.Unlock()
			return nil
		}
	}
	p.mu.Unlock()
	// It was handed something in this very moment.
	return <-work
}

// end lets another goroutine be started in this one's place, and does so if
// something waits: what the goroutine called may have ended it.
func (p pooled) end() {
	p.mu.Lock()
	p.running--
	var fn func()
	if p.head < len(p.queue) {
		fn = p.queue[p.head]
		p.queue[p.head] = nil
		p.head++
		p.running++
	}
	p.mu.Unlock()
	if fn != nil {
		go p.loop(fn)
	}
}
