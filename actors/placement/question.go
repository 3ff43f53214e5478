package placement

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/messages"
)

// questionKey: a run asks one question at a time for each of its steps, or one
// for its binding (step "").
type questionKey struct{ run, step string }

type questionState uint8

const (
	stateWaiting questionState = iota
	stateGranted
	stateWithdrawn
)

// asker is the PID of an activation of a run.
type asker struct{ address, actorID string }

// ousted is a question of another activation: one that this one took the place
// of, and that is to be asked again if this one comes to nothing.
type ousted struct {
	asker
	number uint64
}

type question struct {
	key      questionKey
	hash     uint64 // of the run's id
	number   uint64
	class    *class
	priority int
	readyUs  int64
	keys     []uint64 // of shared local state
	move     bool     // of a run that may stay where it is
	passed   uint8    // how often another one was preferred for its keys
	seq      uint64
	place    heap.Place // in its class's queue
	// Whom the answer goes to.
	asker
	// ousted waited for an answer to the same question when this one came, from
	// other activations of the run; the newest last.
	ousted []ousted
	// early was taken back by another activation before it was asked; zero for
	// none.
	early ousted

	state questionState
	told  messages.WaitReason

	// Of a granted question.
	grantID uint64
	worker  *worker // nil when the worker has gone or the grant was given back
	ref     *messages.WorkerRef
	seen    bool
	// When it was granted or withdrawn, last asked, and put into Core.asked.
	doneAt, askedAt, listedAt time.Time
	// toldAt is when it was told first that it waits for what it was told last.
	toldAt time.Time
}

// Ask takes a question. It is answered with Placed or Waiting at once, and
// with Placed later if it waits. Beside an earlier question of the same run and
// step, one that comes
//
//	from the same PID, with the same number     is answered in the same way again
//	from the same PID, with a smaller number    was overtaken: it is not answered
//	from the same PID, with a greater number    replaces the earlier one
//	from another PID                            replaces it, whatever its number: the
//	                                            run has been activated anew
func (c *Core) Ask(p *messages.Place, now time.Time) []Action {
	key := questionKey{p.GetRunId(), p.GetStep()}
	from := asker{p.GetReplyAddress(), p.GetReplyActorId()}
	var instead []ousted
	var early ousted
	if old := c.questions[key]; old != nil {
		if c.repeated(old, from, p.GetQuestion(), now) {
			return c.take()
		}
		if old.asker != from && old.state != stateWithdrawn {
			instead = old.outs()
		}
		early = old.early
		c.drop(old, now)
	}
	if p.GetUnboundWorker() != "" {
		if w := c.workers[p.GetUnboundWorker()]; w != nil {
			c.unbind(w, key.run, now)
		}
	}
	q := c.newQuestion(key, p)
	q.ousted, q.early = instead, early
	if len(c.questions) >= c.cfg.QuestionsMax {
		c.emit(q.waitingFor(messages.WaitReason_WAIT_REASON_QUESTIONS_MAX, fmt.Sprintf("placement of pool %q holds %d questions, the most that it keeps (QuestionsMax): ask again",
			c.cfg.Pool, len(c.questions))))
		return c.take()
	}
	w := c.choose(q, now)
	if w != nil && q.move && !c.moves.take(now) {
		c.stay(q)
		return c.take()
	}
	c.questions[key] = q
	if w != nil {
		c.grant(q, w, now)
		return c.take()
	}
	c.enqueue(q)
	q.askedAt, q.listedAt = now, now
	c.asked.push(q)
	c.tell(q, now)
	return c.take()
}

// repeated says that a question is no newer than the one that is kept, which is
// answered again if it is the same.
func (c *Core) repeated(old *question, from asker, number uint64, now time.Time) bool {
	early := old.early
	switch {
	case early.asker == from && number <= early.number:
		return true // overtaken by its withdrawal
	case old.asker != from || number > old.number:
		return false
	case number < old.number:
		return true
	case old.void():
		return false
	}
	old.askedAt = now
	c.answerAgain(old, now)
	return true
}

// stay answers a move whose turn it is not yet. The question is not kept.
func (c *Core) stay(q *question) {
	answer := q.waitingFor(messages.WaitReason_WAIT_REASON_MOVES_PACED, fmt.Sprintf("runs leave the draining workers of pool %q at %d a second (MovesPerSecond): stay until the next step",
		c.cfg.Pool, c.cfg.MovesPerSecond))
	answer.Waiting.Stay = true
	c.emit(answer)
}

