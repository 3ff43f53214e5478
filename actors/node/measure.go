package node

import (
	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// committed is told of each entry: it is counted, and the spans are made that end with
// it.
func (s *Server) committed(traces *tracing.Provider) func(*run.State, *messages.Entry) {
	tracer := traces.Tracer()
	if tracer == nil {
		return s.metrics.Committed
	}
	spans := &tracing.Runs{Tracer: tracer, ToWall: s.clock.ToWall}
	return func(state *run.State, entry *messages.Entry) {
		s.metrics.Committed(state, entry)
		spans.Committed(state, entry)
	}
}

// measure has the metrics ask the parts of the server, and count what the
// membership tells.
func (s *Server) measure(node *cluster.Node, placements *places.Places, traces *tracing.Provider) {
	s.metrics.Watch(metrics.Sources{
		RunsInMemory: s.host.ActiveRuns, AppendsWaiting: s.committer.Waiting, Panics: s.host.Panics, Refused: node.Refusals, IdentityFailures: node.IdentityFailures,
		ShardsOwned: func() int { return len(s.host.OwnedShards()) },
		Now:         s.clock.Now, ClockSteps: s.clock.Steps,
		Workers: s.roster.Workers, Pools: placements.Figures, Parked: s.host.Parked, Spans: traces.Figures,
	})
	s.roster.OnChange(s.metrics.WorkerChanged)
	owned := &ownedShards{name: node.Self().Name, moved: s.metrics.ShardsMoved}
	node.Subscribe(owned.viewChanged)
}

// ownedShards counts the shards that come to a server and go. Views come one after
// the other.
type ownedShards struct {
	name  string
	moved func(gained, lost int)
	has   [messages.Shards]bool
}

func (o *ownedShards) viewChanged(v *cluster.View) {
	gained, lost := 0, 0
	for shard := range o.has {
		m, ok := v.OwnerOfShard(shard)
		owns := ok && m.Name == o.name
		switch {
		case owns && !o.has[shard]:
			gained++
		case !owns && o.has[shard]:
			lost++
		}
		o.has[shard] = owns
	}
	if gained+lost > 0 {
		o.moved(gained, lost)
	}
}
