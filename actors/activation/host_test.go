package activation

import (
	"strconv"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// A host that had many runs at once lets go of the room.
func TestHostShrinks(t *testing.T) {
	h := NewHost(HostConfig{Facts: &script{}, Shards: messages.Shards, ShardOf: messages.Shard})
	const runs = 2 * shrinkLeast
	for i := range runs {
		h.Handle(Want{RunID: strconv.Itoa(i)}, epoch)
	}
	made := 0
	for i := range runs - 10 {
		most := h.most
		h.Handle(Retired{h.Active(strconv.Itoa(i))}, epoch)
		if h.most < most {
			made++
		}
		if h.Len() != runs-i-1 {
			t.Fatalf("%d activations are left of %d", h.Len(), runs-i-1)
		}
	}
	if made != 1 {
		t.Errorf("the set was made anew %d times", made)
	}
	for i := runs - 10; i < runs; i++ {
		if h.Active(strconv.Itoa(i)) == nil {
			t.Errorf("activation %d is lost", i)
		}
	}
}
