// Package remote carries messages between the actor systems of nodes, by the gRPC
// service and the batches of Proto.Actor's remote package. It knows nothing of
// membership but what Acquaintances tells it.
//
// Data flow: message for another node → the peer of its address → its outbox → batch
// → link (one connection, to the other node or to a server that passes on) → the
// receiver of the other node → actor.
//
// # What holds
//
//   - W1. By one link messages arrive in order or not at all. When another link is
//     used instead, what may have been lost is sent again: it may come twice.
//   - W2. A message that cannot be delivered is answered with a DeadLetterResponse,
//     if that can be known at all. A lost one is not reported in general.
//   - W3. When a peer ends, everything that is queued for it is answered as a dead
//     letter, and every watcher of an actor behind it gets Terminated.
//   - W4. Nothing that a peer sends ends the process. Each message is checked by
//     messages.CheckFields before an actor sees it.
//   - W7. Who connects says first who it is. Each message is bound to that: the table of
//     rights says which types the role may send to which actors, and what a message says
//     of its sender is true. All else is dropped, and counted.
//   - W5. Each peer's queue is bounded in bytes.
//   - W6. A cut between two nodes holds up what one sends to the other for 3 times
//     Config.Patience at most, if both reach one other server; a question and its
//     answer for 4 times.
//
// # Cuts
//
// A network may lose all packets between two nodes while each of them reaches the
// others. Membership does not notice, and should not: both live.
//
//   - A peer asks the other side for a sign that it has what was sent, a third of the
//     patience after it was sent. A link that is idle carries no questions.
//   - A link that gives no sign for twice the patience is suspected. A cut breaks
//     connections both ways, also if it loses packets only one way, so each side
//     finds it out by itself. A side whose link was idle suspects it once the other
//     one comes by a server: its answer would wait as long again.
//   - Of a suspected link it is found out whether the system of the other side accepts
//     a connection. If it does there is no cut, but a process that is frozen or has too
//     much to do: the link stays as it is, and so does what waits. Nothing more is
//     asked of such a process, for each try would give it more to do.
//   - Where no connection is accepted within the patience, other servers are asked to
//     pass on, and the first by which the other side itself answers is used.
//   - The patience is stretched where this process itself gets too little of the
//     processors.
//   - The direct way is tried again all the time that another one is used, and is
//     used again once it is there.
//   - A server passes on to members, in one hop, RelaysMax streams at most. It keeps
//     nothing: what the one end does not take is not taken from the other. The
//     receiver checks messages as any others (W4). Who may speak to a server may
//     speak to a member too, so nobody gains rights by it.
//   - Where a connection is refused nobody listens, and no other way is sought.
//
// # Why not the library's own Remote
//
// It cannot be started in a process with two nodes without a data race. It panics
// on a port in use and on a message of a type that it does not know. It blocks its
// writer for 2 s after a refused connection, queues without a bound, and does not
// let go of a peer that hangs.
//
// # Locks
//
// Remote.mu guards the table of peers, outbox.mu what is queued for one of them, and
// link.mu its connection. The last two know neither peer nor table, so their locks
// are always the inner ones.
//
// Imports only identity and messages.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

const (
	// messageBytesMax of a batch on the wire. It has to be the same on both
	// sides: a batch over the receiver's limit ends the connection, which
	// looks like the death of the sender. Batches stay far below.
	messageBytesMax = 64 << 20
	// MessageBytesMax limits a message to another node.
	MessageBytesMax = messageBytesMax / 2
	// refusedPause is how long messages to an address that could not be
	// reached are dropped at once, before it is tried again.
	refusedPause = 50 * time.Millisecond
	connectTime  = 2 * time.Second
	flushTime    = 100 * time.Millisecond
)

// Config of a node's Remote. Every field is required but AdvertiseHost, Secret,
// Certificates and Anything.
type Config struct {
	// Name of this process, and what it is.
	Name string
	Role identity.Role
	// BindAddress to listen at, host:port, and the host that others reach it by if
	// that is another one.
	BindAddress, AdvertiseHost string
	// Secret of the cluster, which each end of a connection proves to have, and the
	// Certificates by which it proves who it is. Without both connections are in plain
	// text.
	Secret       string
	Certificates *Certificates
	Logger       *slog.Logger
	Listen       func(address string) (net.Listener, error)
	Dial         func(ctx context.Context, address string) (net.Conn, error)
	Known        Acquaintances
	// Patience is how long a process on the direct way has to answer before others
	// are tried beside it.
	Patience time.Duration
	// Anything lets all members send each other everything. It is for tests with actors
	// of their own.
	Anything bool
}

// Remote is the connections of a node. Its methods may be called concurrently.
type Remote struct {
	system       *actor.ActorSystem
	log          *slog.Logger
	name         string
	known        Acquaintances
	patience     time.Duration
	dial         func(context.Context, string) (net.Conn, error)
	credentials  credentials.TransportCredentials
	listener     net.Listener
	server       *grpc.Server
	serving      sync.WaitGroup
	role         identity.Role
	certificates *Certificates
	refusals     refusals
	// anything lets everybody send everything: see Config.
	anything bool
	// relaying counts the streams that this node passes on, detours the links of its
	// own that another one does.
	relaying, detours atomic.Int64

	mu      sync.Mutex
	peers   map[string]*peer
	refused map[string]time.Time
	stopped bool
}

