package sdktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// logLines are those of a run's log as "step#attempt who LEVEL message attributes", and
// how many of each attempt were left out at last.
func logLines(t *testing.T, run *sdk.Run, o sdk.LogOptions) (lines []string, leftOut map[string]int64) {
	t.Helper()
	leftOut = map[string]int64{}
	for r, err := range run.Log(t.Context(), &o) {
		if err != nil {
			t.Fatal(err)
		}
		c := r.GetChunk()
		who := fmt.Sprintf("%s#%d", c.GetStep(), c.GetAttempt())
		leftOut[who] = max(leftOut[who], c.GetLeftOut())
		for _, l := range c.GetLines() {
			if l.GetAtWallUs() == 0 {
				t.Errorf("a line of %s has no time", who)
			}
			text := strings.TrimSpace(strings.Join([]string{strings.TrimSpace(who + " " + c.GetWorkerId()), l.GetLevel(), l.GetMessage(), l.GetAttributes()}, " "))
			if l.GetCut() {
				text = fmt.Sprintf("%s… of %d", text[:40], len(text))
			}
			lines = append(lines, text)
		}
	}
	return lines, leftOut
}

// What a step logs is with its run, in order and in bounds, and beside it why an attempt
// failed; the program's own logger has it too.
func TestLogOfARun(t *testing.T) {
	w := sdk.NewWorkflow[int]("logs")
	first := sdk.AddStep(w, "first", func(ctx sdk.Context, _ int) (int, error) {
		log := ctx.Logger()
		if ctx.Attempt() == 2 {
			log.Info("better", "msg", "kept")
			return 0, nil
		}
		log.Debug("not wanted")
		log.With("n", 1).WithGroup("g").Info("hello \x1b[31m", "text", "a b", "n", 2)
		log.Warn(strings.Repeat("ä", messages.LogLineBytesMax))
		return 0, errors.New("disk full")
	}, sdk.StepConfig{Retries: 1, Backoff: 1, BackoffMax: 1})
	sdk.AddStep(w, "many", func(ctx sdk.Context, _ int) (int, error) {
		for n := range messages.LogLinesMax + 500 {
			ctx.Logger().Info("line", "n", n)
		}
		return 0, nil
	}, sdk.StepConfig{Parents: sdk.Steps(first)})
	log := &lockedBuffer{}
	e := sdktest.Start(t, sdktest.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, w)
	run, err := w.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	lines, leftOut := logLines(t, run, sdk.LogOptions{Follow: true})
	var firsts, manies []string
	for _, l := range lines {
		if strings.HasPrefix(l, "many") {
			manies = append(manies, l)
		} else {
			firsts = append(firsts, l)
		}
	}
	want := []string{
		"first#1 ERROR the attempt failed: disk full code=USER_ERROR",
		`first#1 worker-1 INFO hello ` + "\x1b[31m" + ` n=1 g.text="a b" g.n=2`,
		"first#1 worker-1 WARN " + strings.Repeat("ä", 9) + fmt.Sprintf("… of %d", len("first#1 worker-1 WARN ")+messages.LogLineBytesMax),
		"first#2 worker-1 INFO better msg=kept",
	}
	if !sameLines(firsts, want) {
		t.Errorf("the log of step first is\n%q\nwant\n%q", firsts, want)
	}
	if len(manies) != messages.LogLinesMax || manies[0] != "many#1 worker-1 INFO line n=0" || leftOut["many#1"] != 500 || leftOut["first#1"] != 0 {
		t.Errorf("%d lines, left out %v, the first is %v", len(manies), leftOut, manies[:min(1, len(manies))])
	}
	again, _ := logLines(t, run, sdk.LogOptions{Step: "first"})
	if !sameLines(again, want) {
		t.Errorf("the log of one step is\n%q", again)
	}
	for _, err := range run.Log(t.Context(), &sdk.LogOptions{Step: "frist"}) {
		if messages.CodeOf(err) != messages.CodeUnknownStep || !strings.Contains(err.Error(), `did you mean "first"?`) {
			t.Errorf("another step: %v", err)
		}
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if n := bytes.Count(log.Bytes(), []byte("msg=line")); n != messages.LogLinesMax+500 {
		t.Errorf("the program's logger has %d lines", n)
	}
}

// sameLines says whether the lines are these, in whatever order attempts and servers
// were stored.
func sameLines(got, want []string) bool {
	seen := map[string]int{}
	for _, l := range got {
		seen[l]++
	}
	for _, l := range want {
		seen[l]--
	}
	for _, n := range seen {
		if n != 0 {
			return false
		}
	}
	return true
}

// A worker that is killed takes but the last of its log with it: what was shown stays,
// and the log says that the attempt was lost.
func TestLogOfAWorkerThatIsKilled(t *testing.T) {
	w := sdk.NewWorkflow[int]("logs", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(w, "only", func(ctx sdk.Context, _ int) (int, error) {
		ctx.Logger().Info("working")
		if ctx.WorkerID() == "a" {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 0, nil
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("a")}, w)
	run, err := w.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for r, err := range run.Log(t.Context(), &sdk.LogOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range r.GetChunk().GetLines() {
			lines = append(lines, fmt.Sprintf("%s#%d %s", r.GetChunk().GetWorkerId(), r.GetChunk().GetAttempt(), l.GetMessage()))
		}
		if len(lines) == 1 {
			if err := e.StartWorker(t.Context(), sdktest.Workers("b")[0]); err != nil {
				t.Fatal(err)
			}
			e.KillWorker("a")
		}
	}
	want := []string{"a#1 working", "#1 the attempt was lost: worker lost", "b#2 working"}
	if !sameLines(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}
