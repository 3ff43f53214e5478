package messages

import "google.golang.org/protobuf/proto"

// SentBy notes in a message about an attempt or a run which worker sends it; empty for
// a server, or this process itself. The node that receives the message says so, by what
// the connection has proved, and overwrites what the sender says. A Result has the id
// of its worker in it, which the node compares.
func SentBy(m proto.Message, workerID string) {
	if by := senderOf(m); by != nil {
		*by = workerID
	}
}

// senderOf has a case for each message that says who sends it.
//
//gocyclo:ignore
func senderOf(m proto.Message) *string {
	switch m := m.(type) {
	case *Queued:
		return &m.FromWorker
	case *Started:
		return &m.FromWorker
	case *Progress:
		return &m.FromWorker
	case *SuspendAttempt:
		return &m.FromWorker
	case *Revoked:
		return &m.FromWorker
	case *DispatchRefused:
		return &m.FromWorker
	case *AttemptUnknown:
		return &m.FromWorker
	case *HandedOff:
		return &m.FromWorker
	case *SpawnChild:
		return &m.FromWorker
	case *RecordCall:
		return &m.FromWorker
	case *RecordedCalls:
		return &m.FromWorker
	case *AwaitCall:
		return &m.FromWorker
	case *SendSignal:
		return &m.FromWorker
	case *OpenStream:
		return &m.FromWorker
	case *WriteStream:
		return &m.FromWorker
	}
	return nil
}
