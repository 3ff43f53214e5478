package local

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Defaults of Config.
const (
	// SharedMax is how many shared values a worker has at once.
	SharedMax = 1024
	// IdleFor is how long a shared value stays that nobody uses.
	IdleFor = 5 * time.Minute
)

// Config of a Keeper. The zero value is the defaults.
type Config struct {
	// WorkerID is for errors.
	WorkerID string
	// SharedMax limits the shared values that are there, being built or being
	// released. Defaults to the constant of that name; at most
	// messages.HeldKeysMax.
	SharedMax int
	// SharedBytesMax limits what the shared values take by what they declare.
	// 0 is no limit.
	SharedBytesMax int64
	// IdleFor is how long a shared value stays that nobody uses. Defaults to
	// the constant of that name; negative is not at all.
	IdleFor time.Duration
}

// ActionKind says which fields of an Action count.
type ActionKind uint8

const (
	// Build asks for Bind to be called for Value, on behalf of question Ask.
	// Built follows.
	Build ActionKind = iota + 1
	// CancelBuild ends the context of the build of Value; Err is the cause.
	CancelBuild
	// Give answers question Ask with Value; Hit if it was there already.
	Give
	// Fail answers question Ask with Err.
	Fail
	// Release asks for Value to be released, because of Why. ReleaseEnded
	// follows.
	Release
	// HandOff asks for Values of Run to be handed off. HandOffReturned follows
	// for each of them, and HandOffEnded, in any order.
	HandOff
	// HandedOff is the answer to whoever asked for a hand-off.
	HandedOff
)

// Action is work for the shell around a Keeper.
type Action struct {
	Kind   ActionKind
	Value  uint64
	Ask    uint64
	Hit    bool
	Why    messages.ReleaseReason
	Err    error
	Run    string
	Epoch  uint64
	Values []HandOffValue
	Answer *messages.HandedOff
}

// HandOffValue is a value to hand off, by the name of the state.
type HandOffValue struct {
	Value uint64
	Local string
}

// Attempt is a function that runs. RunID and Epoch are those of its run.
type Attempt struct {
	// Number that the worker gave the function.
	Number uint64
	RunID  string
	Epoch  uint64
	// Sticky: the run is bound here, and what it asks for stays until the run
	// is released; otherwise until the function returns.
	Sticky bool

	// over: the run no longer needs the attempt.
	over   bool
	values map[*value]struct{} // that it got
	waits  map[uint64]*wait
}

// Ask is a question for a value. It is answered by Give or Fail with its ID,
// unless GaveUp comes before.
type Ask struct {
	ID      uint64
	Attempt uint64
	Local   string
	// Shared values have a Key.
	Shared bool
	Key    string
	// Handoff: the state can be handed off.
	Handoff bool
	// Takes: a value of the run's own is taken if it is there, and not built.
	Takes bool
}

// Keeper is the state of a worker's local state. Its methods are not safe for
// concurrent use. Each takes the present time, which must not go backwards, and
// returns actions, in order; the slice is valid until the next call.
type Keeper struct {
	cfg      Config
	attempts map[uint64]*Attempt
	runs     map[string]*run
	shared   map[sharedKey]*value
	handoffs map[handoffKey]*handed // that run
	values   map[uint64]*value      // all that are not gone
	waits    map[uint64]*wait
	queue    []*value // for room, in order
	idle     []*value // shared ones that nobody uses, the longest first
	lastID   uint64
	stopped  bool

	sharedCount    int   // of L3
	releasing      int   // shared ones, and their bytes
	bytes          int64 // of L4
	releasingBytes int64

	uses    map[useKey]*messages.LocalUse
	changed bool // the held keys
	held    []uint64
	out     []Action
}

type sharedKey struct{ local, key string }

type useKey struct {
	local  string
	shared bool
}

// wait is a question that is not answered yet.
type wait struct {
	ask     Ask
	attempt *Attempt
	value   *value
}

// New makes the keeper of a worker that has nothing.
func New(cfg Config) *Keeper {
	if cfg.SharedMax <= 0 {
		cfg.SharedMax = SharedMax
	}
	cfg.SharedMax = min(cfg.SharedMax, messages.HeldKeysMax)
	if cfg.IdleFor == 0 {
		cfg.IdleFor = IdleFor
	}
	cfg.IdleFor = max(cfg.IdleFor, 0)
	return &Keeper{
		cfg: cfg, attempts: map[uint64]*Attempt{}, runs: map[string]*run{}, shared: map[sharedKey]*value{}, handoffs: map[handoffKey]*handed{},
		values: map[uint64]*value{}, waits: map[uint64]*wait{}, uses: map[useKey]*messages.LocalUse{},
	}
}

