package sqlite

import (
	"context"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
)

// checkpointer copies the WAL to the database file while commits go on, and
// then, with commits held up, the few pages that came meanwhile, so that the
// WAL starts over. Left to SQLite, commits would wait for all of it.
type checkpointer struct {
	store *Store
	conn  *sqlite.Conn
	// work is what was written since the last time, in units of which limit
	// are about CheckpointFrames pages: how many pages a commit writes depends
	// on how many of its runs share pages, so every checkpoint corrects limit.
	work, limit atomic.Int64
	wake        chan struct{}

	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
}

func startCheckpointer(s *Store) (*checkpointer, error) {
	conn, err := sqlite.OpenConn(s.path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA synchronous = FULL", nil); err != nil {
		conn.Close()
		return nil, err
	}
	c := &checkpointer{store: s, conn: conn, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	c.limit.Store(int64(s.cfg.CheckpointFrames))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.loop()
	return c, nil
}

// wrote notes a commit.
func (c *checkpointer) wrote(batch []journal.Append) {
	units := 4
	for i := range batch {
		units += 1 + len(batch[i].Entry)/4096
	}
	c.grew(units)
}

// published notes a transaction that stored events.
func (c *checkpointer) published(events []*journal.Event) {
	units := 4
	for _, e := range events {
		units += 2 + len(e.Payload)/4096
	}
	c.grew(units)
}

// streamed notes a transaction that stored pieces of streams.
func (c *checkpointer) streamed(added []journal.StreamWrite) {
	units := 4
	for i := range added {
		units += 2 + int(added[i].Bytes())/4096
	}
	c.grew(units)
}

// deleted notes a transaction that deleted runs, or events.
func (c *checkpointer) deleted(n int) { c.grew(4 + 4*n) }

func (c *checkpointer) grew(units int) {
	if c.work.Add(int64(units)) < c.limit.Load() {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// correct sets limit after work units have turned out to be so many pages.
func (c *checkpointer) correct(work int64, pages int) {
	want := int64(c.store.cfg.CheckpointFrames)
	limit := want * work / int64(max(pages, 1))
	c.limit.Store(min(max(limit, want/4), want*16))
}

func (c *checkpointer) loop() {
	defer close(c.stopped)
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
		hooks := &c.store.cfg.Hooks
		start := time.Now()
		pages, stalled, err := c.checkpoint()
		switch {
		case c.ctx.Err() != nil:
			return
		case err != nil && hooks.CheckpointFailed != nil:
			hooks.CheckpointFailed(c.store.fail("checkpoint", err))
		case err == nil && hooks.Checkpointed != nil:
			hooks.Checkpointed(pages, time.Since(start), stalled)
		}
	}
}

func (c *checkpointer) checkpoint() (pages int, stalled time.Duration, err error) {
	// A file that was cut short would get its size back, with holes in it.
	if err := c.store.watch.look(); err != nil {
		return 0, 0, err
	}
	work := c.work.Swap(0)
	if pages, err = c.copy(); err != nil {
		return 0, 0, err
	}
	c.correct(work, pages)
	if err := c.store.beginWriting(c.ctx); err != nil {
		return 0, 0, err
	}
	defer func() { <-c.store.writing }()
	start := time.Now()
	pages, err = c.copy()
	c.work.Store(0)
	return pages, time.Since(start), err
}

// copy copies what can be copied without waiting for anyone and returns how
// many pages of the WAL have been copied by now. When it is all of them the
// next commit starts the WAL over.
func (c *checkpointer) copy() (pages int, err error) {
	err = sqlitex.Execute(c.conn, "PRAGMA wal_checkpoint(PASSIVE)", &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error {
			pages = s.ColumnInt(2)
			return nil
		},
	})
	return pages, err
}

func (c *checkpointer) stop() error {
	c.cancel()
	<-c.stopped
	return c.conn.Close()
}
