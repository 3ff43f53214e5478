package cluster

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/cluster/remote"
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
	config  Config
	system  *actor.ActorSystem
	cluster *protocluster.Cluster
	remote  *remote.Remote
	// certificates are nil for a node without identity.
	certificates *remote.Certificates
	members      *members
	lookup       *lookup
	// told is the newest view of which the library and the remote know.
	told *notify.Value[*View]
	// delay, paused and declaredGone are what this process noticed of itself.
	delay        gossip.SchedulingDelay
	paused       notify.Hooks[time.Duration]
	declaredGone notify.Hooks[Member]
	foreign      chan error

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
// ADDRESS_IN_USE, JOIN_FAILED, STORE_MISMATCH, SERVER_ID_TAKEN.
func Start(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	n := &Node{config: c, system: newSystem(c), told: notify.NewValue(NewView(0, nil)), foreign: make(chan error, 1)}
	if c.Identity != (IdentityFiles{}) {
		var err error
		self := identity.Member{Role: c.Role, ID: c.ID, Incarnation: c.Incarnation}
		if n.certificates, err = remote.LoadCertificates(c.Identity, self, c.Logger); err != nil {
			return nil, err
		}
	}
	key, err := remote.GossipKey(c.Secret)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "deriving keys: %w", err)
	}
	n.members = newMembers(c, gossip.Config{
		Self:    Member{Name: gossip.Name(c.ID, c.Incarnation), Role: c.Role},
		Address: c.GossipAddress, AdvertiseHost: c.AdvertiseHost, Seeds: c.Join, Key: key, Preset: c.Preset, Transport: c.Transport,
		Logger: c.Logger, Delay: &n.delay, Refused: n.Refused, Dial: c.Dial, Store: c.Store, Foreign: n.tellForeign,
	}, membersHooks{appeared: func(address string) { n.remote.Reached(address) }, published: n.publish, returned: n.tellReturned})
	if n.certificates != nil {
		n.members.proofs = newProofs(gossip.Name(c.ID, c.Incarnation), func(address string) { n.remote.Prove(address) }, n.members.gossip.Wake, n.certificates.Revokes)
	}
	n.lookup = newLookup(n)
	n.members.leases.send = func(to *actor.PID, m any) {
		n.system.Root.RequestWithCustomSender(to, m, actor.NewPID(n.system.Address(), activatorActor))
	}
	if c.Role == RoleServer && c.Heartbeats != nil {
		f := newVerdictFilter(n.members, c.Heartbeats, newPoller(n))
		n.members.filter = f
		n.OnPause(func(time.Duration) { f.recheck() })
		n.OnDeclaredGone(func(by Member) {
			if by.Role != RoleWorker {
				f.recheck()
			}
		})
	}
	n.cluster = protocluster.New(n.system, protocluster.Configure("limpet", provider{n}, n.lookup, nil, gossipOff))
	n.remote, err = remote.Start(n.system, n.cluster, remote.Config{
		Name: gossip.Name(c.ID, c.Incarnation), Role: c.Role, Anything: c.anything, BindAddress: c.BindAddress, AdvertiseHost: c.AdvertiseHost, Secret: c.Secret,
		Certificates: n.certificates, Logger: c.Logger, Listen: c.Listen, Dial: c.Dial, Known: n.members, Patience: 2 * c.Preset.ProbeTimeout,
	})
	if err != nil {
		return nil, err
	}
	if err := n.startMember(ctx); err != nil {
		n.remote.Stop()
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
	n.remote.Serve()
	if err := n.cluster.Config.ClusterProvider.StartMember(n.cluster); err != nil {
		return err
	}
	loops, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.told.Run(loops) })
	if n.certificates != nil {
		n.running.Go(func() { n.certificates.Follow(loops, n.members.gossip.Wake) })
	}
	n.members.leases.listens()
	n.running.Go(func() { n.members.leases.loop(loops) })
	if n.config.Role == RoleServer {
		n.running.Go(func() { n.members.gossip.KeepHearing(loops) })
	}
	err := n.members.checkID(ctx)
	if err == nil {
		err = n.members.join(ctx)
	}
	if err != nil {
		stop()
		n.members.shutdown()
		n.running.Wait()
		return err
	}
	n.rejoining = make(chan struct{})
	go func() {
		defer close(n.rejoining)
		n.members.gossip.KeepJoined(loops, n.members)
	}()
	if n.startsJoining() {
		n.members.filter.first(ctx)
		n.SetState(n.config.State)
	}
	n.running.Go(func() { n.members.filter.loop(loops) })
	started := time.Now()
	n.running.Go(func() { n.delay.Watch(loops, started, n.pauseLimit, n.paused.Call) })
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
		n.members.leave(timeout)
		n.close()
	})
	return nil
}