// AttemptBegan says that a function runs from now on. It comes before whatever
// else is said of the function or, later, of its run.
func (k *Keeper) AttemptBegan(a Attempt) {
	a.values, a.waits = map[*value]struct{}{}, map[uint64]*wait{}
	k.attempts[a.Number] = &a
	k.touch(a.RunID).attempts[a.Number] = &a
}

// AttemptEnded says that a function has returned, and, with stateLost, that it
// found its local state gone: what it may have used is built anew for whoever
// asks next.
func (k *Keeper) AttemptEnded(now time.Time, number uint64, stateLost bool) []Action {
	k.begin()
	a := k.attempts[number]
	if a == nil {
		return nil
	}
	for _, w := range sortedByID(a.waits) {
		k.fail(w, messages.Errorf(messages.CodeStaleAttempt, "local %q: the step has ended", w.ask.Local))
		k.abandoned(w.value)
	}
	if stateLost {
		k.loseState(now, a)
	}
	for _, v := range sortedValues(a.values) {
		delete(v.users, number)
		k.unused(now, v)
	}
	delete(k.attempts, number)
	r := k.runs[a.RunID]
	delete(r.attempts, number)
	k.forget(r)
	return k.end(now)
}

// Get asks for a value.
func (k *Keeper) Get(now time.Time, ask Ask) []Action {
	k.begin()
	a := k.attempts[ask.Attempt]
	w := &wait{ask: ask, attempt: a}
	switch {
	case k.stopped:
		k.fail(w, k.stoppedError(ask.Local))
	case a == nil:
		k.fail(w, messages.Errorf(messages.CodeStaleAttempt, "local %q: the step has ended", ask.Local))
	case a.over:
		k.fail(w, messages.Errorf(messages.CodeStaleAttempt, "local %q: run %s is no longer bound here under epoch %d", ask.Local, a.RunID, a.Epoch))
	case ask.Shared:
		k.getShared(now, w)
	default:
		k.getPrivate(now, w)
	}
	return k.end(now)
}

func (k *Keeper) getShared(now time.Time, w *wait) {
	key := sharedKey{w.ask.Local, w.ask.Key}
	v := k.shared[key]
	if v == nil {
		v = k.make(w, true)
		v.key = w.ask.Key
		k.shared[key] = v
		k.queue = append(k.queue, v)
	}
	k.take(v, w)
}

func (k *Keeper) getPrivate(now time.Time, w *wait) {
	a := w.attempt
	r := k.touch(a.RunID)
	v := r.private[w.ask.Local]
	switch {
	case v != nil && v.epoch > a.Epoch:
		k.fail(w, messages.Errorf(messages.CodeStaleAttempt, "local %q: run %s is bound under epoch %d by now, not %d", w.ask.Local, a.RunID, v.epoch, a.Epoch))
		return
	case v != nil && v.epoch < a.Epoch:
		k.drop(now, v, messages.ReleaseReason_RELEASE_REASON_REBOUND)
		v = nil
	}
	if v == nil && w.ask.Takes {
		k.fail(w, messages.Errorf(messages.CodeStateNotThere, "local %q: run %s has no value of it on worker %q under epoch %d, and an end step builds none", w.ask.Local, a.RunID, k.cfg.WorkerID, a.Epoch))
		return
	}
	if v == nil {
		v = k.make(w, false)
		v.run, v.epoch = a.RunID, a.Epoch
		r.private[w.ask.Local] = v
		k.build(v, w.ask.ID)
	}
	k.take(v, w)
}

// take gives a value, or lets the question wait for it.
func (k *Keeper) take(v *value, w *wait) {
	if v.phase == phaseThere {
		k.give(v, w, true)
		return
	}
	w.value = v
	k.waits[w.ask.ID], w.attempt.waits[w.ask.ID], v.waits[w.ask.ID] = w, w, w
}

// give answers a question with a value, which its attempt uses from now on.
func (k *Keeper) give(v *value, w *wait, hit bool) {
	k.settle(w)
	k.busy(v)
	v.users[w.attempt.Number] = struct{}{}
	w.attempt.values[v] = struct{}{}
	if v.shared && w.attempt.Sticky {
		k.hold(v, w.attempt)
	}
	if hit {
		k.use(v).Hits++
	}
	k.count(v)
	k.out = append(k.out, Action{Kind: Give, Ask: w.ask.ID, Value: v.id, Hit: hit})
}

