package gateway

import (
	"context"
	"log/slog"
	"path"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// The audit log: what was done by the API, by whom, from where and with what outcome. It
// has each command, each login to the pages and each refusal; what is only looked at is
// counted by the metrics.
//
// A command does not wait for its record, and is not refused for want of one: records are
// written together, a moment later, into the journal that the command itself was written
// to. Without the journal there are no commands; what is noted meanwhile is written when
// it is back. A server that is killed loses the last moment of it.

const (
	// gatherFor is how long records are gathered before they are written.
	gatherFor = 500 * time.Millisecond
	// auditTimeout bounds one writing, auditAgain is the pause after one that failed.
	auditTimeout = 3 * time.Second
	auditAgain   = 2 * time.Second
	// trimEvery is how often old records are deleted.
	trimEvery = time.Hour
	// auditKept is how long records are kept.
	auditKept = 90 * 24 * time.Hour
)

// audit writes the records of a server.
type audit struct {
	// store is nil where no audit log is kept.
	store  journal.AccessStore
	server string
	// now is engine time.
	now func() time.Time
	log *slog.Logger
	// apart is the time between two writings.
	apart time.Duration

	mu   sync.Mutex
	book access.Book
	// writing: one writes at a time.
	writing sync.Mutex
	trimmed time.Time
	// noted says that there is something to write.
	noted chan struct{}
}

func newAudit(c Config, now func() time.Time) *audit {
	return &audit{store: c.Access, server: c.ID, now: now, log: c.Logger, apart: c.auditApart, noted: make(chan struct{}, 1)}
}

// note adds what somebody has done, or was refused.
func (a *audit) note(by access.Caller, action, target string, targets int64, err error) {
	if a.store == nil {
		return
	}
	r := &messages.AuditRecord{AtUs: a.now().UnixMicro(), Who: by.Who, Name: by.Name, From: by.From, Action: action, Target: target,
		Count: 1, Targets: targets, Code: string(messages.CodeOf(err)), Server: a.server}
	a.mu.Lock()
	a.book.Note(r)
	a.mu.Unlock()
	a.wake()
}

// wake says that there is something to write.
func (a *audit) wake() {
	select {
	case a.noted <- struct{}{}:
	default:
	}
}

// keep writes what is noted until stopping ends; the rest is for flush.
func (a *audit) keep(stopping context.Context) {
	for failed := false; ; {
		select {
		case <-a.noted:
		case <-stopping.Done():
			return
		}
		pause := a.apart
		if failed {
			pause = auditAgain
		}
		select {
		case <-time.After(pause):
		case <-stopping.Done():
			return
		}
		err := a.flush(stopping)
		if err != nil && !failed && stopping.Err() == nil {
			a.log.Warn("the audit log is not written: what is done is noted, and written later", "error", err)
		}
		failed = err != nil
	}
}

// flush writes what is noted. What is not written waits for the next one.
func (a *audit) flush(ctx context.Context) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	a.mu.Lock()
	records := a.book.Take()
	a.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	data, err := proto.Marshal(&messages.AuditRecords{Records: records})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	err = a.store.WriteAudit(ctx, journal.AuditChunk{At: time.UnixMicro(records[0].AtUs), Records: len(records), Data: data})
	if err != nil {
		a.mu.Lock()
		a.book.Return(records)
		a.mu.Unlock()
		a.wake()
		return err
	}
	if time.Since(a.trimmed) > trimEvery {
		a.trimmed = time.Now()
		_, err = a.store.TrimAudit(ctx, a.now().Add(-auditKept), messages.AuditRecordsMax)
	}
	return err
}

// audited is the interceptor that notes commands, and what was refused.
type audited struct{ audit *audit }

func (i audited) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		target, targets := targetOf(req.Any())
		i.note(ctx, req.Spec(), target, targets, err)
		return resp, err
	}
}

func (i audited) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		i.note(ctx, conn.Spec(), "", 1, err)
		return err
	}
}

func (i audited) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i audited) note(ctx context.Context, spec connect.Spec, target string, targets int64, err error) {
	name := path.Base(spec.Procedure)
	if access.Procedures[name].Command || isRefusal(err) {
		by, _ := access.From(ctx)
		i.audit.note(by, name, target, targets, err)
	}
}

// isRefusal says that somebody may not do what was asked for.
func isRefusal(err error) bool {
	return slices.Contains([]messages.Code{messages.CodePermissionDenied, messages.CodeUnauthenticated}, messages.CodeOf(err))
}

// targetOf is what a request is about, the first of several, and how many they are.
func targetOf(request any) (target string, targets int64) {
	switch r := request.(type) {
	case *api.StartRunsRequest:
		if len(r.GetRuns()) > 0 {
			target = r.GetRuns()[0].GetWorkflow()
		}
		return target, int64(len(r.GetRuns()))
	case interface{ GetWorkflow() string }:
		return r.GetWorkflow(), 1 // of a start too: its run has no id yet
	case interface{ GetRunId() string }:
		return r.GetRunId(), 1
	case interface{ GetWorkerId() string }:
		return r.GetWorkerId(), 1
	case interface{ GetId() string }:
		return r.GetId(), 1
	case interface{ GetName() string }:
		return r.GetName(), 1
	case interface{ GetKey() string }:
		return r.GetKey(), 1
	}
	return "", 1
}

// auditedDoors are those of the pages: who logs in there, or tries to, is noted.
type auditedDoors struct {
	*doors
	audit *audit
}

func (d auditedDoors) Enter(ctx context.Context, presented, from string) (access.Caller, error) {
	by, err := d.doors.Enter(ctx, presented, from)
	noted := by
	if err != nil {
		noted = access.Caller{Who: access.Anonymous, From: from}
	}
	d.audit.note(noted, "POST /ui/login", "", 1, err)
	return by, err
}
