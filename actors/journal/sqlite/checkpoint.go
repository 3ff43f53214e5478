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
	// frames is about how many pages the WAL has got since the last time.
	frames atomic.Int64
	wake   chan struct{}

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
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.loop()
	return c, nil
}

// wrote notes a commit. The number of pages is a guess from what commits were
// measured to write; the checkpoint learns the true one.
func (c *checkpointer) wrote(batch []journal.Append) {
	pages := 4
	for i := range batch {
		pages += 1 + len(batch[i].Entry)/4096
	}
	c.grew(pages)
}

// deleted notes a transaction that deleted runs.
func (c *checkpointer) deleted(runs int) { c.grew(4 + 4*runs) }

func (c *checkpointer) grew(pages int) {
	if c.frames.Add(int64(pages)) < int64(c.store.cfg.CheckpointFrames) {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *checkpointer) loop() {
	defer close(c.stopped)
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
		c.frames.Store(0)
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
	if _, err := c.copy(); err != nil {
		return 0, 0, err
	}
	if err := c.store.beginWriting(c.ctx); err != nil {
		return 0, 0, err
	}
	defer func() { <-c.store.writing }()
	start := time.Now()
	pages, err = c.copy()
	return pages, time.Since(start), err
}

// copy copies what can be copied without waiting for anyone and returns how
// many pages of the WAL are copied now.
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
