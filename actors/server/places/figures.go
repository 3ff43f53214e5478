package places

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Figures are the counts of one pool, for who watches it.
type Figures struct {
	Pool string
	placement.Figures
	// Workers that are there, as they have reported last.
	Workers []*messages.LoadReport
}

// figuresWithin bounds the question to one placement.
const figuresWithin = time.Second

// askFigures is the question; its answer is placement.Figures.
type askFigures struct{}

// Figures are the counts of the pools that are placed on this server, by name. A
// placement that does not answer within a second is left out.
func (p *Places) Figures() []Figures {
	p.mu.Lock()
	active := maps.Clone(p.active)
	p.mu.Unlock()
	var mu sync.Mutex
	var all []Figures
	var asking sync.WaitGroup
	for pool, pid := range active {
		asking.Go(func() {
			f, ok := p.ask(pid)
			if !ok {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, Figures{Pool: pool, Figures: f, Workers: p.loads(pool)})
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b Figures) int { return strings.Compare(a.Pool, b.Pool) })
	return all
}

// ask asks one placement.
func (p *Places) ask(pid *actor.PID) (placement.Figures, bool) {
	answer, err := p.deps.Node.System().Root.RequestFuture(pid, askFigures{}, figuresWithin).Result()
	f, ok := answer.(placement.Figures)
	return f, ok && err == nil
}

// loads are the last reports of the workers of a pool, but of those that have
// gone.
func (p *Places) loads(pool string) []*messages.LoadReport {
	var out []*messages.LoadReport
	for _, w := range p.deps.Roster.Workers() {
		if w.Load != nil && w.State != run.WorkerGone && messages.EffectivePool(w.Load.GetPool()) == pool {
			out = append(out, w.Load)
		}
	}
	return out
}
