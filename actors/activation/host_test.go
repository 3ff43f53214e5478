package activation

import (
	"strconv"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// A host that had many runs at once gives their room back (see package shrinkmap),
// and keeps those that are left.
func TestHostShrinks(t *testing.T) {
	h := NewHost(HostConfig{Facts: &script{}, Shards: messages.Shards, ShardOf: messages.Shard})
	const runs = 10_000
	for i := range runs {
		h.Handle(Want{RunID: strconv.Itoa(i)}, epoch)
	}
	for i := range runs - 10 {
		h.Handle(Retired{h.Active(strconv.Itoa(i))}, epoch)
		if h.Len() != runs-i-1 {
			t.Fatalf("%d activations are left of %d", h.Len(), runs-i-1)
		}
	}
	for i := runs - 10; i < runs; i++ {
		if h.Active(strconv.Itoa(i)) == nil {
			t.Errorf("activation %d is lost", i)
		}
	}
}

// What was set aside is forgotten when nothing has found it unreadable again for
// longer than all that looks for it takes.
func TestRunsAreNotSetAsideForEver(t *testing.T) {
	h := NewHost(HostConfig{Facts: &script{}, Shards: messages.Shards, ShardOf: messages.Shard})
	unreadable := messages.Errorf(messages.CodeRunSetAside, "it is of a later version")
	h.Handle(Failed{RunID: "gone", Err: unreadable}, epoch)
	late := epoch.Add(2*asideFor + 2*SweepTurn + 2*SweepTurnAlone)
	h.Handle(Failed{RunID: "still", Err: unreadable}, late.Add(-asideFor))
	h.sweepPart(0, late)
	if _, gone := h.aside["gone"]; gone || len(h.aside) != 1 {
		t.Errorf("%v are set aside, want what still cannot be read alone", h.aside)
	}
}