func (k *Keeper) fail(w *wait, err error) {
	k.settle(w)
	k.out = append(k.out, Action{Kind: Fail, Ask: w.ask.ID, Err: err})
}

// settle forgets a question that waited.
func (k *Keeper) settle(w *wait) {
	if w.value == nil {
		return
	}
	delete(k.waits, w.ask.ID)
	delete(w.attempt.waits, w.ask.ID)
	delete(w.value.waits, w.ask.ID)
}

// GaveUp says that whoever asked does not wait any more. A build that nobody
// waits for is canceled.
func (k *Keeper) GaveUp(now time.Time, ask uint64) []Action {
	k.begin()
	if w := k.waits[ask]; w != nil {
		k.settle(w)
		k.abandoned(w.value)
	}
	return k.end(now)
}

// Built takes the outcome of a Build: the declared bytes of the value, or why
// there is none.
func (k *Keeper) Built(now time.Time, id uint64, bytes int64, err error) []Action {
	k.begin()
	v := k.values[id]
	if v == nil || v.phase != phaseBuilding {
		return nil
	}
	if err == nil {
		k.use(v).Builds++
		v.bytes = max(bytes, 0)
		k.completed(now, v)
		return k.end(now)
	}
	if !v.canceled {
		k.use(v).Failures++
	}
	switch {
	case v.canceled && !v.dropped && len(v.waits) > 0:
		// Those who ask now came after the cancel: it was not theirs.
		v.canceled = false
		k.build(v, firstWait(v).ask.ID)
		return k.end(now)
	case !v.dropped:
		k.unlink(v)
	}
	for _, w := range sortedByID(v.waits) {
		k.fail(w, err)
	}
	k.gone(v)
	return k.end(now)
}

// completed: a value was built. It is there, unless nobody may ask for it any
// more or there is no room.
func (k *Keeper) completed(now time.Time, v *value) {
	v.phase, v.canceled = phaseThere, false
	if v.dropped {
		k.addBytes(v)
		k.release(v)
		return
	}
	if err := k.makeRoom(now, v); err != nil {
		for _, w := range sortedByID(v.waits) {
			k.fail(w, err)
		}
		k.addBytes(v)
		k.unlink(v)
		v.dropped, v.why = true, messages.ReleaseReason_RELEASE_REASON_EVICTED
		k.release(v)
		return
	}
	k.addBytes(v)
	for i, w := range sortedByID(v.waits) {
		k.give(v, w, i > 0)
	}
	k.unused(now, v)
}

// ReleaseEnded says that the release of a value has ended.
func (k *Keeper) ReleaseEnded(now time.Time, id uint64) []Action {
	k.begin()
	if v := k.values[id]; v != nil && v.phase == phaseReleasing {
		k.gone(v)
	}
	return k.end(now)
}

// Stop drops all that is there. Values that are in use are released when the
// functions return that got them.
func (k *Keeper) Stop(now time.Time) []Action {
	k.begin()
	k.stopped = true
	for _, v := range sortedByID(k.values) {
		if !v.dropped {
			k.drop(now, v, messages.ReleaseReason_RELEASE_REASON_WORKER_STOPPING)
		}
	}
	return k.end(now)
}

// Empty says whether there is no value left, neither in use nor being released.
func (k *Keeper) Empty() bool { return len(k.values) == 0 }

// Tick releases what nobody has used for IdleFor.
func (k *Keeper) Tick(now time.Time) []Action {
	k.begin()
	return k.end(now)
}

// Next returns when Tick has something to do; zero for never.
func (k *Keeper) Next() time.Time {
	if len(k.idle) == 0 {
		return time.Time{}
	}
	return k.idle[0].idleSince.Add(k.cfg.IdleFor)
}

// addBytes counts those of a shared value that is there.
func (k *Keeper) addBytes(v *value) {
	if v.shared {
		k.bytes += v.bytes
	}
	k.count(v)
}

func (k *Keeper) begin() { k.out = k.out[:0] }

func (k *Keeper) end(now time.Time) []Action {
	for len(k.idle) > 0 && !now.Before(k.idle[0].idleSince.Add(k.cfg.IdleFor)) {
		k.evict(now, k.idle[0])
	}
	k.serveQueue(now)
	return k.out
}