// Congested says that so much waits for the connection to an address that what is
// only repeated should not be sent now.
func (n *Node) Congested(address string) bool { return n.remote.Congested(address) }

// Kill stops the node as a crash would: nobody is told, not even what comes of calls
// that the stopping ends. It is for tests.
func (n *Node) Kill() {
	n.stopOnce.Do(func() {
		n.remote.Cut()
		n.stop()
		n.members.shutdown()
		n.close()
	})
}

func (n *Node) close() {
	n.running.Wait()
	n.remote.Stop()
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
func (n *Node) Self() Member { return n.members.gossip.Self() }

// View returns the newest view.
func (n *Node) View() *View { return n.members.views.Get() }

// Watch returns the newest view, and a channel that is closed when there is a
// newer one.
func (n *Node) Watch() (*View, <-chan struct{}) { return n.members.views.Watch() }

// Await returns the first view, from now on, that satisfies the condition, or
// ctx's cause. It is for goroutines outside of actors.
func (n *Node) Await(ctx context.Context, condition func(*View) bool) (*View, error) {
	return n.members.views.Await(ctx, condition)
}

// Foreign gives the error of a worker that has to end: servers of its store are
// gone, and it meets one of another store.
func (n *Node) Foreign() <-chan error { return n.foreign }

func (n *Node) tellForeign(err error) {
	select {
	case n.foreign <- err:
	default:
	}
}

// SetState gossips the state of this node; it may wait for up to a second
// until a packet with it was sent.
func (n *Node) SetState(s State) { n.members.setState(s) }

// Refusals is how often something of other nodes was refused, by why.
func (n *Node) Refusals(why Refusal) uint64 { return n.remote.Refused(why) }

// IdentityFailures is how often new files of the node's identity could not be used.
func (n *Node) IdentityFailures() uint64 {
	if n.certificates == nil {
		return 0
	}
	return n.certificates.Failures()
}

// Refuse counts what an actor of this node refuses, and logs it, seldom if there are
// many.
func (n *Node) Refuse(why Refusal, what string, attributes ...any) {
	n.remote.Refuse(why, what, attributes...)
}

// Detours is how many members this node sends to by another server, because it
// does not reach them itself.
func (n *Node) Detours() int { return n.remote.Detours() }

// CutOff says that this server reaches less of the cluster than others that
// live: it owns nothing until it reaches them again.
func (n *Node) CutOff() bool { return n.members.filter.isCutOff() }

// Subscribe calls f with the newest view, at once and after each change; views
// that another one follows at once may be left out. All subscribers are called
// on one goroutine, under no lock: f has to be quick, and must not call Stop.
// After cancel at most one call that is under way ends.
func (n *Node) Subscribe(f func(*View)) (cancel func()) { return n.told.Subscribe(f) }

// provider is the library's ClusterProvider on memberlist.
type provider struct{ node *Node }

var _ protocluster.ClusterProvider = provider{}

func (p provider) StartMember(*protocluster.Cluster) error {
	n := p.node
	self := Member{
		Name: gossip.Name(n.config.ID, n.config.Incarnation), Role: n.config.Role, State: n.config.State,
		WorkerID: n.config.ID, Incarnation: n.config.Incarnation, Pool: n.config.Pool, Address: n.system.Address(),
	}
	if n.startsJoining() {
		self.State = StateJoining
	}
	return n.members.start(self)
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
	n.tellRemote(old, new)
	n.lookup.viewChanged(new)
	n.told.Set(new)
}

// tellRemote ends the connections to members that have left.
func (n *Node) tellRemote(old, new *View) {
	addresses := map[string]bool{}
	for _, m := range new.Members {
		addresses[m.Address] = true
	}
	var left []remote.Process
	for _, m := range old.Members {
		if _, live := new.Member(m.Name); !live {
			left = append(left, remote.Process{Name: m.Name, Address: m.Address})
		}
	}
	n.remote.MembersChanged(addresses, left)
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
