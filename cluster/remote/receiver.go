package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

// receiver is the server of the remoting service: what other nodes send here.
type receiver struct {
	remote.UnimplementedRemotingServer
	r *Remote
}

// Receive takes the batches of one peer until it or this node ends.
func (s receiver) Receive(stream remote.Remoting_ReceiveServer) error {
	if to := header(stream, relayToHeader); to != "" {
		return s.r.relay(stream, to)
	}
	var by *Sender
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if by != nil {
				s.r.known.Broke(by.Name, "")
			}
			return err
		}
		switch {
		case m.GetConnectRequest().GetServerConnection() != nil:
			if by, err = s.r.introduced(stream, m.GetConnectRequest().GetServerConnection()); err == nil {
				s.r.known.Met(by.Name)
				err = s.greet(stream, by)
			}
		case m.GetConnectRequest() != nil: // It asks whether what it sent has come.
			err = stream.Send(s.r.signature())
		case by == nil:
			err = status.Error(codes.Unauthenticated, "say who you are before anything else")
		case m.GetMessageBatch() != nil:
			s.r.known.Met(by.Name)
			err = s.deliver(m.GetMessageBatch(), by)
		}
		if err != nil {
			return err
		}
	}
}

// introduced is who the process at the other end of a stream is: what it says, as far as
// its certificate lets it be that. A server that passes the stream on has checked it.
func (r *Remote) introduced(stream remote.Remoting_ReceiveServer, of *remote.ServerConnection) (*Sender, error) {
	by, err := sender(header(stream, roleHeader), of)
	if err == nil {
		err = r.admits(stream.Context(), by.Member, header(stream, relayedByHeader) != "")
	}
	if err != nil {
		r.refuseMember(addressOf(stream.Context()), err)
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	r.known.Proved(by.Name, by.Role)
	return by, nil
}

// admits says why the holder of a connection's certificate is not the member that it says.
func (r *Remote) admits(ctx context.Context, is identity.Member, passedOn bool) error {
	if r.certificates == nil {
		return nil
	}
	pattern := provedOf(ctx)
	switch {
	case pattern == nil:
		return fmt.Errorf("%s shows no certificate", is.URI())
	case passedOn && pattern.Role != identity.Server:
		return fmt.Errorf("%s passes on what %s says, which only servers may", pattern.URI(), is.URI())
	case !passedOn && !pattern.Admits(is.Role, is.ID):
		return fmt.Errorf("it says that it is %s, and its certificate is of %s", is.URI(), pattern.URI())
	}
	return r.certificates.Revokes(is)
}

// sender reads what a process says of itself.
func sender(role string, of *remote.ServerConnection) (*Sender, error) {
	id, incarnation, ok := strings.Cut(of.GetSystemId(), "~")
	by := &Sender{Member: identity.Member{Role: identity.Role(role), ID: id, Incarnation: incarnation}, Name: of.GetSystemId(), Address: of.GetAddress()}
	switch by.role = roleOf(by.Role); {
	case !ok || id == "" || incarnation == "" || by.Address == "":
		return nil, fmt.Errorf("%q at %q is not the name and the address of a process", of.GetSystemId(), of.GetAddress())
	case by.role == 0:
		return nil, fmt.Errorf("%s says that it is a %q, which is no role", of.GetSystemId(), role)
	}
	return by, nil
}

// refuseMember counts a process that is not let in.
func (r *Remote) refuseMember(from net.Addr, err error) {
	r.refuse(RefusedMember, "a process that connected is not let in", "from", from, "error", err)
}

// addressOf is where a stream comes from.
func addressOf(ctx context.Context) net.Addr {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}

// greet tells the peer the name of this process, and whether it has heard of the
// peer.
func (s receiver) greet(stream remote.Remoting_ReceiveServer, of *Sender) error {
	if header(stream, relayedByHeader) == "" {
		s.r.Reached(of.Address)
	} else {
		s.r.doubt(of.Address)
	}
	said := metadata.Pairs(roleHeader, string(s.r.role))
	if !s.r.known.Knows(of.Name) {
		s.r.known.Introduce(of.Name, of.Address)
		said.Append(strangerHeader, "1")
	}
	if err := stream.SetHeader(said); err != nil {
		return err
	}
	return stream.Send(s.r.signature())
}

// signature is the name of this process, as an answer.
func (r *Remote) signature() *remote.RemoteMessage {
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectResponse{ConnectResponse: &remote.ConnectResponse{MemberId: r.name}}}
}

// kind is a type of messages in a batch.
type kind struct {
	new   protoreflect.MessageType
	right right
}

// kinds looks up the types of a batch. One that this process does not know, as a newer
// peer may send, and one that nobody may send, are nil: their messages are dropped. The
// library would panic, which ends the process.
func (s receiver) kinds(names []string, by *Sender) []kind {
	kinds := make([]kind, len(names))
	for i, name := range names {
		t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			s.r.refuse(RefusedUnreadable, "a peer sent a message of an unknown type; it is dropped", "type", name, "from", by.Name)
			continue
		}
		if kinds[i].right = rights[name]; kinds[i].right.from == 0 && !s.r.anything {
			s.r.refuse(RefusedDenied, "a peer sent a message that nobody may send; it is dropped", "type", name, "from", by.Name)
			continue
		}
		kinds[i].new = t
	}
	return kinds
}

