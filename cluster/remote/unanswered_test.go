package remote

import (
	"testing"

	"github.com/asynkron/protoactor-go/remote"
)

// What came after the question stays when it is answered.
func TestAnAnswerIsToWhatWasAsked(t *testing.T) {
	var u unanswered
	var batches []*remote.RemoteMessage
	add := func(size int) bool {
		m := &remote.RemoteMessage{}
		batches = append(batches, m)
		return u.add(m, size)
	}
	if !add(10) || add(20) {
		t.Fatal("the first batch is the first alone")
	}
	u.ask()
	add(30)
	u.answered()
	if len(u.batches) != 1 || u.batches[0] != batches[2] || u.bytes != 30 {
		t.Fatalf("%d batches of %d bytes are left", len(u.batches), u.bytes)
	}
	u.answered()
	if len(u.batches) != 1 {
		t.Fatal("an answer that nobody asked for is taken for one")
	}
	u.ask()
	u.answered()
	if len(u.batches) != 0 || u.bytes != 0 || !add(1) {
		t.Fatal("something is left")
	}
}

// What is kept is bounded: the oldest goes, also out of what was asked about.
func TestWhatIsUnansweredIsBounded(t *testing.T) {
	var u unanswered
	large, last := &remote.RemoteMessage{}, &remote.RemoteMessage{}
	for range 3 {
		u.add(large, unansweredBytesMax/2)
	}
	if len(u.batches) != 2 || u.bytes != unansweredBytesMax {
		t.Fatalf("%d batches of %d bytes are kept", len(u.batches), u.bytes)
	}
	u.ask()
	u.add(last, 1)
	u.answered()
	if len(u.batches) != 1 || u.batches[0] != last || u.bytes != 1 {
		t.Fatalf("%d batches of %d bytes are left", len(u.batches), u.bytes)
	}
	u.add(large, 2*unansweredBytesMax)
	if len(u.batches) != 1 || u.batches[0] != large {
		t.Fatal("a batch over the bound is not kept alone")
	}
}

// Much is asked about at once, by one question at a time: an answer to an earlier one
// says nothing of what was sent after that.
func TestMuchIsAskedAboutAtOnce(t *testing.T) {
	var u unanswered
	m := &remote.RemoteMessage{}
	if u.add(m, askBytes-1); u.many() {
		t.Fatal("a question, and there is little to ask about")
	}
	if u.add(m, 1); !u.many() {
		t.Fatal("no question, and there is much to ask about")
	}
	u.ask()
	u.add(m, 2*unansweredBytesMax) // so that what was asked about is let go of
	if u.many() {
		t.Fatal("a second question before the first is answered")
	}
	u.answered()
	if len(u.batches) != 1 || !u.many() {
		t.Fatalf("%d batches are left, of those that no question was about; asked about: %v", len(u.batches), u.many())
	}
	u.ask()
	if u.linkEnded(); len(u.batches) != 1 || !u.many() {
		t.Fatal("the next link does not ask for what the last one sent")
	}
}
