package server

import (
	"context"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster"
)

// placementLinks sends to the placement actors of pools wherever they are.
// What is sent while a pool's actor is being resolved waits, in order. It is
// safe for concurrent use.
type placementLinks struct {
	node *cluster.Node

	mu    sync.Mutex
	pools map[string]*placementLink
}

type placementLink struct {
	owner     string
	pid       *actor.PID
	waiting   []proto.Message
	resolving bool
}

func newPlacementLinks(node *cluster.Node) *placementLinks {
	return &placementLinks{node: node, pools: map[string]*placementLink{}}
}

func (l *placementLinks) send(pool string, msg proto.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	link := l.pools[pool]
	if link == nil {
		link = &placementLink{}
		l.pools[pool] = link
	}
	if link.pid != nil {
		l.node.System().Root.Send(link.pid, msg)
		return
	}
	link.waiting = append(link.waiting, msg)
	if !link.resolving {
		link.resolving = true
		go l.resolve(pool, link)
	}
}

// resolveFor bounds one try to find a placement actor; questions are asked
// again by the runs.
const resolveFor = 10 * time.Second

func (l *placementLinks) resolve(pool string, link *placementLink) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveFor)
	defer cancel()
	pid, err := l.node.Resolve(ctx, cluster.KindPlacement, pool)
	l.mu.Lock()
	defer l.mu.Unlock()
	owner := l.owner(pool)
	if err == nil && pid.Address != owner.Address {
		// It moved meanwhile; viewChanged may have been told already.
		go l.resolve(pool, link)
		return
	}
	link.resolving = false
	waiting := link.waiting
	link.waiting = nil
	if err != nil {
		return
	}
	link.pid, link.owner = pid, owner.Name
	for _, msg := range waiting {
		l.node.System().Root.Send(pid, msg)
	}
}

func (l *placementLinks) owner(pool string) cluster.Member {
	m, _ := l.node.View().OwnerOf(cluster.KindPlacement, pool)
	return m
}

// reset forgets where a pool's actor is: a new one started.
func (l *placementLinks) reset(pool string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if link := l.pools[pool]; link != nil {
		link.pid = nil
	}
	l.node.Forget(cluster.KindPlacement, pool)
}

// viewChanged forgets the actors whose owner is another server now; true if
// there were some: what they were asked is to be asked again. The new one's word
// that it has started may have come before the view did.
func (l *placementLinks) viewChanged() (moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pool, link := range l.pools {
		if link.pid != nil && link.owner != l.owner(pool).Name {
			link.pid, moved = nil, true
		}
	}
	return moved
}
