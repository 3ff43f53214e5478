package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// reporter keeps placement informed: it registers the worker, again whenever
// placement may not know it, and passes on the newest load.
type reporter struct {
	worker *Worker
	wake   chan struct{}

	mu      sync.Mutex
	ready   bool // admitted once, so that loads may be sent
	again   bool
	pending *messages.LoadReport
	last    *messages.LoadReport // without its grants; for a placement that is new
	owner   string               // member that placement was registered with
	target  *actor.PID           // of the last report
	// others are placements that asked for reports.
	others map[string]summons
	// noticed is what the cluster told last of the worker's workflows.
	noticed []string
}

// summons is a placement that asked for reports, and until when it gets them.
type summons struct {
	pid   *actor.PID
	until time.Time
}

const (
	// summonedFor is how long a placement that asked gets reports: it asks again.
	summonedFor = 5 * time.Second
	// othersMax bounds the placements that get reports because they asked.
	othersMax = 16
)

func newReporter(w *Worker) *reporter {
	return &reporter{worker: w, wake: make(chan struct{}, 1), others: map[string]summons{}}
}

// put replaces the load that waits to be sent; grants add up.
func (r *reporter) put(load *messages.LoadReport) {
	r.worker.locals.load(load)
	r.mu.Lock()
	if r.pending != nil {
		load.GrantsSeen = append(r.pending.GrantsSeen, load.GrantsSeen...)
	}
	r.pending, r.last = load, withoutGrants(load)
	r.mu.Unlock()
	r.signal()
}

func withoutGrants(l *messages.LoadReport) *messages.LoadReport {
	return &messages.LoadReport{WorkerId: l.WorkerId, Incarnation: l.Incarnation, Pool: l.Pool, Slots: l.Slots,
		Running: l.Running, Queued: l.Queued, BoundRuns: l.BoundRuns, BoundSoft: l.BoundSoft,
		HeldSlots: l.HeldSlots, HeldMs: l.HeldMs, Kept: l.Kept, Suspended: l.Suspended, SuspendedEarly: l.SuspendedEarly,
		Draining: l.Draining, Ending: l.Ending, DrainLeftMs: l.DrainLeftMs,
		HeldKeys: l.HeldKeys, Locals: l.Locals, Serial: l.Serial}
}

func (r *reporter) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// admitted lets reports begin.
func (r *reporter) admitted() {
	r.mu.Lock()
	r.ready = true
	r.mu.Unlock()
	r.signal()
}

// reportTo sends reports to a placement that asks for them, beginning with the
// last one.
func (r *reporter) reportTo(pid *actor.PID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid == nil || !r.ready || !r.summoned(pid, time.Now()) {
		return
	}
	if r.last != nil {
		r.worker.root.RequestWithCustomSender(pid, r.last, r.worker.pid)
	}
}

// summoned notes that a placement asked; false if there is no room for another
// one. Those that have not asked for long make room, and who is known renews.
// Called with mu held.
func (r *reporter) summoned(pid *actor.PID, now time.Time) bool {
	key := pid.String()
	maps.DeleteFunc(r.others, func(_ string, o summons) bool { return now.After(o.until) })
	if _, known := r.others[key]; !known && len(r.others) >= othersMax {
		return false
	}
	r.others[key] = summons{pid, now.Add(summonedFor)}
	return true
}

// sendOthers passes a load on to the placements that asked. Called with mu held.
func (r *reporter) sendOthers(load *messages.LoadReport) {
	now := time.Now()
	for _, o := range r.others {
		if !now.After(o.until) && (r.target == nil || !r.target.Equal(o.pid)) {
			r.worker.root.RequestWithCustomSender(o.pid, load, r.worker.pid)
		}
	}
}

// registerAgain asks placement whether the worker is still admitted.
func (r *reporter) registerAgain() {
	r.mu.Lock()
	r.again = true
	r.mu.Unlock()
	r.signal()
}

// describedTo: an actor asked who the worker is. If it is the one that gets the
// reports, it does not know the worker.
func (r *reporter) describedTo(pid *actor.PID) {
	r.mu.Lock()
	asked := r.target != nil && r.target.Equal(pid)
	r.mu.Unlock()
	if asked {
		r.registerAgain()
	}
}

// notDelivered: a message to an actor was lost. If it is the one that gets the
// reports, there is another by now.
func (r *reporter) notDelivered(to *actor.PID) {
	r.mu.Lock()
	lost := r.target != nil && r.target.Equal(to)
	if lost {
		r.target = nil
	}
	r.mu.Unlock()
	if lost {
		r.worker.node.Forget(cluster.KindPlacement, r.worker.info.Pool)
		r.registerAgain()
	}
}

