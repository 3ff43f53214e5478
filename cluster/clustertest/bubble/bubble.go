// Package bubble runs tests on fake time, as testing/synctest does, in a way
// that the race detector survives.
//
// A timer's channel that is due is filled by the goroutine that looks at it,
// under a race context that all goroutines of the bubble share, and the race
// detector ends the process when two threads use one context at the same time
// (golang/go issue 78156). So under the race detector bubbles run on one
// processor: no two goroutines look at once then. Races are found as before, for
// they are found by what is ordered before what, not by what coincides.
//
// Imports nothing of ours.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// processors are taken away while bubbles run.
var processors struct {
	sync.Mutex
	bubbles int
	before  int
}

// Test is [synctest.Test].
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if Race {
		onOneProcessor()
		defer onAllProcessors()
	}
	synctest.Test(t, f)
}

func onOneProcessor() {
	processors.Lock()
	defer processors.Unlock()
	if processors.bubbles++; processors.bubbles == 1 {
		processors.before = runtime.GOMAXPROCS(1)
	}
}

func onAllProcessors() {
	processors.Lock()
	defer processors.Unlock()
	if processors.bubbles--; processors.bubbles == 0 {
		runtime.GOMAXPROCS(processors.before)
	}
}