// forgetUnasked drops waiting questions that nobody asks any more: those of
// runs whose server died before they could be withdrawn.
func (c *Core) forgetUnasked(now time.Time) {
	if c.asked.len() > 2*c.waiting+askedSlack {
		// Most were answered: they are not to wait here for the first of those that
		// were not.
		c.asked.keep(c.waits)
	}
	for {
		q := c.asked.front()
		if q == nil {
			return
		}
		waits := c.waits(q)
		if waits && now.Sub(q.listedAt) < c.cfg.AskedWithin {
			return
		}
		c.asked.pop()
		switch {
		case !waits:
		case now.Sub(q.askedAt) < c.cfg.AskedWithin:
			q.listedAt = now
			c.asked.push(q)
		default:
			c.drop(q, now)
		}
	}
}

// askedSlack is how many answered questions may be kept among those that wait.
const askedSlack = 1024

func (c *Core) waits(q *question) bool { return q.state == stateWaiting && c.questions[q.key] == q }

func (c *Core) newQuestion(key questionKey, p *messages.Place) *question {
	c.seq++
	return &question{
		key: key, hash: hashText(key.run), number: p.GetQuestion(), class: c.classOf(p), priority: bandOf(p.GetPriority()),
		readyUs: p.GetReadyUs(), keys: p.GetHeldKeys()[:min(len(p.GetHeldKeys()), messages.LocalsMax)], move: p.GetMove(), seq: c.seq,
		asker: asker{p.GetReplyAddress(), p.GetReplyActorId()},
	}
}

// void: granted a worker that went before it saw the grant.
func (q *question) void() bool {
	return q.state == stateGranted && q.worker == nil && !q.seen
}

func (c *Core) answerAgain(q *question, now time.Time) {
	switch q.state {
	case stateGranted:
		c.emit(q.placed())
	case stateWaiting:
		c.tell(q, now)
	}
}

// drop forgets a question and gives its grant back.
func (c *Core) drop(q *question, now time.Time) {
	if c.questions[q.key] == q {
		delete(c.questions, q.key)
	}
	switch q.state {
	case stateWaiting:
		c.dequeue(q, now)
	case stateGranted:
		c.giveBack(q, now)
	}
}

// giveBack frees what a grant holds, if its dispatch was not seen.
func (c *Core) giveBack(q *question, now time.Time) {
	w := q.worker
	if w == nil || q.seen {
		return
	}
	q.worker = nil
	delete(w.unseen, q.grantID)
	c.touch(w)
	if q.class.sticky {
		c.unbind(w, q.key.run, now)
	}
	c.fill(w, now)
}

func (c *Core) grant(q *question, w *worker, now time.Time) {
	c.grantID++
	q.state, q.worker, q.grantID, q.doneAt = stateGranted, w, c.grantID, now
	q.ref = &messages.WorkerRef{
		WorkerId: w.id(), Incarnation: w.info.GetIncarnation(),
		Address: w.info.GetAddress(), ActorId: w.info.GetActorId(),
	}
	if w.running+w.queued+len(w.unseen) >= w.slots {
		w.crowded = q.key.run
	}
	w.unseen[q.grantID] = q
	if q.class.sticky {
		c.bind(w, q.key.run)
	}
	c.touch(w)
	c.promise(q, w, now)
	c.expiring.push(q)
	c.emit(q.placed())
}

// Withdraw takes a question back, with its grant if the grant was not used.
// The question is refused if it arrives afterwards. Only the activation that
// asked takes back: another one's question stands.
func (c *Core) Withdraw(m *messages.WithdrawPlace, now time.Time) []Action {
	key := questionKey{m.GetRunId(), m.GetStep()}
	old := c.questions[key]
	from := asker{m.GetReplyAddress(), m.GetReplyActorId()}
	// A smaller number is that of an earlier question; a greater one has
	// overtaken its question.
	switch {
	case old == nil:
	case old.asker != from:
		old.early = ousted{from, m.GetQuestion()}
		return c.take()
	case old.number > m.GetQuestion() || old.state == stateWithdrawn:
		return c.take()
	}
	gone := &question{key: key, number: m.GetQuestion(), asker: from, state: stateWithdrawn, doneAt: now}
	if old != nil {
		c.drop(old, now)
		c.recall(old)
	}
	c.questions[key] = gone
	c.expiring.push(gone)
	return c.take()
}

