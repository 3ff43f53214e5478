package gossip

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// Looks at one member become seldomer and shorter, none is left out, and one waits at
// most.
func TestLooksAtOneMember(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := newLookout(nil)
		begins := func(wantWait time.Duration, wantTries int) {
			t.Helper()
			wait, tries := l.begin("w")
			if wait != wantWait || tries != wantTries {
				t.Fatalf("the look begins after %v, with %d tries; want %v, %d", wait, tries, wantWait, wantTries)
			}
		}
		looks := func(wantWait time.Duration, wantTries int) {
			t.Helper()
			begins(wantWait, wantTries)
			begins(0, 0)
			time.Sleep(wantWait)
			l.begun("w")
			l.going.Done()
		}
		looks(0, lookTries)
		for _, wait := range []time.Duration{500, 1000, 2000, 4000, 4000} {
			looks(wait*time.Millisecond, lookTriesAgain)
		}
		time.Sleep(lookForget)
		looks(0, lookTries)
		time.Sleep(lookForget / 2)
		looks(0, lookTriesAgain)
		l.stop()
		begins(0, 0)
	})
}
