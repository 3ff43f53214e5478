package remote

import (
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// A connection whose other end takes nothing is congested with the first bytes
// beyond a batch, takes messages up to its bound and none after that.
func TestOutboxIsBounded(t *testing.T) {
	p := &peer{box: newOutbox()}
	r := &Remote{peers: map[string]*peer{"a:1": p}}
	if r.Congested("a:1") || r.Congested("b:1") {
		t.Error("congested with nothing that waits")
	}
	data := make([]byte, 1<<20)
	for range batchBytesMax >> 20 {
		p.box.put(outgoing{data: data})
	}
	if !r.Congested("a:1") {
		t.Errorf("not congested with %d bytes", p.box.waiting())
	}
	n := 0
	for p.box.put(outgoing{data: data}) == queued {
		n++
	}
	if waits := p.box.waiting(); waits > messages.PeerQueueBytesMax+len(data)+outgoingBytes || waits < messages.PeerQueueBytesMax {
		t.Errorf("%d bytes wait, the most is %d and a message", waits, messages.PeerQueueBytesMax)
	}
	for {
		if batch, _ := p.box.take(); len(batch) == 0 {
			break
		}
	}
	if p.box.waiting() != 0 || r.Congested("a:1") {
		t.Errorf("%d bytes wait in an empty queue", p.box.waiting())
	}
}
