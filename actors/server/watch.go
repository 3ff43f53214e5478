package server

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// watchEntriesMax and watchBytesMax bound one reply of watch: it has to fit into
// a message between two nodes. An entry larger than watchBytesMax comes alone.
const (
	watchEntriesMax = 200
	watchBytesMax   = 8 << 20
)

// watchWaitMax bounds how long watch waits for the next entry.
const watchWaitMax = 5 * time.Minute

// elsewherePause is the wait before whoever watches a run of another server is
// sent away.
const elsewherePause = 20 * time.Millisecond

// readPause is for how long a wait for the end of a run that is in memory here begins
// without the store: many have ended by then.
const readPause = 50 * time.Millisecond

// watch returns the entries after a number, or waits for the next ones, or for
// the run's end. Entries of this server come by the committer's feed; when the
// run goes to another server, that one is to be asked.
func (h *Host) watch(ctx context.Context, w *messages.WatchRun) *messages.WatchRunReply {
	news, cancel := h.newsOf(w)
	defer cancel()
	wait := min(time.Duration(w.WaitMs)*time.Millisecond, watchWaitMax)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	if status, ended := h.endsSoon(ctx, w, news); ended {
		return &messages.WatchRunReply{Ended: true, Status: status}
	}
	for {
		_, moved := h.moved.Watch()
		reply, err := h.read(ctx, w)
		if err != nil {
			return &messages.WatchRunReply{Error: messages.ToFailure(err)}
		}
		if reply.Ended || len(reply.Entries) > 0 {
			return reply
		}
		if !h.owns(w.RunId) {
			// Who asks has another view, or will have one in a moment.
			timeout.Reset(min(elsewherePause, wait))
		}
		select {
		case status := <-news:
			if w.UntilEnded && w.WithoutEntries {
				return &messages.WatchRunReply{Ended: true, Status: status}
			}
		case <-moved:
		case <-timeout.C:
			return reply
		case <-ctx.Done():
			return reply
		}
	}
}

// endsSoon waits for a moment for the end of a run that is in memory, if nothing but
// the end is asked for.
func (h *Host) endsSoon(ctx context.Context, w *messages.WatchRun, news <-chan messages.RunStatus) (messages.RunStatus, bool) {
	h.mu.RLock()
	here := h.core.Active(w.RunId) != nil
	h.mu.RUnlock()
	if !here || !w.UntilEnded || !w.WithoutEntries {
		return 0, false
	}
	pause := time.NewTimer(min(readPause, time.Duration(w.WaitMs)*time.Millisecond))
	defer pause.Stop()
	select {
	case status := <-news:
		return status, true
	case <-pause.C:
	case <-ctx.Done():
	}
	return 0, false
}

// newsOf has the run's status with each entry that this server stores, or only
// with the one that ends the run. The newest may be left out while an earlier one
// was not taken.
func (h *Host) newsOf(w *messages.WatchRun) (news chan messages.RunStatus, cancel func()) {
	news = make(chan messages.RunStatus, 1)
	cancel = h.committer.Stored().Add(w.RunId, func(stored journal.Stored) {
		status := messages.RunStatus_RUN_STATUS_UNSPECIFIED
		if stored.Row != nil {
			status = stored.Row.Status
		}
		if w.UntilEnded && !journal.Finished(status) {
			return
		}
		select {
		case news <- status:
		default:
		}
	})
	return news, cancel
}

// read returns a page of what is stored. Of a run that is only waited for, the
// entries are read once it has ended.
func (h *Host) read(ctx context.Context, w *messages.WatchRun) (*messages.WatchRunReply, error) {
	limit := watchEntriesMax
	if w.UntilEnded {
		limit = 1
	}
	rec, err := h.cfg.Store.Entries(ctx, w.RunId, w.After, limit)
	if err == nil && w.WithoutEntries {
		return &messages.WatchRunReply{Status: rec.Row.Status, Ended: journal.Finished(rec.Row.Status)}, nil
	}
	if err == nil && w.UntilEnded && journal.Finished(rec.Row.Status) {
		limit = watchEntriesMax
		rec, err = h.cfg.Store.Entries(ctx, w.RunId, w.After, limit)
	}
	if err != nil {
		return nil, err
	}
	ended := journal.Finished(rec.Row.Status)
	reply := &messages.WatchRunReply{Status: rec.Row.Status, Ended: ended && len(rec.Entries) < limit}
	if w.UntilEnded && !ended {
		return reply, nil
	}
	bytes := 0
	for i, data := range rec.Entries {
		if bytes += len(data); i > 0 && bytes > watchBytesMax {
			reply.Ended = false
			break
		}
		entry := new(messages.Entry)
		if err := messages.Unmarshal(data, entry); err != nil {
			return nil, messages.Errorf(messages.CodeJournalCorrupt, "run %s, entry %d: %w", w.RunId, rec.After+uint64(i)+1, err)
		}
		reply.Entries = append(reply.Entries, &messages.NumberedEntry{Number: rec.After + uint64(i) + 1, Entry: entry})
	}
	return reply, nil
}
