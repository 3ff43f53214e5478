package run

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

func openQuestion(q *questions, k int, w wish) *question {
	q.open[k] = &question{ask: &messages.Place{Question: q.number(scriptEpoch), ExcludeWorker: w.exclude, Move: w.move}, askedAt: scriptEpoch, hold: true}
	return q.open[k]
}

// Numbers grow, and follow the clock, so that those of a later activation are
// greater.
func TestQuestionsAreNumbered(t *testing.T) {
	q := newQuestions(1)
	first, second, later := q.number(scriptEpoch), q.number(scriptEpoch), q.number(scriptEpoch.Add(time.Second))
	if second != first+1 || later != uint64(scriptEpoch.Add(time.Second).UnixMicro()) {
		t.Fatalf("%d, %d, %d", first, second, later)
	}
}

func TestQuestionIsAskedOnce(t *testing.T) {
	q := newQuestions(1)
	w := wish{exclude: "w1"}
	if q.asks(0, w) || q.any(scriptEpoch) || q.unheard() {
		t.Fatal("nothing was asked")
	}
	open := openQuestion(&q, 0, w)
	if !q.asks(0, w) || q.asks(0, wish{}) || q.asks(0, wish{exclude: "w1", move: true}) || !q.any(scriptEpoch) || !q.unheard() {
		t.Fatal("it was asked to leave w1")
	}
	open.answered = true
	if q.unheard() || q.drop(0) != open || q.any(scriptEpoch) {
		t.Fatal("it was answered, then taken back")
	}
	if q.from = scriptEpoch.Add(time.Second); !q.any(scriptEpoch) || q.any(q.from) {
		t.Fatal("it is to be asked in a second")
	}
}

func TestQuestionIsKnownByItsNumber(t *testing.T) {
	q := newQuestions(1)
	open := openQuestion(&q, 0, wish{})
	if q.numbered(0, open.ask.Question) != open || q.numbered(0, open.ask.Question+1) != nil || q.numbered(1, open.ask.Question) != nil {
		t.Fatal("it is the only one of its number, and has an index")
	}
}

// A grant is used once, and its double is known.
func TestGrantIsUsedOnce(t *testing.T) {
	q := newQuestions(1)
	open := openQuestion(&q, 1, wish{})
	p := &messages.Placed{Question: open.ask.Question, GrantId: 5}
	open.placed = p
	if q.use(1) != p || q.open[1] != nil || len(q.spent) != 1 {
		t.Fatalf("open %v, spent %v", q.open[1], q.spent)
	}
	if !q.wasUsed(1, p) || q.wasUsed(0, p) || q.wasUsed(1, &messages.Placed{Question: p.Question, GrantId: 6}) {
		t.Fatal("only this grant was used")
	}
	if q.unuse(p); len(q.spent) != 0 {
		t.Fatal("it was given back")
	}
}

// A question that nothing was heard of is asked again soon, one that waits at
// placement after a long while, one that was granted not at all.
func TestQuestionsAreAskedAgain(t *testing.T) {
	q := newQuestions(1)
	open := openQuestion(&q, 0, wish{})
	due := func() time.Time {
		var next earliest
		q.timers(&next, scriptEpoch, time.Second)
		return next.at
	}
	if !due().Equal(scriptEpoch.Add(time.Second)) {
		t.Fatalf("asked again at %v", due())
	}
	if open.answered = true; !due().Equal(scriptEpoch.Add(reaskAfter)) {
		t.Fatalf("asked again at %v", due())
	}
	open.placed = new(messages.Placed)
	if !due().IsZero() {
		t.Fatalf("asked again at %v", due())
	}
}
