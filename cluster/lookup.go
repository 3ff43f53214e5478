package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/remote"
	"github.com/limpetrun/limpet/messages"
)

const (
	// activatorActor answers Activate on each node.
	activatorActor = remote.ActivatorActor
	// resolveTry is how long one question to an owner may take.
	resolveTry = 400 * time.Millisecond
	// cacheEntriesMax bounds the cache of resolved identities.
	cacheEntriesMax = 100_000
)

// lookup is the library's IdentityLookup, and Resolve. The stock one waits 5 s
// for a dead owner, activates on whichever node is asked, and never purges its
// cache.
type lookup struct {
	node  *Node
	kinds map[string]Kind

	mu    sync.Mutex
	cache map[virtualActor]resolved
}

type virtualActor struct{ kind, identity string }

// resolved is good for as long as the owner is the same appearance of the
// same member.
type resolved struct {
	pid     *actor.PID
	ownerID string
}

var _ protocluster.IdentityLookup = (*lookup)(nil)

func newLookup(n *Node) *lookup {
	l := &lookup{node: n, kinds: map[string]Kind{}, cache: map[virtualActor]resolved{}}
	for _, k := range n.config.Kinds {
		l.kinds[k.Name] = k
	}
	return l
}

// Setup starts the actor that answers other nodes.
func (l *lookup) Setup(c *protocluster.Cluster, _ []string, _ bool) {
	props := actor.PropsFromFunc(l.receive)
	if _, err := c.ActorSystem.Root.SpawnNamed(props, activatorActor); err != nil {
		c.Logger().Error("the activator did not start", "error", err)
	}
}

// Shutdown forgets everything.
func (l *lookup) Shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.cache)
}

// Get is for the library's own calls; ours are Resolve and Call.
func (l *lookup) Get(ci *protocluster.ClusterIdentity) *actor.PID {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	pid, err := l.node.Resolve(ctx, ci.Kind, ci.Identity)
	if err != nil {
		return nil
	}
	return pid
}

// RemovePid forgets a resolved identity.
func (l *lookup) RemovePid(ci *protocluster.ClusterIdentity, pid *actor.PID) {
	l.evict(virtualActor{ci.Kind, ci.Identity}, pid)
}

func (l *lookup) evict(id virtualActor, pid *actor.PID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.cache[id]; ok && (pid == nil || r.pid.Equal(pid)) {
		delete(l.cache, id)
	}
}

func (l *lookup) cached(id virtualActor, owner Member) *actor.PID {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.cache[id]; ok && r.ownerID == owner.ID {
		return r.pid
	}
	return nil
}

func (l *lookup) keep(id virtualActor, owner Member, pid *actor.PID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.cache) >= cacheEntriesMax {
		for k := range l.cache {
			delete(l.cache, k)
			if len(l.cache) < cacheEntriesMax*3/4 {
				break
			}
		}
	}
	l.cache[id] = resolved{pid, owner.ID}
}

// viewChanged drops what has another owner now.
func (l *lookup) viewChanged(v *View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, r := range l.cache {
		if owner, ok := v.OwnerOf(id.kind, id.identity); !ok || owner.ID != r.ownerID {
			delete(l.cache, id)
		}
	}
}

// receive answers other nodes; it never waits.
func (l *lookup) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Activate:
		ctx.Respond(l.activate(m))
	case *messages.Ping:
		known := l.node.members.gossip.Knows
		ctx.Respond(&messages.Pong{Known: known(m.Name), There: slices.DeleteFunc(slices.Clone(m.Missing), func(name string) bool { return !known(name) }),
			HoldMs: ceilMs(l.node.members.leases.table.vouch(now(), m.Missing)), HasStore: l.node.members.filter.hasStore()})
	case *messages.LeaseAsk:
		if grant := l.node.members.leases.asked(m); grant != nil && ctx.Sender() != nil {
			ctx.Respond(grant)
		}
	case *messages.LeaseGrant:
		l.node.members.leases.granted(m)
	case *messages.DeclaredGone:
		l.node.heardVerdict(m, ctx.Sender())
	}
}