// deliver passes on the messages of a batch that may be.
func (s receiver) deliver(b *remote.MessageBatch, by *Sender) error {
	kinds := s.kinds(b.TypeNames, by)
	for _, e := range b.Envelopes {
		if !within(e.TypeId, len(kinds)) || !within(e.Target, len(b.Targets)) || !within(e.Sender, len(b.Senders)+1) {
			return status.Error(codes.InvalidArgument, "a batch that refers to what is not in it")
		}
		if e.SerializerId != 0 {
			return status.Errorf(codes.InvalidArgument, "serializer %d is not supported", e.SerializerId)
		}
		kind, target := &kinds[e.TypeId], b.Targets[e.Target]
		if kind.new == nil {
			continue
		}
		if !kind.right.mayReach(by, placeOf(target.GetId())) && !s.r.anything {
			s.r.refuse(RefusedDenied, "a peer sent a message that its role may not send, or not to that actor; it is dropped",
				"type", b.TypeNames[e.TypeId], "from", by.Name, "role", by.Role, "to", target.GetId())
			continue
		}
		m := kind.new.New().Interface()
		if err := messages.Unmarshal(e.MessageData, m); err != nil {
			s.r.refuse(RefusedUnreadable, "a peer sent a message that cannot be read; it is dropped", "type", b.TypeNames[e.TypeId], "from", by.Name, "error", err)
			continue
		}
		if err := arrives(m); err != nil {
			s.r.refuse(RefusedUnreadable, "a peer sent a message that may not be; it is dropped", "type", b.TypeNames[e.TypeId], "from", by.Name, "error", err)
			continue
		}
		var sender *actor.PID
		if e.Sender > 0 {
			sender = withRequest(b.Senders[e.Sender-1], e.SenderRequestId)
		}
		if err := kind.right.takes(m, sender, by); err != nil {
			s.r.refuse(RefusedForeign, "a peer sent a message in the name of another one; it is dropped", "type", b.TypeNames[e.TypeId], "from", by.Name, "error", err)
			continue
		}
		var header map[string]string
		if e.MessageHeader != nil {
			header = e.MessageHeader.HeaderData
		}
		s.r.deliver(withRequest(target, e.TargetRequestId), header, m, sender)
	}
	return nil
}

// arrives checks a message before an actor sees it.
func arrives(m proto.Message) error {
	switch m := m.(type) {
	case *actor.Watch:
		return named("the watcher", m.Watcher)
	case *actor.Unwatch:
		return named("the watcher", m.Watcher)
	case *actor.Terminated:
		return named("who ended", m.Who)
	}
	return messages.CheckFields(m)
}

func named(what string, pid *actor.PID) error {
	if pid.GetId() == "" || pid.GetAddress() == "" {
		return messages.Errorf(messages.CodeInvalidArgument, "%s is not named", what)
	}
	return nil
}

func within(i int32, n int) bool { return i >= 0 && int(i) < n }

func withRequest(pid *actor.PID, request uint32) *actor.PID {
	if request == 0 {
		return pid
	}
	return &actor.PID{Address: pid.Address, Id: pid.Id, RequestId: request}
}

// deliver gives a message to an actor of this node, by its id alone: the
// address is what the sender calls this node.
func (r *Remote) deliver(target *actor.PID, header map[string]string, m proto.Message, sender *actor.PID) {
	local, found := r.system.ProcessRegistry.GetLocal(target.Id)
	pid := &actor.PID{Address: r.system.Address(), Id: target.Id, RequestId: target.RequestId}
	switch t := m.(type) {
	case *actor.Terminated:
		// Only who still watches is told: the connection's end may have told
		// it already.
		if r.unwatched(pid.Id, t.Who) {
			local.SendSystemMessage(pid, t)
		}
	case actor.SystemMessage:
		local.SendSystemMessage(pid, m)
	default:
		if sender == nil && header == nil {
			local.SendUserMessage(pid, m)
			return
		}
		if _, answer := m.(*actor.DeadLetterResponse); !found && sender != nil && !answer {
			// The library's own answer does not say which actor was not there.
			r.system.Root.Send(sender, &actor.DeadLetterResponse{Target: target})
			return
		}
		local.SendUserMessage(pid, &actor.MessageEnvelope{Header: header, Message: m, Sender: sender})
	}
}

// unwatched removes a watch and says whether there was one.
func (r *Remote) unwatched(watcher string, watchee *actor.PID) bool {
	if watchee == nil {
		return false
	}
	r.mu.Lock()
	p, ok := r.peers[watchee.Address]
	r.mu.Unlock()
	return ok && p.box.unwatch(watcher, watchee)
}
