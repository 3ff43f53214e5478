package worker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// scrape returns the lines of a page of metrics.
func scrape(t *testing.T, address string) []string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return strings.Split(string(text), "\n")
}

// wants waits until the metrics at an address have all the samples: an entry is
// counted at the moment at which others hear of it, not before.
func wants(t *testing.T, whose, address string, samples ...string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		there := map[string]bool{}
		for _, line := range scrape(t, address) {
			there[line] = true
		}
		lacking := slices.DeleteFunc(slices.Clone(samples), func(want string) bool { return there[want] })
		if len(lacking) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics of the %s lack\n%s", whose, strings.Join(lacking, "\n"))
		}
	}
}

// A run is counted by its server and by its worker, while it runs and afterwards.
func TestMetricsOfARun(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	w := sdk.NewWorkflow[int]("build", sdk.WorkflowConfig{Sticky: sdk.Soft})
	first := sdk.AddStep(w, "first", func(_ sdk.Context, in int) (int, error) {
		if in == 7 {
			return 0, errors.New("not seven")
		}
		return in, nil
	})
	sdk.AddStep(w, "second", func(_ sdk.Context, in int) (int, error) {
		close(running)
		<-goOn
		return in, nil
	}, sdk.StepConfig{Parents: sdk.Steps(first)})
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, w)
	serving, err := worker.New(worker.Config{ID: "w1", Slots: 2, Join: []string{e.JoinAddress()}, MetricsListen: "127.0.0.1:0"}, w)
	if err != nil {
		t.Fatal(err)
	}
	if at := serving.MetricsAddress(); at != "" {
		t.Errorf("metrics at %s before the worker runs", at)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serving.Run(ctx) }()
	<-serving.Ready()
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-running
	wants(t, "worker", serving.MetricsAddress(),
		`limpet_worker_info{pool="default",worker="w1"} 1`,
		`limpet_worker_attempts_started_total{workflow="build"} 2`,
		`limpet_worker_attempts_ended_total{code="OK",workflow="build"} 1`,
		`limpet_worker_leases_lost_total 0`)
	wants(t, "server", e.Address(),
		`limpet_runs_started_total{workflow="build"} 1`,
		`limpet_bindings_total{reason="first",sticky="soft"} 1`,
		`limpet_sticky_attempts_total{sticky="soft",worker="same"} 1`,
		`limpet_workers{pool="default",state="up"} 1`,
		`limpet_shards_owned 1024`,
		`limpet_shards_moved_total{to="here"} 1024`,
		`limpet_api_calls_total{code="OK",method="StartRun"} 1`)
	close(goOn)
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	failing, err := w.Start(t.Context(), e.Client(), 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := failing.Wait(t.Context()); err == nil {
		t.Fatal("a run with a step that fails does not")
	}
	wants(t, "server", e.Address(),
		`limpet_runs_ended_total{status="succeeded",workflow="build"} 1`,
		`limpet_runs_ended_total{status="failed",workflow="build"} 1`,
		`limpet_run_duration_seconds_count{workflow="build"} 2`,
		`limpet_steps_ended_total{status="skipped",workflow="build"} 1`)
	wants(t, "worker", serving.MetricsAddress(),
		`limpet_worker_attempts_ended_total{code="USER_ERROR",workflow="build"} 1`)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+serving.MetricsAddress()+"/metrics", nil)
	if resp, err := http.DefaultClient.Do(r); err == nil {
		_ = resp.Body.Close()
		t.Error("a worker that has ended serves metrics")
	}
}

// A worker that cannot serve its metrics says so before it joins.
func TestMetricsAddressIsChecked(t *testing.T) {
	w := sdk.NewWorkflow[int]("build")
	sdk.AddStep(w, "s", func(_ sdk.Context, in int) (int, error) { return in, nil })
	_, err := worker.New(worker.Config{ID: "w", Join: []string{"127.0.0.1:1"}, MetricsListen: ":9100"}, w)
	if !errors.Is(err, sdk.ErrInvalidArgument) || !strings.Contains(err.Error(), "metrics address :9100") {
		t.Errorf("beyond loopback without a secret: %v", err)
	}
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, w)
	taken, err := worker.New(worker.Config{ID: "w", Join: []string{e.JoinAddress()}, MetricsListen: e.Address()}, w)
	if err != nil {
		t.Fatal(err)
	}
	if err := taken.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "metrics address "+e.Address()) {
		t.Errorf("an address that is taken: %v", err)
	}
}
