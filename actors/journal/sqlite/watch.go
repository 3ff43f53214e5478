package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// watchEvery is how often the files are looked at: SQLite goes on with files that
// have no name any more, and what it writes there is gone with the process.
const watchEvery = 250 * time.Millisecond

// watch looks whether the files of a journal are those that were opened. One that
// was renamed may come back, one that was cut short has lost something.
type watch struct {
	hooks *Hooks
	// lost is why nothing may be written or read now, nil for nothing.
	lost atomic.Pointer[messages.Error]

	mu    sync.Mutex
	files []watched

	stop    chan struct{}
	stopped chan struct{}
}

type watched struct {
	name string
	is   fs.FileInfo
	// least is the size that was seen last: the files never shrink.
	least int64
}

// startWatch takes the files as they are now for those that were opened.
func startWatch(path string, hooks *Hooks) (*watch, error) {
	w := &watch{hooks: hooks, stop: make(chan struct{}), stopped: make(chan struct{})}
	for _, name := range []string{path, path + "-wal", path + ".lock"} {
		is, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		w.files = append(w.files, watched{name, is, is.Size()})
	}
	go w.loop()
	return w, nil
}

func (w *watch) loop() {
	defer close(w.stopped)
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
			_ = w.look()
		}
	}
}

func (w *watch) end() {
	close(w.stop)
	<-w.stopped
}

// look returns why the journal cannot be used, and has those told that want to
// know when that changes.
func (w *watch) look() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.lost.Load()
	if was != nil && was.Code == messages.CodeJournalCorrupt {
		return was
	}
	var is *messages.Error
	for i := range w.files {
		if is = w.files[i].look(); is != nil {
			break
		}
	}
	w.lost.Store(is)
	switch {
	case is != nil && (was == nil || was.Message != is.Message) && w.hooks.Lost != nil:
		w.hooks.Lost(is)
	case is == nil && was != nil && w.hooks.Found != nil:
		w.hooks.Found()
	}
	if is == nil {
		return nil
	}
	return is
}

func (f *watched) look() *messages.Error {
	is, err := os.Stat(f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return messages.Errorf(messages.CodeJournalUnavailable, "journal: its file %q was deleted or renamed while it is in use: put it back, for what was written is lost when the server ends", f.name)
	case err != nil:
		return messages.Errorf(messages.CodeJournalUnavailable, "journal: its file cannot be looked at: %w", err)
	case !os.SameFile(is, f.is):
		return messages.Errorf(messages.CodeJournalUnavailable, "journal: its file %q was replaced by another one while it is in use: put it back, or stop the server", f.name)
	case is.Size() < f.least:
		return messages.Errorf(messages.CodeJournalCorrupt, "journal: its file %q was cut from %d to %d bytes while it is in use: stop the server and restore the file", f.name, f.least, is.Size())
	}
	f.least = is.Size()
	return nil
}
