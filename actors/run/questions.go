package run

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// questions is what a run has asked placement.
type questions struct {
	// open by the index of their step; the one for a binding is the last. used
	// holds the newest answers whose grants were used.
	open []*question
	used []usedGrant
	// last is the number of the newest question.
	last uint64
	// from: placement is not asked before it.
	from time.Time
	// spent are the grants that the turn has used.
	spent []*messages.Placed
}

// question is one that placement was asked.
type question struct {
	ask *messages.Place
	// began is when it was asked first.
	began    time.Time
	askedAt  time.Time
	answered bool
	// hold: the turn that asked waits with its append for the first answer.
	hold bool
	// waits says in words what it waits for, reason why; notOfferedAt is since
	// when nobody offers it.
	waits        string
	reason       messages.WaitReason
	notOfferedAt time.Time
	placed       *messages.Placed
}

// wish is what a question asks for beyond what its run or step always does.
type wish struct {
	// exclude is a worker that does not count.
	exclude string
	// move: the run may stay where it is for now.
	move  bool
	since time.Time
}

// usedGrant is a question whose grant was used.
type usedGrant struct{ question, grant uint64 }

const (
	// reaskAfter is the safety net for a question whose waiting placement has
	// forgotten without saying so.
	reaskAfter = 30 * time.Second
	// askPause is the wait after a grant of a worker that is known to be gone.
	askPause = 50 * time.Millisecond
)

// newQuestions makes those of a run of so many steps.
func newQuestions(steps int) questions {
	return questions{open: make([]*question, steps+1), used: make([]usedGrant, steps+1)}
}

// number numbers a question by the clock, so that a later activation's are newer.
func (q *questions) number(now time.Time) uint64 {
	q.last = max(q.last+1, uint64(now.UnixMicro()))
	return q.last
}

// asks says that a question of an index is open that asks for the same.
func (q *questions) asks(k int, w wish) bool {
	open := q.open[k]
	return open != nil && open.ask.ExcludeWorker == w.exclude && open.ask.Move == w.move
}

// any says that a question is open, or is to be asked in a moment.
func (q *questions) any(now time.Time) bool {
	for _, open := range q.open {
		if open != nil {
			return true
		}
	}
	return now.Before(q.from)
}

// unheard says that a question is open whose first answer its turn waits for.
func (q *questions) unheard() bool {
	for _, open := range q.open {
		if open != nil && open.hold && !open.answered {
			return true
		}
	}
	return false
}

// unanswered counts the open questions that placement has said nothing about yet.
func (q *questions) unanswered() (n int) {
	for _, open := range q.open {
		if open != nil && !open.answered {
			n++
		}
	}
	return n
}

// wait says that a question is open that has not been answered with a worker.
func (q *questions) wait() bool {
	return slices.ContainsFunc(q.open, func(open *question) bool { return open != nil && open.placed == nil })
}

// granted says that a question was answered with a worker.
func (q *questions) granted() bool {
	return slices.ContainsFunc(q.open, func(open *question) bool { return open != nil && open.placed != nil })
}

// numbered returns the open question of an index if it has the number.
func (q *questions) numbered(k int, number uint64) *question {
	if open := q.open[k]; open != nil && open.ask.Question == number {
		return open
	}
	return nil
}

// wasUsed says that a grant is the double of one that was used: two placements,
// the earlier and the later one, may both have answered.
func (q *questions) wasUsed(k int, p *messages.Placed) bool {
	return q.used[k] == usedGrant{p.Question, p.GrantId}
}

// use takes the grant of an open question.
func (q *questions) use(k int) *messages.Placed {
	p := q.open[k].placed
	q.open[k], q.used[k] = nil, usedGrant{p.Question, p.GrantId}
	q.spent = append(q.spent, p)
	return p
}

// unuse says that a grant is given back at once, whatever becomes of the turn.
func (q *questions) unuse(p *messages.Placed) {
	q.spent = slices.DeleteFunc(q.spent, func(spent *messages.Placed) bool { return spent == p })
}

// drop takes the question of an index, if there is one.
func (q *questions) drop(k int) *question {
	open := q.open[k]
	if open != nil {
		q.open[k] = nil
	}
	return open
}

// again is when a question is asked again.
func (q *question) again(resend time.Duration) time.Time {
	if q.answered {
		return q.askedAt.Add(reaskAfter)
	}
	return q.askedAt.Add(resend)
}

// timers: placement is asked, or asked again.
func (q *questions) timers(next *earliest, now time.Time, resend time.Duration) {
	for _, open := range q.open {
		if open != nil && open.placed == nil {
			next.add(open.again(resend))
		}
	}
	next.addIf(q.from, now.Before(q.from))
}

// ---- asking --------------------------------------------------------------------

// bindQuestion is the index of the question for a binding.
func (m *Machine) bindQuestion() int { return len(m.s.Steps) }

