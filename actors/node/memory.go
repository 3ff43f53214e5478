package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// A server that has had much to do gives its memory back once it rests. Go keeps
// what the heap had, and collects what is left in it only after minutes: by
// allocating, a busy server would soon need it again.
const (
	restEvery = 10 * time.Second
	// restAllocates is less than what a server allocates in restEvery that has
	// something to do.
	restAllocates = 16 << 20
	// restWorth is how much must have been allocated for a collection to be worth
	// it.
	restWorth = 32 << 20
)

// resting tells by what is allocated when a server has come to rest. The zero
// value is that of a process that begins.
type resting struct {
	// last is what had been allocated when it was last asked, given when memory was
	// last given back.
	last, given uint64
}

// step says that memory is to be given back.
func (r *resting) step(allocated uint64) bool {
	rests := allocated-r.last < restAllocates
	r.last = allocated
	if !rests || allocated-r.given < restWorth {
		return false
	}
	r.given = allocated
	return true
}

// givesBack has memory given back until the server stops.
func (s *Server) givesBack() {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { giveBack(ctx) })
	s.rest = func() { cancel(); work.Wait() }
}

// giveBack gives memory back until ctx ends.
func giveBack(ctx context.Context) {
	t := time.NewTicker(restEvery)
	defer t.Stop()
	var r resting
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if metrics.Read(sample); r.step(sample[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
