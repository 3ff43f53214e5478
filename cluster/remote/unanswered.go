package remote

import (
	"time"

	"github.com/asynkron/protoactor-go/remote"
)

const (
	// askFraction of the patience passes until it is asked whether what was sent has
	// come.
	askFraction = 3
	// askBytes of what was sent are asked about at once: what is kept under load costs
	// memory, and work for whoever frees it.
	askBytes = 256 << 10
	// unansweredBytesMax bounds what is kept to be sent again by another link.
	unansweredBytesMax = 2 * batchBytesMax
	// linkBytesPerSecond is what the slowest link carries that is not taken for cut.
	linkBytesPerSecond = 1 << 20
)

// question asks the other side for a sign that it has what was sent before.
var question = &remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{}}}

// silentAfter is how long an answer may take when so many bytes were sent.
func (r *Remote) silentAfter(bytes int) time.Duration {
	return 2*r.patience + time.Duration(bytes)*time.Second/linkBytesPerSecond
}

// unanswered are the batches of which it is not known that the other side has them.
type unanswered struct {
	batches []*remote.RemoteMessage
	sizes   []int
	bytes   int
	// asked of them, from the first one on, a question was sent after. asking: it was
	// not answered yet, and so there is no other: an answer does not say to which.
	asked  int
	asking bool
}

// add keeps a batch that is sent; it says whether it is the only one. The oldest are
// let go of beyond the bound.
func (u *unanswered) add(m *remote.RemoteMessage, size int) (first bool) {
	u.batches, u.sizes, u.bytes = append(u.batches, m), append(u.sizes, size), u.bytes+size
	for u.bytes > unansweredBytesMax && len(u.batches) > 1 {
		u.drop(1)
		u.asked = max(u.asked-1, 0)
	}
	return len(u.batches) == 1
}

// many says that it is time for a question, for so much is kept.
func (u *unanswered) many() bool { return !u.asking && u.bytes >= askBytes }

// ask notes that a question is sent.
func (u *unanswered) ask() { u.asked, u.asking = len(u.batches), true }

// linkEnded: a question that was sent by it is not answered any more.
func (u *unanswered) linkEnded() { u.asked, u.asking = 0, false }

// answered takes the answer to it.
func (u *unanswered) answered() {
	u.drop(u.asked)
	u.asked, u.asking = 0, false
}

func (u *unanswered) drop(n int) {
	for _, size := range u.sizes[:n] {
		u.bytes -= size
	}
	clear(u.batches[:n])
	u.batches, u.sizes = u.batches[n:], u.sizes[n:]
	if len(u.batches) == 0 {
		u.batches, u.sizes = nil, nil
	}
}
