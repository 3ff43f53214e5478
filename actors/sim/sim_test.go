package sim

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "replay this seed only, and print what happens at its end")
	seedsFlag = flag.Int("seeds", 0, "simulate so many seeds; 0 means as many as fit the build")
	fromFlag  = flag.Uint64("from", 1, "first seed")
	failsFlag = flag.Int("failures", 5, "stop after so many failing seeds")
	allFlag   = flag.Bool("all", false, "with -seed, print everything")
)

// TestSim simulates many clusters. -seed N replays one.
func TestSim(t *testing.T) {
	if *seedFlag != 0 {
		replay(t, *seedFlag)
		return
	}
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = seedsDefault
	}
	var next atomic.Uint64
	next.Store(*fromFlag - 1)
	last := *fromFlag + uint64(seeds) - 1
	var mu sync.Mutex
	var total counts
	var failed []uint64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for {
				seed := next.Add(1)
				mu.Lock()
				enough := len(failed) >= *failsFlag
				mu.Unlock()
				if seed > last || enough {
					return
				}
				res := Run(seed, false, nil)
				mu.Lock()
				total.add(res.counts)
				if res.Err != nil {
					failed = append(failed, seed)
					t.Errorf("%v\nreplay it: make sim SEED=%d", res.Err, seed)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	t.Logf("%d seeds: %+v", seeds, total)
	if len(failed) > 0 {
		replay(t, failed[0])
	}
}

// TestSeed replays the seed in the environment variable SEED (1 if it is not
// set) and prints the end of its trace.
func TestSeed(t *testing.T) {
	seed := uint64(1)
	if text := os.Getenv("SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEED=%q: %v", text, err)
		}
		seed = n
	}
	replay(t, seed)
}

// TestSameSeedSameStory replays a few seeds twice and compares every line.
func TestSameSeedSameStory(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var a, b strings.Builder
		Run(seed, true, func(line string) { a.WriteString(line + "\n") })
		Run(seed, true, func(line string) { b.WriteString(line + "\n") })
		if a.String() != b.String() {
			t.Errorf("seed %d: two simulations differ", seed)
		}
	}
}

func replay(t *testing.T, seed uint64) {
	var watch func(string)
	if *allFlag {
		watch = func(line string) { os.Stdout.WriteString(line + "\n") }
	}
	res := Run(seed, true, watch)
	if watch == nil {
		tail := res.Trace
		if n := len(tail) - traceLines; n > 0 {
			tail = tail[n:]
		}
		if res.Err == nil && len(tail) > 40 {
			tail = tail[len(tail)-40:]
		}
		t.Logf("the end of seed %d:\n%s", seed, strings.Join(tail, "\n"))
	}
	t.Logf("seed %d: %d events, %v simulated: %+v", seed, res.Events, res.Took, res.counts)
	if res.Err != nil {
		t.Error(res.Err)
	}
}
