package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// How stores find the page of a listing. An index has the runs by what drives
// the listing, then by group, then in the order of the listing. So a page is
// merged from the groups that the filter wants, and reads of each what it needs.

// Driver is what chooses the index of a listing.
type Driver int

// Drivers, the one that selects most at the end.
const (
	// DrivenByAll is for a filter by neither of those below.
	DrivenByAll Driver = iota
	DrivenByMetadata
	DrivenByWorker
	DrivenByParent
)

// Driver of a listing by the filter.
func (f *Filter) Driver() Driver {
	switch {
	case f.ParentRun != "":
		return DrivenByParent
	case f.BoundWorker != "":
		return DrivenByWorker
	case len(f.Metadata) > 0:
		return DrivenByMetadata
	}
	return DrivenByAll
}

// Scans says whether the driver selects more rows than the filter does, so that
// each has to be looked at.
func (f *Filter) Scans() bool {
	n := len(f.Metadata)
	if f.BoundWorker != "" {
		n++
	}
	if f.ParentRun != "" {
		n++
	}
	return n > 1
}

// Group is a part of the rows of a driver that an index has together.
type Group struct {
	Workflow string
	Status   messages.RunStatus
	// Child is 1 for runs with a parent.
	Child int32
}

// Wants says whether a filter selects rows of a group.
func (f *Filter) Wants(g Group) bool {
	return (f.Workflow == "" || f.Workflow == g.Workflow) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, g.Status)) &&
		(!f.Roots || g.Child == 0)
}

// GroupOf is the group of a row.
func GroupOf(r *Row) Group {
	g := Group{Workflow: r.Workflow, Status: r.Status}
	if r.ParentRun != "" {
		g.Child = 1
	}
	return g
}

// Position of a row in a listing.
type Position struct {
	CreatedAt int64 // in microseconds
	RunID     string
}

// Between returns what the rows of a page lie between: they are created after a
// time, in microseconds, and come before a position.
func (f *Filter) Between(cursor PageCursor) (after int64, before Position) {
	after, before = math.MinInt64, Position{CreatedAt: math.MaxInt64}
	if !f.CreatedAfter.IsZero() {
		after = Micros(f.CreatedAfter)
	}
	if cursor.Set {
		before = Position{Micros(cursor.CreatedAt), cursor.RunID}
	}
	// No run id is less than the empty one.
	if !f.CreatedBefore.IsZero() && Micros(f.CreatedBefore) <= before.CreatedAt {
		before = Position{CreatedAt: Micros(f.CreatedBefore)}
	}
	return after, before
}

// MetadataPair is an entry of metadata as stores look for it: a digest, for
// values may be longer than an index allows, and any text.
type MetadataPair [16]byte

// Pair makes one. No key has an equals sign.
func Pair(key, value string) MetadataPair {
	sum := sha256.Sum256([]byte(key + "=" + value))
	return MetadataPair(sum[:16])
}

// Pairs returns those of metadata, ordered by key.
func Pairs(metadata map[string]string) []MetadataPair {
	if len(metadata) == 0 {
		return nil
	}
	keys := make([]string, 0, len(metadata))
	for key := range metadata {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	pairs := make([]MetadataPair, len(keys))
	for i, key := range keys {
		pairs[i] = Pair(key, metadata[key])
	}
	return pairs
}

// MatchesMetadata says whether a filter selects a run with this metadata.
func (f *Filter) MatchesMetadata(metadata map[string]string) bool {
	for key, value := range f.Metadata {
		if has, ok := metadata[key]; !ok || has != value {
			return false
		}
	}
	return true
}

// MetadataOf reads a run's metadata from its first entry: for runs that were
// stored before stores kept it. What is no entry has none.
func MetadataOf(entry []byte) map[string]string {
	var e messages.Entry
	if proto.Unmarshal(entry, &e) != nil {
		return nil
	}
	for _, event := range e.GetEvents() {
		if started := event.GetRunStarted(); started != nil {
			return started.GetMetadata()
		}
	}
	return nil
}

// GroupCount is how many rows of a listing a workflow has in a status.
type GroupCount struct {
	Workflow string
	Status   messages.RunStatus
	Rows     int
	// More says that there are more: that many were counted.
	More bool
}

// CountsOf adds up counts of groups by workflow and status, in order, up to a limit.
func CountsOf(groups []GroupCount, limit int) []GroupCount {
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b GroupCount) int {
		return cmp.Or(cmp.Compare(a.Workflow, b.Workflow), cmp.Compare(a.Status, b.Status))
	})
	out := groups[:0]
	for _, g := range groups {
		switch n := len(out); {
		case n > 0 && out[n-1].Workflow == g.Workflow && out[n-1].Status == g.Status:
			out[n-1].Rows += g.Rows
			out[n-1].More = out[n-1].More || g.More
		case g.Rows > 0:
			out = append(out, g)
		}
	}
	for i := range out {
		if out[i].Rows > limit {
			out[i].Rows, out[i].More = limit, true
		}
	}
	return out
}

// CountPage counts the rows of the first page of a listing: for filters without an index
// that selects only what is wanted.
func CountPage(ctx context.Context, s Store, f Filter, limit int) ([]GroupCount, error) {
	rows, next, err := s.List(ctx, f, min(limit, ListScanMax), "")
	if err != nil {
		return nil, err
	}
	groups := make([]GroupCount, len(rows))
	for i, r := range rows {
		groups[i] = GroupCount{Workflow: r.Workflow, Status: r.Status, Rows: 1, More: next != ""}
	}
	return CountsOf(groups, limit), nil
}