// ceilMs is a span in whole milliseconds, none of it lost.
func ceilMs(d time.Duration) int64 { return (d + time.Millisecond - 1).Milliseconds() }

// activate starts or finds the actor of an identity, if this node owns it.
func (l *lookup) activate(m *messages.Activate) *messages.ActivateReply {
	kind, ok := l.kinds[m.Kind]
	owner, found := l.node.View().OwnerOf(m.Kind, m.Identity)
	// Whoever asks may have an older or a newer view. Activating for whoever
	// asks would make two actors of one identity a matter of course.
	if !ok || !found || owner.Name != l.node.Self().Name {
		return &messages.ActivateReply{NotOwner: true}
	}
	pid, err := kind.Activate(m.Identity)
	if err != nil {
		return &messages.ActivateReply{Error: messages.ToFailure(err)}
	}
	return &messages.ActivateReply{Address: pid.Address, ActorId: pid.Id}
}

// Forget drops what Resolve remembers of an identity, whose actor has ended.
func (n *Node) Forget(kind, id string) { n.lookup.evict(virtualActor{kind, id}, nil) }

// Resolve returns the actor of an identity, which its owner starts if it does
// not run yet. It asks again in short tries, and at once when the view
// changes, until ctx ends: UNAVAILABLE then, with the last cause. An error of
// the kind's Activate is returned as it is, but UNAVAILABLE, which is tried
// again. It is for goroutines outside of
// actors: inside one it would stall the mailbox.
func (n *Node) Resolve(ctx context.Context, kind, id string) (*actor.PID, error) {
	key := virtualActor{kind, id}
	wait := backoff.Pauses{First: 5 * time.Millisecond, Most: 200 * time.Millisecond}
	for {
		view, changed := n.members.views.Watch()
		owner, ok := view.OwnerOf(kind, id)
		cause := "no server is in the view"
		if ok {
			if pid := n.lookup.cached(key, owner); pid != nil {
				return pid, nil
			}
			pid, final, err := n.lookup.ask(ctx, owner, key)
			if err == nil {
				n.lookup.keep(key, owner, pid)
				return pid, nil
			}
			if final {
				return nil, err
			}
			cause = err.Error()
		}
		if !n.waitForView(ctx, changed, wait.Next()) {
			return nil, messages.Errorf(messages.CodeUnavailable, "%s %q was not found: %s", kind, id, cause)
		}
	}
}

// ask is one try; final says that another one would end the same.
func (l *lookup) ask(ctx context.Context, owner Member, id virtualActor) (_ *actor.PID, final bool, _ error) {
	question := &messages.Activate{Kind: id.kind, Identity: id.identity}
	var answer *messages.ActivateReply
	if owner.Name == l.node.Self().Name {
		answer = l.activate(question)
	} else {
		reply, err := l.node.try(ctx, id, owner, actor.NewPID(owner.Address, activatorActor), question, resolveTry)
		if err != nil {
			return nil, false, messages.Errorf(messages.CodeUnavailable, "owner %s: %w", owner.Name, err)
		}
		var ok bool
		if answer, ok = reply.(*messages.ActivateReply); !ok {
			return nil, true, messages.Errorf(messages.CodeInternal, "owner %s answered with %T", owner.Name, reply)
		}
	}
	switch {
	case answer.NotOwner:
		return nil, false, messages.Errorf(messages.CodeUnavailable, "%s does not own it by its view, or has no such kind", owner.Name)
	case answer.Error != nil:
		err := messages.FromFailure(answer.Error)
		return nil, messages.CodeOf(err) != messages.CodeUnavailable, err
	}
	return actor.NewPID(answer.Address, answer.ActorId), false, nil
}

// waitForView waits for the next view, at most d; false if ctx ended or the
// node stopped first.
func (n *Node) waitForView(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-n.members.stopped:
		return false
	case <-changed:
	case <-t.C:
	}
	return true
}
