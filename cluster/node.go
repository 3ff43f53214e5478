package cluster

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"

	"github.com/limpetrun/limpet/messages"
)

const (
	// leaveTimeout is how long Stop waits for the news of its leaving to be
	// sent.
	leaveTimeout   = 400 * time.Millisecond
	rejoinStopTime = 200 * time.Millisecond
)

// Node is this process's membership of the cluster and its actor system. Its
// methods may be called concurrently.
type Node struct {
	config     Config
	system     *actor.ActorSystem
	cluster    *protocluster.Cluster
	remoting   *remoting
	membership *membership
	lookup     *lookup
	listeners  listeners
	pauses     pauses
	verdicts   hooks[Member]

	stopOnce sync.Once
	stop     context.CancelFunc
	running  sync.WaitGroup
	// rejoining is closed when the loop of that name has ended.
	rejoining chan struct{}
}

// Start listens and joins. It returns once the node listens and, if the
// configuration names members to join, one of them has answered; a server
// without them starts a cluster of its own.
//
// Errors: INVALID_ARGUMENT for the configuration, SECRET_REQUIRED,
// ADDRESS_IN_USE, JOIN_FAILED.
func Start(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	n := &Node{config: c}
	n.system = newSystem(c)
	n.membership = newMembership(c, &n.pauses.recent, n.publish, n.tellReturned)
	n.lookup = newLookup(n)
	n.membership.leases.send = func(to *actor.PID, m any) {
		n.system.Root.RequestWithCustomSender(to, m, actor.NewPID(n.system.Address(), activatorActor))
	}
	if c.Role == RoleServer && c.Heartbeats != nil {
		f := newVerdictFilter(n.membership, memberName(c.ID, c.Incarnation), c.Heartbeats, newPoller(n))
		n.membership.filter = f
		n.OnPause(func(time.Duration) { f.recheck() })
		n.OnDeclaredGone(func(by Member) {
			if by.Role != RoleWorker {
				f.recheck()
			}
		})
	}
	n.cluster = protocluster.New(n.system, protocluster.Configure("limpet", provider{n}, n.lookup, nil, gossipOff))
	var err error
	if n.remoting, err = startRemoting(n.system, n.cluster, c, n.membership); err != nil {
		return nil, err
	}
	n.membership.events.reached = n.remoting.reached
	if err := n.startMember(ctx); err != nil {
		n.remoting.stop()
		n.system.Shutdown()
		return nil, err
	}
	return n, nil
}

// startMember replaces the library's Cluster.StartMember, which panics when it
// cannot start, sleeps a second, and starts a gossip of its own beside
// memberlist's, which would block members that were paused.
func (n *Node) startMember(ctx context.Context) error {
	n.cluster.IdentityLookup = n.lookup
	if n.config.Prepare != nil {
		if err := n.config.Prepare(n); err != nil {
			return err
		}
	}
	n.lookup.Setup(n.cluster, nil, len(n.config.Kinds) == 0)
	n.remoting.serve()
	if err := n.cluster.Config.ClusterProvider.StartMember(n.cluster); err != nil {
		return err
	}
	loops, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.listeners.loop(loops, n.View) })
	n.membership.leases.listens()
	n.running.Go(func() { n.membership.leases.loop(loops) })
	if err := n.membership.join(ctx); err != nil {
		stop()
		n.membership.shutdown()
		n.running.Wait()
		return err
	}
	n.rejoining = make(chan struct{})
	go func() {
		defer close(n.rejoining)
		n.membership.rejoinLoop(loops)
	}()
	if n.startsJoining() {
		n.membership.filter.first(ctx)
		_ = n.SetState(n.config.State)
	}
	n.running.Go(func() { n.membership.filter.loop(loops) })
	started := time.Now()
	n.running.Go(func() { n.pauses.loop(loops, started, n.pauseLimit) })
	return nil
}

// startsJoining: the server is not ready before it has joined others, and has read
// the heartbeats of such that it was not told to join.
func (n *Node) startsJoining() bool {
	return n.config.Role == RoleServer && n.config.State == StateReady && (len(n.config.Join) > 0 || n.config.Heartbeats != nil)
}

// Stop leaves the cluster: it tells the others, which takes up to 400 ms, and
// closes what Start opened. It does not stop the actors of the system, which
// send and receive nothing any more. Calls after the first do nothing.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() {
		timeout := leaveTimeout
		if d, ok := ctx.Deadline(); ok {
			timeout = min(timeout, max(time.Until(d), time.Millisecond))
		}
		n.stop()
		n.membership.leave(timeout)
		n.close()
	})
	return nil
}

// Kill stops the node as a crash would: nobody is told. It is for tests.
func (n *Node) Kill() {
	n.stopOnce.Do(func() {
		n.stop()
		n.membership.shutdown()
		n.close()
	})
}

func (n *Node) close() {
	n.running.Wait()
	n.remoting.stop()
	// It may be in the middle of a connection that nobody answers, which
	// memberlist does not let go of before its timeout.
	t := time.NewTimer(rejoinStopTime)
	defer t.Stop()
	select {
	case <-n.rejoining:
	case <-t.C:
	}
	n.lookup.Shutdown()
	n.system.Shutdown()
}

// System returns the actor system.
func (n *Node) System() *actor.ActorSystem { return n.system }

// Self returns this node as it describes itself; ID is empty, for it is the
// observers' (see Member).
func (n *Node) Self() Member { return n.membership.Self() }