// Acquaintances are the processes that this node has heard of by membership.
// Two that are connected and have not heard of each other missed something: a
// server was restarted, for example, and its seeds, if it has any, are dead.
type Acquaintances interface {
	// Knows says whether a process of the name is a live member.
	Knows(name string) bool
	// Introduce sees to it that this node and the process hear of each other,
	// if it is known where. It does not wait.
	Introduce(name, address string)
	// Broke says that a connection to or from a process has broken, or none
	// could be made to the address (then without a name). It does not wait.
	Broke(name, address string)
	// Met says that a process has connected to this one, or sends something. It is
	// quick.
	Met(name string)
	// Relays names the member at an address, and the addresses of servers that may
	// pass on what this node has for it. None if no member is there.
	Relays(address string) (name string, servers []string)
	// Proved says that a process has proved on a connection what it is.
	Proved(name string, role identity.Role)
	// PassesOn says that this node passes on what others have for an address: it is
	// a server, and a member is there.
	PassesOn(address string) bool
}

// strangerHeader is set by the accepting side of a connection that has not
// heard of the connecting one.
const strangerHeader = "limpet-stranger"

// Start binds the listener, so that the address is known when the first PID is
// made. Connections wait until Serve is called.
//
// Errors: ADDRESS_IN_USE, INVALID_ARGUMENT.
func Start(system *actor.ActorSystem, cluster *protocluster.Cluster, c Config) (*Remote, error) {
	listener, err := c.Listen(c.BindAddress)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, messages.Errorf(messages.CodeAddressInUse, "bind address %s is in use by another process", c.BindAddress)
	} else if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "bind address %s: %w", c.BindAddress, err)
	}
	r := &Remote{
		system: system, log: c.Logger, listener: listener, name: c.Name, role: c.Role, certificates: c.Certificates, anything: c.Anything, known: c.Known, patience: c.Patience, dial: c.Dial,
		peers: map[string]*peer{}, refused: map[string]time.Time{},
	}
	if r.credentials, err = newMembers(c, r.refuseMember); err != nil {
		_ = listener.Close()
		return nil, messages.Errorf(messages.CodeInternal, "deriving keys: %w", err)
	}
	system.ProcessRegistry.Address = advertised(listener.Addr().String(), c.AdvertiseHost)
	system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) { return remoteProcess{r}, true })
	// The member list needs it for its block list, which a member that comes
	// back is not on: it has a new id.
	cluster.Remote = remote.NewRemote(system, remote.Configure("", 0))

	r.server = grpc.NewServer(
		grpc.Creds(r.credentials), grpc.ConnectionTimeout(2*handshakeTime),
		grpc.MaxRecvMsgSize(messageBytesMax), grpc.MaxSendMsgSize(messageBytesMax),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(4<<20),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.ChainStreamInterceptor(r.recovering),
	)
	remote.RegisterRemotingServer(r.server, receiver{r: r})
	return r, nil
}

// Serve takes connections. The actors that are known by name have to be there: a
// message to one that the library is about to spawn races with that, and may find
// it without a dispatcher, after which it never runs. Peers of an earlier process
// at this address do not wait to be asked.
func (r *Remote) Serve() { r.serving.Go(func() { _ = r.server.Serve(r.listener) }) }

func advertised(bound, host string) string {
	if host == "" {
		return bound
	}
	_, port, err := net.SplitHostPort(bound)
	if err != nil {
		return bound
	}
	return net.JoinHostPort(host, port)
}

// recovering keeps a message that nobody foresaw from ending the process.
func (r *Remote) recovering(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a message of a peer panicked; its connection is closed", "method", info.FullMethod, "panic", p)
			err = status.Errorf(codes.Internal, "panic: %v", p)
		}
	}()
	return handler(srv, stream)
}

// send queues a message to an actor of another node.
func (r *Remote) send(target *actor.PID, header actor.ReadonlyMessageHeader, message any, sender *actor.PID) {
	m, ok := message.(proto.Message)
	if !ok {
		r.log.Error("a message that is not protobuf cannot go to another node", "type", fmt.Sprintf("%T", message), "to", target.Id)
		r.deadLetter(target, sender)
		return
	}
	// Marshalled here and not by the connection's goroutine: senders share the
	// work, and queues know their size.
	data, err := messages.Marshal(m)
	if err != nil || len(data) > MessageBytesMax {
		r.log.Error("a message cannot be sent to another node", "type", string(proto.MessageName(m)), "bytes", len(data), "error", err)
		r.deadLetter(target, sender)
		return
	}
	out := outgoing{data: data, typeName: string(proto.MessageName(m)), target: target, sender: sender}
	if header != nil && header.Length() > 0 {
		out.header = header.ToMap()
	}
	for {
		p := r.peer(target.Address)
		if p == nil {
			r.deadLetter(target, sender)
			return
		}
		switch p.enqueue(out) {
		case ended:
			continue
		case full:
			r.log.Warn("the queue to a peer is full; a message is dropped", "peer", p.address, "bytes_max", messages.PeerQueueBytesMax)
			r.deadLetter(target, sender)
		}
		return
	}
}

