package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// A placement that gets reports renews that also while there is no room for
// another one, and one that has not asked for long gives its place up.
func TestSummonsAreRenewed(t *testing.T) {
	r := newReporter(nil)
	now := time.Unix(0, 0)
	pid := func(i int) *actor.PID { return actor.NewPID("server", fmt.Sprint("placement-", i)) }
	for i := range othersMax {
		if !r.summoned(pid(i), now) {
			t.Fatalf("placement %d of %d is turned away", i, othersMax)
		}
	}
	if r.summoned(pid(othersMax), now) {
		t.Errorf("%d placements get reports, the most is %d", len(r.others), othersMax)
	}
	now = now.Add(summonedFor - time.Second)
	if !r.summoned(pid(3), now) || !r.others[pid(3).String()].until.Equal(now.Add(summonedFor)) {
		t.Error("a placement that is known cannot renew")
	}
	now = now.Add(2 * time.Second)
	if !r.summoned(pid(othersMax), now) || len(r.others) != 2 {
		t.Errorf("those that have not asked for %v keep their places: %d of them", summonedFor, len(r.others))
	}
}