// View returns the newest view.
func (n *Node) View() *View { return n.membership.current.Load().view }

// Await returns the first view, from now on, that satisfies the condition, or
// ctx's cause. It is for goroutines outside of actors.
func (n *Node) Await(ctx context.Context, condition func(*View) bool) (*View, error) {
	for {
		state := n.membership.current.Load()
		if condition(state.view) {
			return state.view, nil
		}
		select {
		case <-state.changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// SetState gossips the state of this node; it may wait for up to a second
// until a packet with it was sent.
func (n *Node) SetState(s State) error { return n.membership.setState(s) }

// CutOff says that this server reaches less of the cluster than others that
// live: it owns nothing until it reaches them again.
func (n *Node) CutOff() bool { return n.membership.filter.isCutOff() }

// HostPID returns the actor that starts and watches the run on the server
// that owns it; false if there is no server.
func (n *Node) HostPID(runID string) (*actor.PID, bool) { return n.View().HostPID(runID) }

// Subscribe calls f with the newest view, at once and after each change; views
// that another one follows at once may be left out. All subscribers are called
// on one goroutine, under no lock: f has to be quick, and must not call Stop.
// After cancel at most one call that is under way ends.
func (n *Node) Subscribe(f func(*View)) (cancel func()) { return n.listeners.add(f) }

// listeners calls subscribers on a goroutine of its own, so that a slow one
// does not delay membership.
type listeners struct {
	mu     sync.Mutex
	signal chan struct{}
	order  []*listener
}

type listener struct {
	f    func(*View)
	seen *View
	gone atomic.Bool
}

func (l *listeners) channel() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.signal == nil {
		l.signal = make(chan struct{}, 1)
	}
	return l.signal
}

func (l *listeners) wake() {
	select {
	case l.channel() <- struct{}{}:
	default:
	}
}

func (l *listeners) add(f func(*View)) (cancel func()) {
	sub := &listener{f: f}
	l.mu.Lock()
	l.order = append(l.order, sub)
	l.mu.Unlock()
	l.wake()
	return func() {
		if sub.gone.Swap(true) {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, s := range l.order {
			if s == sub {
				l.order = append(l.order[:i:i], l.order[i+1:]...)
				return
			}
		}
	}
}

func (l *listeners) loop(ctx context.Context, newest func() *View) {
	signal := l.channel()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signal:
		}
		l.mu.Lock()
		subs := l.order[:len(l.order):len(l.order)]
		l.mu.Unlock()
		for _, sub := range subs {
			if view := newest(); sub.seen != view && !sub.gone.Load() {
				sub.seen = view
				sub.f(view)
			}
		}
	}
}

// provider is the library's ClusterProvider on memberlist.
type provider struct{ node *Node }

var _ protocluster.ClusterProvider = provider{}

func (p provider) StartMember(*protocluster.Cluster) error {
	n := p.node
	self := Member{
		Name: memberName(n.config.ID, n.config.Incarnation), Role: n.config.Role, State: n.config.State,
		WorkerID: n.config.ID, Incarnation: n.config.Incarnation, Pool: n.config.Pool, Address: n.system.Address(),
	}
	if n.startsJoining() {
		self.State = StateJoining
	}
	meta, err := encodeMeta(self)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "node configuration: %w", err)
	}
	// memberlist panics on more.
	if len(meta) > metaBytesMax {
		return messages.Errorf(messages.CodeInvalidArgument, "pool %q and address %q together do not fit into the %d bytes that a member gossips", self.Pool, self.Address, metaBytesMax)
	}
	return n.membership.start(self)
}

func (p provider) StartClient(c *protocluster.Cluster) error { return p.StartMember(c) }

func (p provider) Shutdown(graceful bool) error {
	if graceful {
		return p.node.Stop(context.Background())
	}
	p.node.Kill()
	return nil
}

// publish tells the library and then the subscribers of a new view, which
// View already returns: the library tells actors of ended connections before
// it tells of the new topology, and they must not resolve by the old one.
func (n *Node) publish(old, new *View) {
	members := make(protocluster.Members, 0, len(new.Members))
	for _, m := range new.Members {
		members = append(members, topologyMember(m))
	}
	n.cluster.MemberList.UpdateClusterTopology(members)
	n.tellServers(old, new)
	n.remoting.membersChanged(old, new)
	n.lookup.viewChanged(new)
	n.listeners.wake()
}

// tellServers logs that the last server left the view, and that one is back:
// whoever looks at the log wonders why nothing goes on.
func (n *Node) tellServers(old, new *View) {
	had, has := len(old.servers) > 0, len(new.servers) > 0
	switch {
	case had && !has:
		n.config.Logger.Warn("no server is in view any more; looking for one", "join", n.config.Join)
	case has && !had && old.Version > 1:
		n.config.Logger.Info("a server is in view", "server", new.servers[0].WorkerID)
	}
}

// gossipOff switches the library's own gossip off for the case that somebody
// starts it: zero panics. Membership comes from memberlist only.
func gossipOff(c *protocluster.Config) {
	c.GossipInterval = 8760 * time.Hour
}

// newSystem makes an actor system whose generated ids are new to this process:
// they name the futures and actors that replies go to, and a process that was
// restarted on the same address must not take the replies to its predecessor
// for its own.
func newSystem(c Config) *actor.ActorSystem {
	system := actor.NewActorSystem(actor.WithLoggerFactory(libraryLogger(c.Logger)))
	system.ProcessRegistry.SequenceID = rand.Uint64() >> 8
	return system
}
