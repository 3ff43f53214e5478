package journal

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// What follows is shared by the stores, so that they cannot differ in it.

// Micros returns a time as it is stored: microseconds since the Unix epoch, 0
// for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the inverse of Micros, in UTC.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Normalize gives a row the form in which every store returns it.
func (r *Row) Normalize() {
	r.WakeAt = FromMicros(Micros(r.WakeAt))
	r.LineSince = FromMicros(Micros(r.LineSince))
	r.CreatedAt = FromMicros(Micros(r.CreatedAt))
	r.FinishedAt = FromMicros(Micros(r.FinishedAt))
	if Finished(r.Status) {
		r.BoundWorker, r.Dormant = "", false
	} else {
		r.LastWorker = ""
	}
}

// Keep restores what never changes from the row that a run had before.
func (r *Row) Keep(old *Row) {
	r.Shard, r.Workflow, r.ParentRun, r.CreatedAt = old.Shard, old.Workflow, old.ParentRun, old.CreatedAt
}

// Matches says whether a filter selects a row, whatever its metadata.
func (f *Filter) Matches(r *Row) bool {
	return f.Wants(GroupOf(r)) &&
		(f.BoundWorker == "" || f.BoundWorker == r.BoundWorker) &&
		(f.ParentRun == "" || f.ParentRun == r.ParentRun) &&
		(f.CreatedAfter.IsZero() || Micros(r.CreatedAt) > Micros(f.CreatedAfter)) &&
		(f.CreatedBefore.IsZero() || Micros(r.CreatedAt) < Micros(f.CreatedBefore))
}

// endedPage is how many children of a run are read at once.
const endedPage = 1000

// EndedChildren returns the ids of a run's children that have ended.
func EndedChildren(ctx context.Context, s Store, runID string) (ended []string, err error) {
	f := Filter{ParentRun: runID, Statuses: []messages.RunStatus{
		messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED, messages.RunStatus_RUN_STATUS_CANCELED}}
	for token := ""; ; {
		rows, next, err := s.List(ctx, f, endedPage, token)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			ended = append(ended, rows[i].RunID)
		}
		if token = next; token == "" {
			return ended, nil
		}
	}
}

// ShardSet answers whether a shard is among those asked for.
type ShardSet struct {
	all bool
	set [messages.Shards]bool
}

// NewShardSet makes a set; nil means all shards, others are left out if they
// are none.
func NewShardSet(shards []int) *ShardSet {
	s := &ShardSet{all: shards == nil}
	for _, shard := range shards {
		if shard >= 0 && shard < messages.Shards {
			s.set[shard] = true
		}
	}
	return s
}

// Has says whether the shard is in the set.
func (s *ShardSet) Has(shard int) bool {
	return s.all || shard >= 0 && shard < messages.Shards && s.set[shard]
}

// PageCursor is the last row of a page of a listing.
type PageCursor struct {
	CreatedAt time.Time
	RunID     string
	// Set is false for the first page.
	Set bool
}

const pageTokenVersion = 1

// NewPageToken makes the token of the page after a row.
func NewPageToken(last *Row) string {
	raw := append([]byte{pageTokenVersion}, binary.BigEndian.AppendUint64(nil, uint64(Micros(last.CreatedAt)))...)
	return base64.RawURLEncoding.EncodeToString(append(raw, last.RunID...))
}

// ParsePageToken reads a token, "" being that of the first page;
// INVALID_ARGUMENT if NewPageToken did not make it.
func ParsePageToken(token string) (PageCursor, error) {
	if token == "" {
		return PageCursor{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 10 || len(raw) > 9+RunIDBytesMax || raw[0] != pageTokenVersion {
		return PageCursor{}, messages.Errorf(messages.CodeInvalidArgument, "page token %.40q: not one that a listing returned", token)
	}
	us := int64(binary.BigEndian.Uint64(raw[1:9]))
	return PageCursor{CreatedAt: FromMicros(us), RunID: string(raw[9:]), Set: true}, nil
}

// before says whether a row comes on a page after the cursor.
func (c *PageCursor) before(r *Row) bool {
	return !c.Set || cmp.Or(r.CreatedAt.Compare(c.CreatedAt), cmp.Compare(r.RunID, c.RunID)) < 0
}

// Conflict is the error of an append whose number is not the next.
func Conflict(runID string, number, has uint64) error {
	return messages.Errorf(messages.CodeJournalConflict, "append to run %q: entry %d does not follow, the run has %d", runID, number, has)
}

// UnknownRun is the error of a run that is not stored.
func UnknownRun(runID string) error {
	return messages.Errorf(messages.CodeUnknownRun, "run %q is not in the journal", runID)
}

// UnknownDefinition is the error of a definition that is not stored.
func UnknownDefinition(hash string) error {
	return messages.Errorf(messages.CodeUnknownWorkflow, "no workflow definition with hash %q is in the journal", hash)
}