func (r *reporter) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		if r.mustRegister() {
			if err := r.register(ctx); err != nil {
				if ctx.Err() == nil {
					r.worker.abandon(takenOver(err))
				}
				return
			}
		}
		r.send(ctx)
	}
}

// takenOver is the refusal of a worker that had been admitted before: its id
// went to another process meanwhile.
func takenOver(err error) error {
	var refusal *messages.Error
	if !errors.As(err, &refusal) || refusal.Code != messages.CodeWorkerIDTaken {
		return err
	}
	return messages.Errorf(messages.CodeWorkerSuperseded, "this process was out of reach, and %s", refusal.Message)
}

func (r *reporter) mustRegister() bool {
	owner, ok := r.worker.node.View().OwnerOf(cluster.KindPlacement, r.worker.info.Pool)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready && ok && (r.again || owner.ID != r.owner)
}

// send passes the newest load on.
func (r *reporter) send(ctx context.Context) {
	r.mu.Lock()
	load := r.pending
	if !r.ready || load == nil {
		r.mu.Unlock()
		return
	}
	r.pending = nil
	r.sendOthers(load)
	r.mu.Unlock()
	w := r.worker
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	pid, err := w.node.Resolve(ctx, cluster.KindPlacement, w.info.Pool)
	r.mu.Lock()
	if err != nil {
		if r.pending == nil {
			r.pending = load
		} else {
			r.pending.GrantsSeen = append(load.GrantsSeen, r.pending.GrantsSeen...)
		}
		r.mu.Unlock()
		return
	}
	r.target = pid
	r.mu.Unlock()
	w.root.RequestWithCustomSender(pid, load, w.pid)
}

// register asks placement to admit the worker until it does or refuses, or ctx
// ends.
func (r *reporter) register(ctx context.Context) error {
	w := r.worker
	// Said seldomer and seldomer: it may take as long as somebody else's work.
	sayAt, pauses := time.Now(), backoff.Pauses{First: time.Second, Most: time.Minute}
	// A placement that does not answer has too much to do.
	unanswered := backoff.Pauses{First: admissionRetry, Most: admissionRetryMost}
	wait := func(message string) {
		w.cfg.Hooks.waiting(message)
		if now := time.Now(); !now.Before(sayAt) {
			sayAt = now.Add(pauses.Next())
			w.cfg.Logger.Info("the worker is not admitted yet", "waits for", message)
		}
	}
	for {
		owner, _ := w.node.View().OwnerOf(cluster.KindPlacement, w.info.Pool)
		r.mu.Lock()
		r.again = false // What is asked for from now on wants another question.
		r.mu.Unlock()
		reply, err := r.askAdmission(ctx)
		switch {
		case ctx.Err() != nil:
			return w.notAdmitted(ctx)
		case messages.CodeOf(err) == messages.CodePayloadTooLarge:
			return err
		case err != nil:
			wait(err.Error())
			_ = backoff.Sleep(ctx, unanswered.Next())
		case reply.Refused != nil:
			if !messages.Code(reply.Refused.Code).Retryable() {
				return messages.FromFailure(reply.Refused)
			}
			wait(reply.Refused.Message)
		case reply.Admitted:
			r.mu.Lock()
			r.owner = owner.ID
			if r.pending == nil {
				// A placement that is new waits for it.
				r.pending = r.last
			}
			r.mu.Unlock()
			r.say(reply.GetNotices())
			w.cfg.Hooks.admitted()
			return nil
		default:
			wait(reply.Message)
		}
		_ = backoff.Sleep(ctx, admissionRetry)
	}
}

// say logs what the cluster tells of the worker's workflows, unless it was told
// the same before.
func (r *reporter) say(notices []string) {
	r.mu.Lock()
	same := slices.Equal(r.noticed, notices)
	r.noticed = notices
	r.mu.Unlock()
	if same {
		return
	}
	for _, notice := range notices {
		r.worker.cfg.Logger.Warn(notice)
	}
}

// askAdmission is one question to placement, of at most a second, so that the
// wait for a server is noticed.
func (r *reporter) askAdmission(ctx context.Context) (*messages.RegisterReply, error) {
	w := r.worker
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := w.node.Call(ctx, cluster.KindPlacement, w.info.Pool, &messages.Register{Worker: w.info, RunningUs: w.running()})
	if err != nil {
		return nil, err
	}
	answer, ok := reply.(*messages.RegisterReply)
	if !ok {
		return nil, messages.Errorf(messages.CodeInternal, "placement answered with %T", reply)
	}
	return answer, nil
}
