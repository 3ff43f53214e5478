// Package pool runs functions in turn on goroutines that it keeps for a while. A
// Pool is a Proto.Actor dispatcher: what it runs is mailboxes.
//
// Data flow: Schedule → a parked goroutine, a new one, or the queue → function.
//
// Rules: no more goroutines than the pool's most; nothing waits while fewer run;
// what waits runs in the order of its arrival; idle goroutines end by themselves.
//
// Imports nothing of ours.
package pool

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// idleFor is how long a goroutine waits for the next mailbox at most, and at
	// least half of it.
	idleFor = 5 * time.Second
	// throughput is how many messages of a mailbox are handled in a row.
	throughput = 300
	// queueKept is the room in the queue that an empty one keeps.
	queueKept = 4096
)

// Pool is a dispatcher. A goroutine for each scheduling, as the library does it,
// begins with a small stack, and growing that was a fifth of a busy server's
// time. Its methods may be called concurrently.
type Pool struct {
	// Nothing waits while a goroutine is parked, or fewer than most run.
	most int

	mu      sync.Mutex
	running int
	// parked goroutines wait for work, the one that stopped last at the end:
	// its stack is warm, and those before it can end.
	parked []chan func()
	// spare counts the goroutines in front that were parked all the time since the
	// last sweep; sweeping is set while another one will come.
	spare    int
	sweeping bool
	// queue[head:] waits, in the order of arrival.
	queue []func()
	head  int
}

// New makes a pool of few goroutines, for mailboxes whose actors never wait:
// more goroutines than processors can keep busy cost memory, for their stacks,
// and nothing is gained.
func New() *Pool { return NewLimited(8 * runtime.GOMAXPROCS(0)) }

// NewLimited makes a pool of at most so many goroutines.
func NewLimited(most int) *Pool { return &Pool{most: most} }

// NewElastic makes a pool of as many goroutines as there is to do at once, for
// what may wait: functions of users.
func NewElastic() *Pool { return NewLimited(math.MaxInt) }

// Schedule hands the mailbox to a parked goroutine, starts one, or has it wait
// for its turn.
func (p *Pool) Schedule(fn func()) {
	p.mu.Lock()
	switch n := len(p.parked); {
	case n > 0:
		next := p.parked[n-1]
		p.parked[n-1] = nil
		p.parked = p.parked[:n-1]
		p.spare = min(p.spare, n-1)
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

// Backlog is how many mailboxes wait for a goroutine.
func (p *Pool) Backlog() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) - p.head
}

// Throughput implements actor.Dispatcher.
func (p *Pool) Throughput() int { return throughput }

// loop is a goroutine of the pool; it may be ended by what it calls.
func (p *Pool) loop(fn func()) {
	work := make(chan func(), 1)
	defer p.end()
	for fn != nil {
		fn()
		if fn = p.next(work); fn == nil {
			fn = <-work
		}
	}
}

// next takes what waits longest; if nothing does, the goroutine is parked.
func (p *Pool) next(work chan func()) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.parked = append(p.parked, work)
		if !p.sweeping {
			p.sweepLater()
		}
		return nil
	}
	fn := p.queue[p.head]
	p.queue[p.head] = nil
	p.head++
	switch {
	case p.head < len(p.queue) && p.head < queueKept:
	case p.head < len(p.queue)/2:
	default:
		p.compact()
	}
	return fn
}

// compact moves what waits to the front of the queue, and lets go of a large
// one that is empty.
func (p *Pool) compact() {
	left := copy(p.queue, p.queue[p.head:])
	clear(p.queue[left:])
	p.queue, p.head = p.queue[:left], 0
	if left == 0 && cap(p.queue) > queueKept {
		p.queue = nil
	}
}

// sweepLater has the idle goroutines ended after a while. One timer for all costs
// less than one for each that is parked.
func (p *Pool) sweepLater() {
	p.sweeping = true
	time.AfterFunc(idleFor/2, p.sweep)
}

// sweep ends the goroutines that nobody needed since the last time.
func (p *Pool) sweep() {
	p.mu.Lock()
	idle := slices.Clone(p.parked[:p.spare])
	p.parked = slices.Delete(p.parked, 0, p.spare)
	p.spare = len(p.parked)
	if p.sweeping = p.spare > 0; p.sweeping {
		p.sweepLater()
	}
	p.mu.Unlock()
	for _, work := range idle {
		work <- nil
	}
}

// end lets another goroutine be started in this one's place, and does so if
// something waits: what the goroutine called may have ended it.
func (p *Pool) end() {
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
