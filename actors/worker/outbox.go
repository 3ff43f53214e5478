package worker

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster"
)

const (
	// outboxSendersMax bounds the runs that are looked up at once.
	outboxSendersMax = 64
	// outboxTry bounds a look-up: the core sends again by itself.
	outboxTry = 3 * time.Second
)

// resultKey names what is sent: of one attempt only the newest message waits.
type resultKey struct {
	run, step string
	attempt   int32
}

// outbox sends to whoever owns a run now. It looks the owner up off the
// worker's mailbox.
type outbox struct {
	worker  *Worker
	mu      sync.Mutex
	waiting map[resultKey]proto.Message
	order   []resultKey
	senders int
	closed  bool
}

// close drops what comes later.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

// deliver sends a message about an attempt to the actor of the run, or drops it
// if that is not found in time.
func (o *outbox) deliver(runID string, m proto.Message) {
	key := resultKey{run: runID}
	if about, ok := m.(interface {
		GetStep() string
		GetAttempt() int32
	}); ok {
		key.step, key.attempt = about.GetStep(), about.GetAttempt()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if _, ok := o.waiting[key]; !ok {
		o.order = append(o.order, key)
	}
	o.waiting[key] = m
	if o.senders < outboxSendersMax {
		o.senders++
		o.worker.loops.Go(o.run)
	}
}

// run sends until nothing waits.
func (o *outbox) run() {
	for {
		o.mu.Lock()
		if len(o.order) == 0 || o.worker.life.Err() != nil {
			o.senders--
			o.mu.Unlock()
			return
		}
		key := o.order[0]
		m := o.waiting[key]
		o.order = o.order[1:]
		delete(o.waiting, key)
		o.mu.Unlock()
		o.send(key.run, m)
	}
}

func (o *outbox) send(runID string, m proto.Message) {
	w := o.worker
	ctx, cancel := context.WithTimeout(w.life, outboxTry)
	defer cancel()
	// A remembered actor may have ended since, and would drop the message
	// without a word.
	w.node.Forget(cluster.KindRun, runID)
	pid, err := w.node.Resolve(ctx, cluster.KindRun, runID)
	if err != nil {
		w.cfg.Logger.Debug("a message to a run was not delivered; it is sent again", "run", runID, "error", err)
		return
	}
	if w.node.Congested(pid.Address) {
		// The copy before this one may still be on its way.
		return
	}
	w.root.RequestWithCustomSender(pid, m, w.pid)
}
