package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
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

	"github.com/limpetrun/limpet/messages"
)

const (
	// messageBytesMax of a batch on the wire. It has to be the same on both
	// sides: a batch over the receiver's limit ends the connection, which
	// looks like the death of the sender. Batches stay far below.
	messageBytesMax = 64 << 20
	// refusedPause is how long messages to an address that could not be
	// reached are dropped at once, before it is tried again.
	refusedPause = 50 * time.Millisecond
	connectTime  = 2 * time.Second
	flushTime    = 100 * time.Millisecond
)

// remoting carries messages between the actor systems of nodes, by the gRPC
// service and the batches of Proto.Actor's remote package. That package's own
// Remote is not started, for it cannot be in a process with two nodes without
// a data race, and: it panics on a port in use and on a message of a type that
// it does not know, blocks its writer for 2 s after a refused connection,
// queues without a bound, and does not let go of a peer that hangs.
//
// Messages between two nodes arrive in order or not at all. What cannot be
// delivered is answered with a DeadLetterResponse, if it can be known at all.
type remoting struct {
	system      *actor.ActorSystem
	log         *slog.Logger
	name        string
	known       acquaintances
	dial        func(context.Context, string) (net.Conn, error)
	credentials credentials.TransportCredentials
	listener    net.Listener
	server      *grpc.Server
	serving     sync.WaitGroup

	mu      sync.Mutex
	peers   map[string]*peer
	refused map[string]time.Time
	stopped bool
}

// acquaintances are the processes that this node has heard of by membership.
// Two that are connected and have not heard of each other missed something: a
// server was restarted, for example, and its seeds, if it has any, are dead.
type acquaintances interface {
	// knows says whether a process of the name is a live member.
	knows(name string) bool
	// introduce sees to it that this node and the process hear of each other,
	// if it is known where. It does not wait.
	introduce(name, address string)
	// broke says that a connection to or from a process has broken, or none
	// could be made to the address (then without a name). It does not wait.
	broke(name, address string)
	// met says that a process has connected to this one, or sends something. It is
	// quick.
	met(name string)
}

// strangerHeader is set by the accepting side of a connection that has not
// heard of the connecting one.
const strangerHeader = "limpet-stranger"

// startRemoting binds the listener before anything else, so that the address
// is known when the first PID is made. Connections wait until serve is called.
func startRemoting(system *actor.ActorSystem, cluster *protocluster.Cluster, c Config, known acquaintances) (*remoting, error) {
	listener, err := c.Listen(c.BindAddress)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, messages.Errorf(messages.CodeAddressInUse, "bind address %s is in use by another process", c.BindAddress)
	} else if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "bind address %s: %w", c.BindAddress, err)
	}
	r := &remoting{
		system: system, log: c.Logger, listener: listener, name: memberName(c.ID, c.Incarnation), known: known, dial: c.Dial,
		peers: map[string]*peer{}, refused: map[string]time.Time{},
	}
	var serverSide credentials.TransportCredentials
	if r.credentials, serverSide, err = transportCredentials(c.Secret); err != nil {
		_ = listener.Close()
		return nil, messages.Errorf(messages.CodeInternal, "deriving keys: %w", err)
	}
	system.ProcessRegistry.Address = advertised(listener.Addr().String(), c.AdvertiseHost)
	system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) { return remoteProcess{r}, true })
	// The member list needs it for its block list, which a member that comes
	// back is not on: it has a new id.
	cluster.Remote = remote.NewRemote(system, remote.Configure("", 0))

	r.server = grpc.NewServer(
		grpc.Creds(serverSide),
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

// serve takes connections. The actors that are known by name have to be there: a
// message to one that the library is about to spawn races with that, and may find
// it without a dispatcher, after which it never runs. Peers of an earlier process
// at this address do not wait to be asked.
func (r *remoting) serve() { r.serving.Go(func() { _ = r.server.Serve(r.listener) }) }

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
func (r *remoting) recovering(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a message of a peer panicked; its connection is closed", "method", info.FullMethod, "panic", p)
			err = status.Errorf(codes.Internal, "panic: %v", p)
		}
	}()
	return handler(srv, stream)
}

