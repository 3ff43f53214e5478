package server

import (
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
)

// BenchmarkRosterFanOut tells 100,000 runs that their worker has gone; Watch goes
// on meanwhile.
func BenchmarkRosterFanOut(b *testing.B) {
	const runs = 100_000
	root := actor.NewActorSystem().Root
	heard := make(chan struct{}, runs)
	sink := root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*run.WorkerChanged); ok {
			heard <- struct{}{}
		}
	}))
	r := &Roster{core: roster.New[*actor.PID](roster.Config{})}
	r.news = &notifier{send: func(_ *actor.PID, n *run.WorkerChanged) { root.Send(sink, n) }}
	go r.news.run(b.Context())
	for i := range runs {
		r.Watch("w1", "", actor.NewPID("here", strconv.Itoa(i)))
	}
	view := []roster.Process{{WorkerID: "w1", Incarnation: "i1"}}
	var locked time.Duration
	for b.Loop() {
		start := time.Now()
		r.step(func(now time.Time) []roster.Action {
			// It vanishes before it has said who it is, which is news.
			r.core.ViewChanged(now, view)
			return r.core.ViewChanged(now, nil)
		})
		locked += time.Since(start)
		for range runs {
			<-heard
		}
	}
	b.ReportMetric(float64(locked.Microseconds())/float64(b.N), "µs-locked/op")
}
