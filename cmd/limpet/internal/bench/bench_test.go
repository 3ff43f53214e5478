package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
)

// TestMain makes the test's executable a process of the bench where it is
// started as one.
func TestMain(m *testing.M) {
	children := map[string]func() procs.Child{
		"server": localcluster.ServerChild,
		"worker": func() procs.Child { return localcluster.WorkerChild(Workflows) },
		"peer":   PeerChild,
	}
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		if err := procs.Serve(context.Background(), os.Stdin, os.Stdout, children[os.Args[1]]()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestBench measures each workload with few runs.
func TestBench(t *testing.T) {
	for _, c := range []Config{
		{Workload: Chain3, Sticky: "soft", Store: "sqlite", Limits: true},
		{Workload: Fan, Sticky: "hard", Store: "memory", Warmup: 5},
		{Workload: Noop1, Sticky: "none", Store: "memory", Sequential: true},
	} {
		t.Run(c.Workload, func(t *testing.T) {
			c.Runs, c.Workers, c.Slots, c.Dir = 30, 2, 4, t.TempDir()
			c.ServerArgs, c.WorkerArgs, c.PeerArgs = []string{"server"}, []string{"worker"}, []string{"peer"}
			f, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if f.RunsPerS <= 0 || f.P50Ms <= 0 || f.P99Ms < f.P50Ms || f.StepsMissing != 0 || f.StepsRunTwice != 0 || f.RunsFailed != 0 || f.EntriesPerRun < 1 {
				t.Errorf("%+v", f)
			}
			if c.Sticky != "none" && f.SameWorkerRatio != 1 {
				t.Errorf("same worker ratio %v", f.SameWorkerRatio)
			}
			if c.Limits && (f.FsyncPerSLimit <= 0 || f.SQLiteRatio <= 0 || f.ActorSendsPerSLimit <= 0) {
				t.Errorf("%+v", f.Limits)
			}
			if !strings.Contains(f.Table(), c.Workload+" "+c.Sticky) {
				t.Error(f.Table())
			}
			if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
				t.Errorf("%d files are left, %v", len(left), err)
			}
		})
	}
}
