package sdktest_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// goneTo waits until no more goroutines run than at the start.
func goneTo(t *testing.T, before int) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for runtime.NumGoroutine() > before {
		select {
		case <-again.C:
		case <-deadline.Done():
			t.Fatalf("%d goroutines, %d at the start", runtime.NumGoroutine(), before)
		}
	}
}

// TestReadersOfStreamsLeaveNothingBehind: neither those that leave, while they read and
// while they wait for more, nor those whose run ends, and they end with it.
func TestReadersOfStreamsLeaveNothingBehind(t *testing.T) {
	w := writing(sdk.StepConfig{}, func(ctx sdk.Context) error {
		for _, text := range []string{"a", "b"} {
			if _, err := ctx.Stream("tokens").WriteString(text); err != nil {
				return err
			}
		}
		_, err := sdk.Receive[int](ctx, "go")
		return err
	})
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 1)
	untilWaits(t, run)
	leave(t, run, 10) // what is made once is there now
	before := runtime.NumGoroutine()
	leave(t, run, 1000)
	goneTo(t, before)

	follow := &sdk.ReadStreamOptions{Follow: true}
	var readers sync.WaitGroup
	waits := make(chan bool)
	for range 20 {
		readers.Go(func() {
			n := 0
			for _, err := range run.ReadStream(t.Context(), "tokens", follow) {
				if n++; err != nil {
					t.Error(err)
				}
				if n == 2 {
					waits <- true
				}
			}
		})
	}
	for range 20 {
		<-waits
	}
	signal(t, run, "go", 1)
	readers.Wait()
	if err := run.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	before = runtime.NumGoroutine() // with the connections of 20 readers, which are kept
	for range 1000 {
		wantStream(t, run, follow, "1.1:a 1.2:b")
	}
	goneTo(t, before)
}

// leave has readers come and go.
func leave(t *testing.T, run *sdk.Run, rounds int) {
	t.Helper()
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		for _, err := range run.ReadStream(ctx, "tokens", &sdk.ReadStreamOptions{Follow: true}) {
			if n++; err != nil && (n != 3 || !errors.Is(err, context.Canceled)) {
				t.Fatal(n, err)
			}
			if n == 1 && round%3 == 0 {
				break
			}
			if n == 2 && round%3 == 1 {
				cancel()
			}
			if n == 2 && round%3 == 2 {
				time.AfterFunc(time.Millisecond, cancel)
			}
		}
		cancel()
	}
}