// Congested says that more waits for the connection to an address than the next
// batch takes. Whoever would only repeat something leaves that for later: the
// first copy may be among what waits.
func (r *Remote) Congested(address string) bool {
	r.mu.Lock()
	p := r.peers[address]
	r.mu.Unlock()
	return p != nil && p.box.waiting() > batchBytesMax
}

// peer returns the connection to an address, a new one if there is none; nil
// if the address cannot be reached at the moment.
func (r *Remote) peer(address string) *peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil
	}
	if p, ok := r.peers[address]; ok {
		return p
	}
	if until, ok := r.refused[address]; ok {
		if time.Now().Before(until) {
			return nil
		}
		delete(r.refused, address)
	}
	p := newPeer(r, address)
	r.peers[address] = p
	return p
}

// Refused is how often something of other nodes was refused, by why.
func (r *Remote) Refused(why Refusal) uint64 { return r.refusals[why].Load() }

// Refuse counts what an actor of this node refuses.
func (r *Remote) Refuse(why Refusal, what string, attributes ...any) {
	r.refuse(why, what, attributes...)
}

func (r *Remote) refuse(why Refusal, what string, attributes ...any) {
	r.refusals.count(why, r.log, what, attributes...)
}

// Detours is to how many addresses messages go by a server.
func (r *Remote) Detours() int { return int(r.detours.Load()) }

// Relaying is how many streams between others this node passes on.
func (r *Remote) Relaying() int { return int(r.relaying.Load()) }

// Reached says that something came from an address: a connection to it that is
// still being made is made anew, for its packets may be lost, and the next ones
// come after a second and more.
func (r *Remote) Reached(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.refused, address)
	if p, ok := r.peers[address]; ok {
		p.connectAnew()
	}
}

// doubt says that the process at an address has found no direct way to this one: that
// from here is cut too.
func (r *Remote) doubt(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.peers[address]; ok {
		p.doubt()
	}
}

// Prove has whoever is at an address prove what it is: Acquaintances hear of it. It does
// not wait.
func (r *Remote) Prove(address string) {
	go func() {
		p := r.peer(address)
		if p == nil {
			return
		}
		if name, role := p.box.process(); name != "" {
			r.known.Proved(name, role)
		}
	}()
}

// forget takes a peer that ended out of the table.
func (r *Remote) forget(p *peer, unreachable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers[p.address] != p {
		return
	}
	delete(r.peers, p.address)
	if unreachable {
		r.refused[p.address] = time.Now().Add(refusedPause)
	}
}

// deadLetter tells the sender of a message that it was not delivered.
func (r *Remote) deadLetter(target, sender *actor.PID) {
	if sender != nil && sender.Address == r.system.Address() {
		r.system.Root.Send(sender, &actor.DeadLetterResponse{Target: target})
	}
}

// Process is one that other nodes run, by its name and the address of its actors.
type Process struct{ Name, Address string }

// MembersChanged takes the addresses of all members and the processes that have
// left. It ends the connections to those, which frees what hangs in them and tells
// watchers. A connection to a process that was started on the address of one that
// is gone stays: the ends of a connection tell each other their names.
func (r *Remote) MembersChanged(addresses map[string]bool, left []Process) {
	var gone []*peer
	r.mu.Lock()
	for address := range addresses {
		delete(r.refused, address)
	}
	for address, until := range r.refused {
		if time.Now().After(until) {
			delete(r.refused, address)
		}
	}
	for _, m := range left {
		p, ok := r.peers[m.Address]
		if !ok {
			continue
		}
		if name := p.box.processName(); name == m.Name || name == "" && !addresses[m.Address] {
			delete(r.peers, m.Address)
			gone = append(gone, p)
		}
	}
	r.mu.Unlock()
	for _, p := range gone {
		p.end(errGone)
	}
}

// Cut ends all sending at once, as a crash would: what is queued is lost. Stop closes
// the rest.
func (r *Remote) Cut() {
	for _, p := range r.endSending() {
		p.cancel(errStopped)
	}
}

// endSending takes nothing more to send, and returns the peers.
func (r *Remote) endSending() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return slices.Collect(maps.Values(r.peers))
}

// Stop sends what is queued, as far as that is quick, and closes everything.
func (r *Remote) Stop() {
	peers := r.endSending()
	t := time.NewTimer(flushTime)
	defer t.Stop()
	for _, p := range peers {
		p.box.finish()
	}
	expired := false
	for _, p := range peers {
		if !expired {
			select {
			case <-p.done:
			case <-t.C:
				expired = true
			}
		}
		p.cancel(errStopped)
		<-p.done
	}
	r.server.Stop()
	_ = r.listener.Close() // if nobody has served it
	r.serving.Wait()
}
