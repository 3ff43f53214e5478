package sdktest_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// lockedBuffer may be written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// What fails in a step is in its worker's log, a panic with where it was.
func TestFailuresOfStepsAreLogged(t *testing.T) {
	w := sdk.NewWorkflow[int]("fails")
	sdk.AddStep(w, "errs", func(sdk.Context, int) (int, error) { return 0, errors.New("disk full") })
	sdk.AddStep(w, "panics", func(sdk.Context, int) (int, error) { panic("no disk") })
	sdk.AddStep(w, "nan", func(sdk.Context, int) (float64, error) { return math.NaN(), nil })
	log := &lockedBuffer{}
	e := sdktest.Start(t, sdktest.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, w)
	run, err := w.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := run.Ended(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f := got.GetSteps()[2].GetFailure(); f.GetCode() != string(messages.CodeInvalidOutput) || !f.GetFinal() {
		t.Errorf("NaN: %v", f)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	for _, want := range []string{
		`step=errs attempt=1 code=USER_ERROR error="disk full"`,
		`msg="a step panicked" worker=worker-1 workflow=fails run=` + run.ID() + ` step=panics attempt=1 error="step \"panics\" panicked: no disk" stack=`,
		"log_test.go",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

// Why the context of an attempt ended is in the log as it is, and not what the
// function made of it; a step whose run was canceled has not failed.
func TestEndsOfContextsAreLogged(t *testing.T) {
	begun := make(chan struct{})
	waits := func(ctx sdk.Context, _ int) (int, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	}
	slow := sdk.NewWorkflow[int]("slow")
	sdk.AddStep(slow, "slow", waits, sdk.StepConfig{ExecutionTimeout: 10 * time.Millisecond})
	long := sdk.NewWorkflow[int]("long")
	sdk.AddStep(long, "long", waits)
	log := &lockedBuffer{}
	e := sdktest.Start(t, sdktest.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, slow, long)
	for _, w := range []*sdk.Workflow[int]{slow, long} {
		run, err := w.Start(t.Context(), e.Client(), 0)
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		if w == long {
			if err := run.Cancel(t.Context(), "enough"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := run.Ended(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	for _, want := range []string{
		// The context's own clock and that of the worker both end it, in words of their own.
		`step=slow attempt=1 code=EXECUTION_TIMEOUT error="step \\"slow\\" attempt 1 (has reached its execution timeout|ran longer than its execution timeout of 10ms)" returned="context deadline exceeded"`,
		`level=INFO msg="an attempt of a step was canceled" worker=worker-1 workflow=long`,
		`why="step \\"long\\" was canceled: enough"`,
	} {
		if !regexp.MustCompile(want).MatchString(log.String()) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}