// questionFor is the index of the question by which a step is placed.
func (m *Machine) questionFor(i int) int {
	if m.s.isSticky() {
		return m.bindQuestion()
	}
	return i
}

// questionOf returns the index of the questions for a step, or for the binding.
func (m *Machine) questionOf(step string) (int, bool) {
	if m.s.isSticky() {
		return m.bindQuestion(), step == ""
	}
	return m.s.stepAt(step)
}

// placement returns the answer to a question, which it asks if need be; nil if
// there is none yet.
func (m *Machine) placement(k int, w wish) *messages.Placed {
	q := m.questions.open[k]
	switch {
	case q == nil || q.placed == nil:
		m.ask(k, w)
		return nil
	case m.gone.has(q.placed.Worker, m.now):
		// Placement does not know yet that the process cannot be used.
		m.withdraw(k)
		m.questions.from = m.now.Add(askPause)
		return nil
	}
	return m.questions.use(k)
}

// ask asks placement, unless the same question is open.
func (m *Machine) ask(k int, w wish) {
	if m.questions.asks(k, w) || m.now.Before(m.questions.from) || m.isParked() {
		return
	}
	p := &messages.Place{
		RunId: m.s.RunID, Question: m.questions.number(m.now), Workflow: m.s.Def.Name, Pool: m.pool(), Sticky: m.s.Def.Sticky,
		Priority: messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority), ExcludeWorker: w.exclude, Move: w.move, ReadyUs: w.since.UnixMicro(),
		HeldKeys: m.heldKeys(),
	}
	if k == m.bindQuestion() {
		p.Steps, p.Labels = m.s.Def.StepNames(), m.s.Def.LabelsOfRun()
	} else {
		st := m.s.Steps[k].Def
		p.Step, p.Steps, p.Labels = st.Name, []string{st.Name}, m.s.Def.LabelsOfStep(st)
	}
	m.questions.open[k] = &question{ask: p, began: m.now, askedAt: m.now, hold: true}
	m.do(Ask{p})
}

// heldKeys are the hashes by which placement knows the shared local state that
// the run's input asks for, in order.
func (m *Machine) heldKeys() []uint64 {
	if len(m.s.Start.LocalKeys) == 0 {
		return nil
	}
	hashes := make([]uint64, 0, len(m.s.Start.LocalKeys))
	for local, key := range m.s.Start.LocalKeys {
		hashes = append(hashes, messages.HeldKey(local, key))
	}
	slices.Sort(hashes)
	return hashes
}

// askAgain repeats a question; what was sent is not changed any more.
func (m *Machine) askAgain(q *question) {
	q.askedAt, q.answered = m.now, false
	m.do(Ask{proto.Clone(q.ask).(*messages.Place)})
}

// askAll asks every open question again.
func (m *Machine) askAll() {
	for _, q := range m.questions.open {
		if q != nil && q.placed == nil {
			m.askAgain(q)
		}
	}
}

// placed takes a grant. One that is not wanted any more is given back.
func (m *Machine) placed(p *messages.Placed) {
	k, ok := m.questionOf(p.Step)
	if !ok {
		return
	}
	switch q := m.questions.numbered(k, p.Question); {
	case q == nil && m.questions.wasUsed(k, p):
	case q == nil:
		m.giveBack(p.Step, p.Question)
	case q.placed == nil:
		q.answered, q.placed = true, p
	}
}

func (m *Machine) placeWaiting(p *messages.PlaceWaiting) {
	k, ok := m.questionOf(p.Step)
	if !ok {
		return
	}
	q := m.questions.numbered(k, p.Question)
	if q == nil {
		return
	}
	m.waitsFor(q, p)
	switch {
	case q.placed != nil:
	case p.Stay && q.ask.Move:
		m.questions.drop(k)
		m.leaving.stay = true
	case p.AskAgain:
		m.askAgain(q)
	}
}

// holding says that the turn's append waits for placement.
func (m *Machine) holding() bool {
	return !m.due(m.turn.at.Add(m.cfg.HoldFor)) && m.questions.unheard()
}

// unspend gives back the grants of a turn that did not happen: nothing is sent
// with them.
func (m *Machine) unspend() {
	for _, p := range m.questions.spent {
		m.giveBack(p.Step, p.Question)
	}
	m.questions.spent = nil
}

// withdraw takes a question back, if there is one.
func (m *Machine) withdraw(k int) {
	if q := m.questions.drop(k); q != nil {
		m.giveBack(q.ask.Step, q.ask.Question)
	}
}

func (m *Machine) withdrawAll() {
	for k := range m.questions.open {
		m.withdraw(k)
	}
	m.endMove()
}

// giveBack says that a question, or the grant that answers it, is not wanted.
func (m *Machine) giveBack(step string, question uint64) {
	m.do(Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Step: step, Pool: m.pool(), Question: question}})
}
