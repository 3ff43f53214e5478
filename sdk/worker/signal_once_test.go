package worker

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Signals that mean nothing to anybody.
const firstSignal, lastSignal = syscall.Signal(35), syscall.Signal(60)

// A signal that ends the caller's context as well is one signal, not a second
// one, which would end the process at once.
func TestASignalThatTheCallerHandlesTooIsOne(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // others have fewer signals
	}
	seen := make(chan os.Signal, 1000)
	signal.Notify(seen)
	defer signal.Stop(seen)
	// Whether the caller's context ends first is up to chance.
	for range 40 {
		before := runtime.NumGoroutine()
		for s := firstSignal; s < lastSignal; s++ {
			callers, stop := signal.NotifyContext(t.Context(), s)
			ctx, cancel := untilSignal(callers, s)
			send(t, s)
			<-ctx.Done()
			cancel()
			stop()
		}
		// What one of them sends again it has sent when it is over.
		goneTo(t, before)
		// Signals of lower numbers come first.
		send(t, lastSignal)
		times := map[os.Signal]int{}
		for s := range seen {
			if times[s]++; s == lastSignal {
				break
			}
		}
		for s := firstSignal; s < lastSignal; s++ {
			if times[s] != 1 {
				t.Fatalf("signal %d was seen %d times", int(s), times[s])
			}
		}
	}
}

// goneTo waits until no more goroutines run than at the start.
func goneTo(t *testing.T, before int) {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for runtime.NumGoroutine() > before {
		select {
		case <-again.C:
		case <-deadline.Done():
			t.Fatalf("%d goroutines, %d at the start", runtime.NumGoroutine(), before)
		}
	}
}

func send(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}
