package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/messages"
)

// The environment of the child that TestKill kills: the journal, and the
// number of the round.
const (
	killPathEnv  = "LIMPET_TEST_KILL_JOURNAL"
	killRoundEnv = "LIMPET_TEST_KILL_ROUND"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(killPathEnv); path != "" {
		if err := appendUntilKilled(path, os.Getenv(killRoundEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const (
	killLive    = 16
	killEntries = 7
)

func killEntry(run string, number uint64) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%s#%d ", run, number), 20))
}

// appendUntilKilled writes run after run and prints what is acknowledged.
func appendUntilKilled(path, round string) error {
	store, err := sqlite.Open(context.Background(), sqlite.Config{Path: path, CheckpointFrames: 60})
	if err != nil {
		return err
	}
	c := journal.NewCommitter(store, journal.CommitterConfig{MaxBatch: 24})
	failed := make(chan error)
	var next func(line, run int, number uint64)
	next = func(line, run int, number uint64) {
		id := fmt.Sprintf("r%s-%d-%d", round, line, run)
		row := &journal.Row{RunID: id, Workflow: "w", Pool: "p", Epoch: number, Status: messages.RunStatus_RUN_STATUS_RUNNING, BoundWorker: "w1"}
		if number == killEntries {
			row.Status = messages.RunStatus_RUN_STATUS_SUCCEEDED
		}
		c.Append(journal.Append{RunID: id, Number: number, Entry: killEntry(id, number), Row: row}, func(err error) {
			if err != nil {
				failed <- err
			}
			fmt.Printf("%s %d\n", id, number)
			if number == killEntries {
				run, number = run+1, 0
			}
			next(line, run, number+1)
		})
	}
	for line := range killLive {
		next(line, 0, 1)
	}
	return <-failed
}

// TestKill kills a process that appends, at random points, and looks for
// everything that it acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	acked := make(map[string]int)
	for round := range 6 {
		killOnce(t, path, round, 1+rng.IntN(2000), acked)
		if t.Failed() {
			return
		}
		checkKilled(t, path, acked)
	}
	t.Logf("%d runs were acknowledged", len(acked))
}

// killOnce runs a child until it has acknowledged so many appends.
func killOnce(t *testing.T, path string, round, appends int, acked map[string]int) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killPathEnv+"="+path, fmt.Sprintf("%s=%d", killRoundEnv, round))
	var stderr strings.Builder
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for out := bufio.NewReader(stdout); ; {
		line, err := out.ReadString('\n')
		if err != nil {
			break // a last line that is cut off says nothing
		}
		var id string
		var number int
		if _, err := fmt.Sscanf(line, "%s %d\n", &id, &number); err != nil {
			t.Errorf("child printed %q", line)
		}
		acked[id] = max(acked[id], number)
		if lines++; lines == 1 {
			_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if messages.CodeOf(err) != messages.CodeJournalInUse || !strings.Contains(err.Error(), fmt.Sprint(child.Process.Pid)) {
				t.Errorf("open while the child %d has the journal: %v", child.Process.Pid, err)
			}
		}
		if lines == appends {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	// Wait says that it was killed, or, with what it printed, why it ended.
	if err := child.Wait(); lines < appends {
		t.Errorf("the child ended by itself: %v %s", err, &stderr)
	}
}

func checkKilled(t *testing.T, path string, acked map[string]int) {
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	bound := 0
	rows, _, err := store.List(t.Context(), journal.Filter{}, 1<<20, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		rec, err := store.Load(t.Context(), row.RunID)
		if err != nil {
			t.Fatal(err)
		}
		for i, entry := range rec.Entries {
			if want := killEntry(row.RunID, uint64(i+1)); string(entry) != string(want) {
				t.Errorf("%s: entry %d is %q", row.RunID, i+1, entry)
			}
		}
		if uint64(len(rec.Entries)) != row.Epoch {
			t.Errorf("%s: %d entries with the row of entry %d", row.RunID, len(rec.Entries), row.Epoch)
		}
		if row.BoundWorker != "" {
			bound++
		}
	}
	for id, number := range acked {
		rec, err := store.Entries(t.Context(), id, 0, 0)
		if err != nil || rec.Row.Epoch < uint64(number) {
			t.Errorf("%s: entry %d was acknowledged, %d are there: %v", id, number, rec.Row.Epoch, err)
		}
	}
	counts, err := store.BoundCounts(t.Context(), "p")
	if err != nil || counts["w1"] != bound {
		t.Errorf("bound: %v %v, want %d", counts, err, bound)
	}
}
