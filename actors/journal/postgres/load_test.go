package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/messages"
)

// load is some servers that append to runs of their own and, all of them, to
// some others, and the ledger of what they were told.
type load struct {
	t          *testing.T
	committers []*journal.Committer
	stop       chan struct{}
	stopOnce   sync.Once
	working    sync.WaitGroup

	mu sync.Mutex
	// told is whose entry was acknowledged, by run and number.
	told map[string]string
	// tries counts Retrying.
	acknowledged, refused, tries int
}

const (
	loadOwn    = 8 // runs of each server
	loadShared = 4 // runs that all fight for
)

func startLoad(t *testing.T, url string, servers int, cfg postgres.Config) *load {
	l := &load{t: t, stop: make(chan struct{}), told: make(map[string]string)}
	for s := range servers {
		cfg := cfg
		cfg.URL = url
		c := journal.NewCommitter(open(t, cfg), journal.CommitterConfig{RetryMax: 100 * time.Millisecond, Hooks: journal.CommitterHooks{
			Retrying: func(error, int, time.Duration) { l.count(&l.tries) },
		}})
		l.committers = append(l.committers, c)
		for r := range loadOwn {
			l.working.Go(func() { l.work(c, fmt.Sprintf("server %d", s), fmt.Sprintf("own-%d-%d", s, r)) })
		}
		for r := range loadShared {
			l.working.Go(func() { l.work(c, fmt.Sprintf("server %d", s), fmt.Sprintf("shared-%d", r)) })
		}
	}
	t.Cleanup(l.end)
	return l
}

// end ends the load of a test that failed, whatever the database does.
func (l *load) end() {
	l.stopOnce.Do(func() { close(l.stop) })
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range l.committers {
		_ = c.Close(over) // check has closed it, or the test has failed
	}
	l.working.Wait()
}

func (l *load) count(n *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*n++
}

// work appends entry after entry to a run; one that conflicts is another
// server's, and the next number is tried.
func (l *load) work(c *journal.Committer, server, run string) {
	for number := uint64(1); ; number++ {
		select {
		case <-l.stop:
			return
		default:
		}
		done := make(chan error, 1)
		row := &journal.Row{RunID: run, Epoch: number, Workflow: "w", Pool: "default", Status: messages.RunStatus_RUN_STATUS_RUNNING,
			BoundWorker: fmt.Sprintf("worker-%d", number%5), CreatedAt: time.UnixMicro(1)}
		c.Append(journal.Append{RunID: run, Number: number, Entry: entryBy(server, run, number), Row: row}, func(err error) { done <- err })
		err := <-done
		l.mu.Lock()
		key := fmt.Sprintf("%s#%d", run, number)
		switch messages.CodeOf(err) {
		case "":
			if other := l.told[key]; other != "" {
				l.t.Errorf("%s was acknowledged to %s and to %s", key, other, server)
			}
			l.told[key] = server
			l.acknowledged++
		case messages.CodeJournalConflict:
			l.refused++
		default:
			l.t.Errorf("%s: %v", key, err)
		}
		l.mu.Unlock()
	}
}

func entryBy(server, run string, number uint64) []byte {
	return fmt.Appendf(nil, "%s#%d by %s", run, number, server)
}

// progress waits until so many appends more have been acknowledged.
func (l *load) progress(n int) {
	l.t.Helper()
	read := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.acknowledged
	}
	target := read() + n
	wait(l.t, fmt.Sprintf("%d appends more", n), func() bool { return read() >= target })
}

// wait waits until a condition holds.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%v have passed without %s", patience, what)
		}
	}
}

// check ends the load and compares what is stored with what was told.
func (l *load) check(url string) {
	l.t.Helper()
	l.stopOnce.Do(func() { close(l.stop) })
	l.working.Wait()
	for _, c := range l.committers {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := c.Close(ctx); err != nil {
			l.t.Error(err)
		}
		cancel()
	}
	l.t.Logf("%d appends acknowledged, %d refused, %d commits tried again", l.acknowledged, l.refused, l.tries)
	conn := connect(l.t, url)
	stored := make(map[string]string)
	var run, data string
	var number, epoch int
	last := make(map[string]int)
	rows, err := conn.Query(l.t.Context(), "SELECT e.run_id, e.number, convert_from(e.data, 'UTF8'), r.epoch FROM limpet_entries e JOIN limpet_runs r USING (run_id) ORDER BY 1, 2")
	if err != nil {
		l.t.Fatal(err)
	}
	epochs := make(map[string]int)
	if _, err := pgx.ForEachRow(rows, []any{&run, &number, &data, &epoch}, func() error {
		if number != last[run]+1 {
			l.t.Errorf("run %s: entry %d comes after %d", run, number, last[run])
		}
		last[run], epochs[run] = number, epoch
		stored[fmt.Sprintf("%s#%d", run, number)] = data
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	for key, server := range l.told {
		if want := key + " by " + server; stored[key] != want {
			l.t.Errorf("acknowledged: %q, stored: %q", want, stored[key])
		}
	}
	if len(stored) != len(l.told) {
		l.t.Errorf("%d entries are stored, %d were acknowledged", len(stored), len(l.told))
	}
	for run, epoch := range epochs {
		if epoch != last[run] {
			l.t.Errorf("run %s has %d entries, its row is of %d", run, last[run], epoch)
		}
	}
}
