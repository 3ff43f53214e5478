package remote

import (
	"errors"
	"io"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

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
	name := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if name != "" {
				s.r.known.Broke(name, "")
			}
			return err
		}
		switch {
		case m.GetConnectRequest().GetServerConnection() != nil:
			name = m.GetConnectRequest().GetServerConnection().GetSystemId()
			s.r.known.Met(name)
			err = s.greet(stream, m.GetConnectRequest().GetServerConnection())
		case m.GetConnectRequest() != nil: // It asks whether what it sent has come.
			err = stream.Send(s.r.signature())
		case m.GetMessageBatch() != nil:
			s.r.known.Met(name)
			err = s.deliver(m.GetMessageBatch())
		}
		if err != nil {
			return err
		}
	}
}

// greet tells the peer the name of this process, and whether it has heard of the
// peer.
func (s receiver) greet(stream remote.Remoting_ReceiveServer, of *remote.ServerConnection) error {
	if header(stream, relayedByHeader) == "" {
		s.r.Reached(of.GetAddress())
	} else {
		s.r.doubt(of.GetAddress())
	}
	if !s.r.known.Knows(of.GetSystemId()) {
		s.r.known.Introduce(of.GetSystemId(), of.GetAddress())
		if err := stream.SetHeader(metadata.Pairs(strangerHeader, "1")); err != nil {
			return err
		}
	}
	return stream.Send(s.r.signature())
}

// signature is the name of this process, as an answer.
func (r *Remote) signature() *remote.RemoteMessage {
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectResponse{ConnectResponse: &remote.ConnectResponse{MemberId: r.name}}}
}

// deliver passes on the messages of a batch. One of a type that this process
// does not know, as a newer peer may send, is left out: the library panics,
// which ends the process.
func (s receiver) deliver(b *remote.MessageBatch) error {
	types := make([]protoreflect.MessageType, len(b.TypeNames))
	for i, name := range b.TypeNames {
		t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			s.r.log.Warn("a peer sent a message of an unknown type; it is dropped", "type", name)
			continue
		}
		types[i] = t
	}
	for _, e := range b.Envelopes {
		if !within(e.TypeId, len(types)) || !within(e.Target, len(b.Targets)) || !within(e.Sender, len(b.Senders)+1) {
			return status.Error(codes.InvalidArgument, "a batch that refers to what is not in it")
		}
		if e.SerializerId != 0 {
			return status.Errorf(codes.InvalidArgument, "serializer %d is not supported", e.SerializerId)
		}
		if types[e.TypeId] == nil {
			continue
		}
		m := types[e.TypeId].New().Interface()
		if err := messages.Unmarshal(e.MessageData, m); err != nil {
			s.r.refuse("a peer sent a message that cannot be read; it is dropped", b.TypeNames[e.TypeId], err)
			continue
		}
		if err := arrives(m); err != nil {
			s.r.refuse("a peer sent a message that may not be; it is dropped", b.TypeNames[e.TypeId], err)
			continue
		}
		var sender *actor.PID
		if e.Sender > 0 {
			sender = withRequest(b.Senders[e.Sender-1], e.SenderRequestId)
		}
		var header map[string]string
		if e.MessageHeader != nil {
			header = e.MessageHeader.HeaderData
		}
		s.r.deliver(withRequest(b.Targets[e.Target], e.TargetRequestId), header, m, sender)
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

// refuse counts a message that is dropped. A peer that sends many is not worth a
// line of the log for each.
func (r *Remote) refuse(what, typeName string, err error) {
	if n := r.dropped.Add(1); n&(n-1) == 0 {
		r.log.Warn(what, "type", typeName, "error", err, "dropped_so_far", n)
	}
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
