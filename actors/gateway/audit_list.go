package gateway

import (
	"context"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// auditRead is how many chunks are read at once, auditLooked how many one call looks
	// through: the next page goes on from there.
	auditRead   = 50
	auditLooked = 1000
	// auditSlack is how much later than others a chunk may be written that began before:
	// its server had no journal, or another clock.
	auditSlack = time.Hour
)

// ListAudit returns what was done, the newest first. What this server has noted is
// written before it is asked for.
func (g *gateway) ListAudit(ctx context.Context, req *connect.Request[api.ListAuditRequest]) (*connect.Response[api.ListAuditResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	size, err := pageSize(r.GetPageSize())
	if err != nil {
		return nil, err
	}
	since, err := timeOf("since", r.GetSince())
	if err != nil {
		return nil, err
	}
	before, err := auditBefore(r.GetPageToken())
	if err != nil {
		return nil, err
	}
	if g.config.Access == nil {
		return nil, messages.Errorf(messages.CodeUnavailable, "this server keeps no audit log")
	}
	if err := g.audit.flush(ctx); err != nil {
		return nil, err
	}
	answer, err := g.auditPage(ctx, r, since, before, size)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

// auditPage looks through chunk after chunk until there are size entries.
func (g *gateway) auditPage(ctx context.Context, r *api.ListAuditRequest, since time.Time, before int64, size int) (*api.ListAuditResponse, error) {
	page := &api.ListAuditResponse{}
	for looked := 0; looked < auditLooked; looked += auditRead {
		chunks, err := g.config.Access.ReadAudit(ctx, before, auditRead)
		if err != nil {
			return nil, err
		}
		for _, c := range chunks {
			before = c.Seq
			if err := addAudit(page, r, since, c); err != nil {
				return nil, err
			}
			if len(page.Entries) >= size {
				page.NextPageToken = strconv.FormatInt(before, 10)
				return page, nil
			}
		}
		if len(chunks) < auditRead || !since.IsZero() && chunks[len(chunks)-1].At.Before(since.Add(-auditSlack)) {
			return page, nil
		}
	}
	page.NextPageToken = strconv.FormatInt(before, 10)
	return page, nil
}

// addAudit adds what is wanted of a chunk, the newest first.
func addAudit(page *api.ListAuditResponse, r *api.ListAuditRequest, since time.Time, c journal.AuditChunk) error {
	records := &messages.AuditRecords{}
	if err := proto.Unmarshal(c.Data, records); err != nil {
		return messages.Errorf(messages.CodeJournalCorrupt, "chunk %d of the audit log: %w", c.Seq, err)
	}
	for _, record := range slices.Backward(records.GetRecords()) {
		if wanted(r, since, record) {
			page.Entries = append(page.Entries, auditEntry(record))
		}
	}
	return nil
}

// auditBefore reads a page token: the number of the last chunk of the page before.
func auditBefore(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	before, err := strconv.ParseInt(token, 10, 64)
	if err != nil || before < 1 || strconv.FormatInt(before, 10) != token {
		return 0, messages.Errorf(messages.CodeInvalidArgument, "page token %.40q: not one that a listing returned", token)
	}
	return before, nil
}

func wanted(r *api.ListAuditRequest, since time.Time, record *messages.AuditRecord) bool {
	is := func(want, has string) bool { return want == "" || want == has }
	return is(r.GetWho(), record.GetWho()) && is(r.GetAction(), record.GetAction()) && is(r.GetTarget(), record.GetTarget()) &&
		(!r.GetFailed() || record.GetCode() != "") && !time.UnixMicro(record.GetAtUs()).Before(since)
}

func auditEntry(r *messages.AuditRecord) *api.AuditEntry {
	return &api.AuditEntry{At: api.Moment(time.UnixMicro(r.GetAtUs())), Who: r.GetWho(), Name: r.GetName(), From: r.GetFrom(), Action: r.GetAction(),
		Target: r.GetTarget(), Count: r.GetCount(), Targets: r.GetTargets(), Code: r.GetCode(), Server: r.GetServer()}
}