// send queues a message to an actor of another node.
func (r *remoting) send(target *actor.PID, header actor.ReadonlyMessageHeader, message any, sender *actor.PID) {
	m, ok := message.(proto.Message)
	if !ok {
		r.log.Error("a message that is not protobuf cannot go to another node", "type", fmt.Sprintf("%T", message), "to", target.Id)
		r.deadLetter(target, sender)
		return
	}
	// Marshalled here and not by the connection's goroutine: senders share the
	// work, and queues know their size.
	data, err := messages.Marshal(m)
	if err != nil || len(data) > messageBytesMax/2 {
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
		if p.enqueue(out) {
			return
		}
	}
}

// peer returns the connection to an address, a new one if there is none; nil
// if the address cannot be reached at the moment.
func (r *remoting) peer(address string) *peer {
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

// reached says that something came from an address: a connection to it that is
// still being made is made anew, for its packets may be lost, and the next ones
// come after a second and more.
func (r *remoting) reached(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.refused, address)
	if p, ok := r.peers[address]; ok {
		p.connectAnew()
	}
}

// forget takes a peer that ended out of the table.
func (r *remoting) forget(p *peer, unreachable bool) {
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
func (r *remoting) deadLetter(target, sender *actor.PID) {
	if sender != nil && sender.Address == r.system.Address() {
		r.system.Root.Send(sender, &actor.DeadLetterResponse{Target: target})
	}
}

// membersChanged ends the connections to members that are gone, which frees
// what hangs in them and tells watchers. A connection to a process that was
// started on the address of one that is gone stays: the ends of a connection
// tell each other their names.
func (r *remoting) membersChanged(old, new *View) {
	var gone []*peer
	addresses := map[string]bool{}
	for _, m := range new.Members {
		addresses[m.Address] = true
	}
	r.mu.Lock()
	for address := range addresses {
		delete(r.refused, address)
	}
	for address, until := range r.refused {
		if time.Now().After(until) {
			delete(r.refused, address)
		}
	}
	for _, m := range old.Members {
		if _, live := new.Member(m.Name); live {
			continue
		}
		p, ok := r.peers[m.Address]
		if name := p.processName(); ok && (name == m.Name || name == "" && !addresses[m.Address]) {
			delete(r.peers, m.Address)
			gone = append(gone, p)
		}
	}
	r.mu.Unlock()
	for _, p := range gone {
		p.end(errGone)
	}
}

// stop sends what is queued, as far as that is quick, and closes everything.
func (r *remoting) stop() {
	r.mu.Lock()
	r.stopped = true
	peers := make([]*peer, 0, len(r.peers))
	for _, p := range r.peers {
		peers = append(peers, p)
	}
	r.mu.Unlock()
	t := time.NewTimer(flushTime)
	defer t.Stop()
	for _, p := range peers {
		p.finish()
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

// remoteProcess stands for an actor of another node.
type remoteProcess struct{ r *remoting }

var _ actor.Process = remoteProcess{}

func (p remoteProcess) SendUserMessage(pid *actor.PID, message any) {
	header, m, sender := actor.UnwrapEnvelope(message)
	p.r.send(pid, header, m, sender)
}

func (p remoteProcess) SendSystemMessage(pid *actor.PID, message any) {
	switch m := message.(type) {
	case *actor.Watch:
		p.r.watch(m.Watcher, pid)
	case *actor.Unwatch:
		p.r.unwatch(m.Watcher, pid)
	}
	p.r.send(pid, nil, message, nil)
}

func (p remoteProcess) Stop(pid *actor.PID) { p.r.send(pid, nil, &actor.Stop{}, nil) }

// watch remembers who has to be told when the connection ends.
func (r *remoting) watch(watcher, watchee *actor.PID) {
	for {
		p := r.peer(watchee.Address)
		if p == nil {
			r.tellTerminated(watcher.Id, watchee, actor.TerminatedReason_AddressTerminated)
			return
		}
		if p.watch(watcher.Id, watchee) {
			return
		}
	}
}

func (r *remoting) unwatch(watcher, watchee *actor.PID) {
	r.mu.Lock()
	p, ok := r.peers[watchee.Address]
	r.mu.Unlock()
	if ok {
		p.unwatch(watcher.Id, watchee)
	}
}

func (r *remoting) tellTerminated(watcher string, who *actor.PID, why actor.TerminatedReason) {
	if process, ok := r.system.ProcessRegistry.GetLocal(watcher); ok {
		process.SendSystemMessage(r.system.NewLocalPID(watcher), &actor.Terminated{Who: who, Why: why})
	}
}
