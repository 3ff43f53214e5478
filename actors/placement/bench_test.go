package placement

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// crowd is a core with workers whose slots are all taken and questions that
// wait for them, of some workflows.
func crowd(b *testing.B, workers, slots, questions, workflows int) (*Core, time.Time) {
	c, now := New(Config{SettleFor: -1}), time.Unix(1_000_000, 0)
	var defs []*messages.WorkflowDefinition
	for i := range workflows {
		defs = append(defs, &messages.WorkflowDefinition{
			Name: fmt.Sprintf("flow%d", i), Steps: []*messages.StepDefinition{{Name: "s1"}, {Name: "s2"}},
		})
	}
	for i := range workers {
		c.WorkerUp(&messages.WorkerInfo{
			WorkerId: fmt.Sprintf("w%d", i), Incarnation: "i1", Address: "a", ActorId: "x", Slots: int32(slots), Workflows: defs,
		}, now)
		c.Report(&messages.LoadReport{WorkerId: fmt.Sprintf("w%d", i), Incarnation: "i1", Slots: int32(slots), Running: int32(slots), Serial: 1}, now)
	}
	for i := range questions {
		c.Ask(ask(i, workflows), now)
	}
	if c.Waiting() != questions {
		b.Fatalf("%d wait", c.Waiting())
	}
	b.ResetTimer()
	return c, now
}

func ask(i, workflows int) *messages.Place {
	return &messages.Place{
		RunId: fmt.Sprintf("run%d", i), Question: 1, Workflow: fmt.Sprintf("flow%d", i%workflows),
		Sticky: messages.Sticky_STICKY_SOFT, Steps: []string{"s1", "s2"}, ReadyUs: int64(i),
		ReplyAddress: "server", ReplyActorId: "run",
	}
}

// BenchmarkGrantWaiting frees one slot after the other under 100,000 waiting
// questions of 50 workflows; each grant is replaced by a new question.
func BenchmarkGrantWaiting(b *testing.B) {
	const workers, slots, questions, workflows = 1000, 10, 100_000, 50
	c, now := crowd(b, workers, slots, questions, workflows)
	serial, next := uint64(1), questions
	var seen []uint64
	for i := range b.N {
		now = now.Add(10 * time.Microsecond)
		serial++
		w := fmt.Sprintf("w%d", i%workers)
		out := c.Report(&messages.LoadReport{
			WorkerId: w, Incarnation: "i1", Slots: slots, Running: slots - 1, Serial: serial, GrantsSeen: seen,
		}, now)
		if len(out) != 1 {
			b.Fatalf("%d actions", len(out))
		}
		seen = append(seen[:0], out[0].(Answer).Placed.GrantId)
		c.Report(&messages.LoadReport{WorkerId: w, Incarnation: "i1", Slots: slots, Running: slots, Serial: serial, GrantsSeen: seen}, now)
		c.Ask(ask(next, workflows), now)
		next++
		if i%10_000 == 0 {
			c.Tick(now)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "grants/s")
}

// BenchmarkGrantAtOnce answers questions while all of 1,000 workers are open.
func BenchmarkGrantAtOnce(b *testing.B) {
	const workers, workflows = 1000, 50
	c, now := crowd(b, workers, 1_000_000, 0, workflows)
	for i := range workers {
		c.Report(&messages.LoadReport{WorkerId: fmt.Sprintf("w%d", i), Incarnation: "i1", Serial: 2}, now)
	}
	for i := range b.N {
		now = now.Add(10 * time.Microsecond)
		c.Ask(ask(i, workflows), now)
		if i%10_000 == 0 {
			c.Tick(now)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "grants/s")
}

// BenchmarkAskWaiting adds questions that nobody can take.
func BenchmarkAskWaiting(b *testing.B) {
	const workers, workflows = 1000, 50
	c, now := crowd(b, workers, 10, 100_000, workflows)
	for i := range b.N {
		c.Ask(ask(100_000+i%800_000, workflows), now)
	}
}

// BenchmarkGrantHeld answers questions that ask for a key while all of 20 workers
// are open, each of which holds 100 of 1,000 keys.
func BenchmarkGrantHeld(b *testing.B) {
	const workers, workflows = 20, 5
	c, now := crowd(b, workers, 1_000_000, 0, workflows)
	for i := range workers {
		r := &messages.LoadReport{WorkerId: fmt.Sprintf("w%d", i), Incarnation: "i1", Serial: 2}
		for k := range 100 {
			r.HeldKeys = append(r.HeldKeys, uint64((i*53+k*7)%1000))
		}
		slices.Sort(r.HeldKeys)
		c.Report(r, now)
	}
	b.ReportAllocs()
	for i := range b.N {
		now = now.Add(10 * time.Microsecond)
		q := ask(i, workflows)
		q.HeldKeys = []uint64{uint64(i % 1000)}
		c.Ask(q, now)
		if i%10_000 == 0 {
			c.Tick(now)
		}
	}
}
