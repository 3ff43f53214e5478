package server

import (
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// BenchmarkRosterFanOut tells 100,000 runs that their worker has gone; Watch
// goes on meanwhile.
func BenchmarkRosterFanOut(b *testing.B) {
	const runs = 100_000
	root := actor.NewActorSystem().Root
	heard := make(chan struct{}, runs)
	sink := root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*run.WorkerChanged); ok {
			heard <- struct{}{}
		}
	}))
	r := &Roster{root: root, news: newNewsroom(root), workers: map[string]*rosterWorker{}}
	go r.news.loop()
	defer r.news.close()
	w := r.worker("w1")
	for i := range runs {
		w.watchers[strconv.Itoa(i)] = sink
	}
	var locked time.Duration
	for b.Loop() {
		start := time.Now()
		r.mu.Lock()
		r.tell(w, run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: "w1"}, State: run.WorkerGone})
		r.mu.Unlock()
		locked += time.Since(start)
		for range runs {
			<-heard
		}
	}
	b.ReportMetric(float64(locked.Microseconds())/float64(b.N), "µs-locked/op")
}
