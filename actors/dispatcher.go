package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// pooled is a dispatcher that runs mailboxes on goroutines that it keeps for a
// while. A goroutine per scheduling, as the library does it, begins with a
// small stack, and growing it was a fifth of a busy server's time.
type pooled struct{ work chan func() }

// newPooled makes a dispatcher; its goroutines end by themselves.
func newPooled() actor.Dispatcher { return pooled{make(chan func())} }

const (
	// pooledIdle is how long a goroutine waits for the next mailbox.
	pooledIdle = 5 * time.Second
	// pooledThroughput is how many messages of a mailbox are handled in a row.
	pooledThroughput = 300
)

// Schedule hands the mailbox to a waiting goroutine, or starts one.
func (p pooled) Schedule(fn func()) {
	select {
	case p.work <- fn:
	default:
		go p.loop(fn)
	}
}

// Throughput implements actor.Dispatcher.
func (p pooled) Throughput() int { return pooledThroughput }

func (p pooled) loop(fn func()) {
	idle := time.NewTimer(pooledIdle)
	defer idle.Stop()
	for {
		fn()
		idle.Reset(pooledIdle)
		select {
		case fn = <-p.work:
		case <-idle.C:
			return
		}
	}
}
