package sdktest_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// deployed is a version of the workflow "price", whose runs say which it is.
func deployed(version int) *sdk.Workflow[int] {
	w := sdk.NewWorkflow[int]("price")
	sdk.AddStep(w, "say", func(sdk.Context, int) (int, error) { return version, nil }, sdk.StepConfig{Retries: version})
	return w
}

// An old process that crashes and comes back after a deploy does not bring its
// version back; whoever goes back on purpose chooses the version, until the next
// one is deployed.
func TestAnOldVersionDoesNotComeBack(t *testing.T) {
	log := &lockedBuffer{}
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true, Logger: slog.New(slog.NewTextHandler(log, nil))})
	ctx := t.Context()
	start := func(id string, version int) {
		t.Helper()
		if err := e.StartWorker(ctx, worker.Config{ID: id}, deployed(version)); err != nil {
			t.Fatal(err)
		}
	}
	current := func(when string, version int) (hash string) {
		t.Helper()
		all, err := e.Client().ListWorkflows(ctx)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", when, all, err)
		}
		if got := all[0].GetDefinition().GetSteps()[0].GetRetries(); int(got) != version {
			t.Errorf("%s: version %d is current, want %d", when, got, version)
		}
		return all[0].GetHash()
	}
	start("old", 1)
	first := current("before the deploy", 1)
	start("new", 2)
	second := current("after the deploy", 2)
	if err := e.KillWorker("old"); err != nil {
		t.Fatal(err)
	}
	if err := e.RestartWorker(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	current("when the old process is back", 2)
	log.mu.Lock()
	if want := "with this worker's, " + first; !strings.Contains(log.String(), want) {
		t.Errorf("the log of the old worker lacks %q", want)
	}
	log.mu.Unlock()

	if w, err := e.Client().UseWorkflowVersion(ctx, "price", first[:10]); err != nil || w.GetHash() != first || w.GetChosenAt() == nil {
		t.Fatalf("chosen: %v, %v", w, err)
	}
	current("chosen", 1)
	if err := e.StopWorker("new"); err != nil {
		t.Fatal(err)
	}
	if err := e.RestartWorker(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	if err := e.RestartServer(ctx); err != nil {
		t.Fatal(err)
	}
	current("after restarts", 1)
	start("newer", 3)
	current("after the next deploy", 3)

	versions, err := e.Client().WorkflowVersions(ctx, "price")
	if err != nil || len(versions) != 3 || versions[1].GetHash() != second || !versions[0].GetCurrent() || versions[1].GetCurrent() {
		t.Errorf("versions %v, %v", versions, err)
	}
	if _, err := e.Client().UseWorkflowVersion(ctx, "prise", first); !errors.Is(err, sdk.ErrUnknownWorkflow) || !strings.Contains(err.Error(), `did you mean "price"`) {
		t.Errorf("unknown workflow: %v", err)
	}
}
