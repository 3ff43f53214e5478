package bubble

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Many goroutines look at timers that are due: the race detector ended the
// process within a tenth of this.
func TestDueTimersUnderTheRaceDetector(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for range 3 {
		t.Run("bubble", func(t *testing.T) {
			t.Parallel()
			Test(t, func(*testing.T) {
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						for range 20_000 {
							<-time.After(0)
						}
					})
				}
				all.Wait()
			})
		})
	}
	t.Cleanup(func() {
		if n := runtime.GOMAXPROCS(0); n != before {
			t.Errorf("%d processors afterwards, %d before", n, before)
		}
	})
}