// oustedMost bounds the activations of a run that are remembered.
const oustedMost = 4

// outs is the question among those whose place it took, for the one that takes
// its place.
func (q *question) outs() []ousted {
	list := append(slices.Clone(q.ousted), ousted{q.asker, q.number})
	return list[max(0, len(list)-oustedMost):]
}

// recall has the questions asked again whose place this one had taken: several
// activations of the run were there at once, and this one has given up.
func (c *Core) recall(q *question) {
	if q.seen {
		return
	}
	for _, o := range q.ousted {
		c.emit(Answer{Address: o.address, ActorID: o.actorID, Waiting: &messages.PlaceWaiting{
			RunId: q.key.run, Question: o.number, Step: q.key.step, AskAgain: true,
			Reason: messages.WaitReason_WAIT_REASON_WITHDRAWN, Text: "another activation of the run had asked, and gave up: ask again",
		}})
	}
	q.ousted = nil
}

// AskersGone forgets the questions of a server that has gone: those of its runs
// come again from elsewhere. What it was granted and did not use is free; its
// runs may be bound all the same, and count so until the journal is read again.
func (c *Core) AskersGone(address string, now time.Time) []Action {
	var gone []*question
	for _, q := range c.questions {
		if q.address == address {
			gone = append(gone, q)
		}
	}
	slices.SortFunc(gone, func(a, b *question) int { return cmp.Compare(a.seq, b.seq) })
	freed := map[*worker]bool{}
	for _, q := range gone {
		delete(c.questions, q.key)
		switch w := q.worker; {
		case q.state == stateWaiting:
			c.dequeue(q, now)
		case w != nil && !q.seen:
			q.worker = nil
			delete(w.unseen, q.grantID)
			c.touch(w)
			freed[w] = true
		}
		c.recall(q)
	}
	for _, w := range c.seats {
		if freed[w] {
			c.fill(w, now)
		}
	}
	return c.take()
}

// RunUnbound says that a run does not count among the worker's bound runs.
func (c *Core) RunUnbound(m *messages.RunUnbound, now time.Time) []Action {
	if w := c.workers[m.GetWorkerId()]; w != nil {
		c.unbind(w, m.GetRunId(), now)
	}
	return c.take()
}

// expire frees the grants that no worker saw in time and forgets the answered
// and withdrawn questions of that age. The run of an unseen grant may be bound
// all the same, its dispatch delayed: it counts as bound until the journal is
// read again.
func (c *Core) expire(now time.Time) {
	for {
		q := c.expiring.front()
		if q == nil || now.Sub(q.doneAt) < c.cfg.SeenWithin {
			return
		}
		c.expiring.pop()
		if c.questions[q.key] != q {
			continue // another one took its place, and gave its grant back
		}
		delete(c.questions, q.key)
		if q.state != stateGranted || q.seen {
			continue
		}
		if w := q.worker; w != nil {
			q.worker = nil
			delete(w.unseen, q.grantID)
			c.touch(w)
			c.fill(w, now)
		}
		// Of a worker that has gone too: the run did not hear of the grant, perhaps.
		lost := q.waitingFor(messages.WaitReason_WAIT_REASON_GRANT_EXPIRED, "a grant of worker "+q.ref.GetWorkerId()+" was not used in time: ask again")
		lost.Waiting.AskAgain = true
		c.emit(lost)
		c.recall(q)
	}
}

func (q *question) placed() Answer {
	return Answer{Address: q.address, ActorID: q.actorID, Placed: &messages.Placed{
		RunId: q.key.run, Question: q.number, Step: q.key.step, GrantId: q.grantID, Worker: q.ref,
	}}
}

func (q *question) waitingFor(reason messages.WaitReason, text string) Answer {
	return Answer{Address: q.address, ActorID: q.actorID, Waiting: &messages.PlaceWaiting{
		RunId: q.key.run, Question: q.number, Step: q.key.step, Reason: reason, Text: text,
	}}
}
