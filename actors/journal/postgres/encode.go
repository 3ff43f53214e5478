package postgres

import (
	"cmp"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Phases of a run, what the partial indexes tell rows apart by.
const (
	phaseActive   = 0
	phaseDormant  = 1
	phaseFinished = 2
)

func phase(r *journal.Row) int16 {
	switch {
	case journal.Finished(r.Status):
		return phaseFinished
	case r.Dormant:
		return phaseDormant
	}
	return phaseActive
}

// appendFields is the number of attributes of limpet_append_2.
const appendFields = 24

// appends is a parameter of type limpet_append_2[] in PostgreSQL's binary form:
// a header, then the elements, each as its length and its fields, each of these
// as its type, its length (-1 for NULL) and its bytes. It is written by hand:
// what a library would make of it by reflection costs more than all the rest.
type appends struct {
	buf []byte
	n   int32
}

const appendsHeader = 20

// reset begins an empty array of the composite type.
func (a *appends) reset(composite uint32) {
	a.buf = append(a.buf[:0], make([]byte, appendsHeader)...)
	binary.BigEndian.PutUint32(a.buf[0:], 1) // dimensions
	binary.BigEndian.PutUint32(a.buf[4:], 0) // no element is NULL
	binary.BigEndian.PutUint32(a.buf[8:], composite)
	binary.BigEndian.PutUint32(a.buf[16:], 1) // the first index
	a.n = 0
}

// bytes returns the array.
func (a *appends) bytes() []byte {
	binary.BigEndian.PutUint32(a.buf[12:], uint32(a.n))
	return a.buf
}

// add adds an element.
func (a *appends) add(e *journal.Append) {
	a.n++
	at := len(a.buf)
	a.int32(0) // the length comes later
	a.int32(appendFields)
	a.text(e.RunID)
	a.int4(int32(e.Number))
	a.bytea(e.Entry)
	if e.Row == nil {
		a.buf = append(a.buf, noRow...)
	} else {
		row := *e.Row
		row.Normalize()
		a.row(&row)
	}
	binary.BigEndian.PutUint32(a.buf[at:], uint32(len(a.buf)-at-4))
}

// row adds the fields of a row, in the order of limpet_append_2.
func (a *appends) row(r *journal.Row) {
	a.int2(int16(r.Shard))
	a.int2(phase(r))
	a.int4(int32(r.Status))
	a.int4(int32(r.Sticky))
	a.int4(r.Priority)
	a.int8(int64(r.Epoch))
	a.int8(journal.Micros(r.CreatedAt))
	a.nonzero(journal.Micros(r.FinishedAt))
	a.nonzero(journal.Micros(r.WakeAt))
	a.optional(r.WakeOnUp)
	a.optional(r.WakeOnGone)
	a.optional(cmp.Or(r.BoundWorker, r.LastWorker)) // one of them is empty
	a.text(r.Workflow)
	a.optional(r.Pool)
	a.optional(r.ParentRun)
	a.optional(r.Trigger)
	a.optional(r.DefinitionHash)
	a.optional(r.FailureCode)
	a.optional(storable(r.FailureMessage))
	a.nonzero(r.Line)
	a.int8(journal.Micros(r.LineSince))
}

// metadataFields is the number of attributes of limpet_metadata_1.
const metadataFields = 6

// addMetadata adds the metadata of a run as elements of limpet_metadata_1[].
func (a *appends) addMetadata(e *journal.Append) {
	g := journal.GroupOf(e.Row)
	for _, pair := range journal.Pairs(e.Metadata) {
		a.n++
		at := len(a.buf)
		a.int32(0) // the length comes later
		a.int32(metadataFields)
		a.text(e.RunID)
		a.bytea(pair[:])
		a.text(g.Workflow)
		a.int4(int32(g.Status))
		a.int4(g.Child)
		a.int8(journal.Micros(e.Row.CreatedAt))
		binary.BigEndian.PutUint32(a.buf[at:], uint32(len(a.buf)-at-4))
	}
}

// waitFields is the number of attributes of limpet_wait_1.
const waitFields = 5

// addWaits adds what an element changes of waits as elements of limpet_wait_1[].
func (a *appends) addWaits(e *journal.Append) {
	for _, c := range e.Waits {
		a.n++
		at := len(a.buf)
		a.int32(0) // the length comes later
		a.int32(waitFields)
		a.text(e.RunID)
		a.text(c.Wait.ID)
		if c.Over {
			a.null(pgtype.TextOID)
		} else {
			a.text(c.Wait.Pattern)
		}
		a.text(c.Wait.If)
		a.int8(journal.Micros(c.Wait.Since))
		binary.BigEndian.PutUint32(a.buf[at:], uint32(len(a.buf)-at-4))
	}
}

// streamFields is the number of attributes of limpet_stream_1.
const streamFields = 6

// addStreams adds what an element changes of streams as elements of limpet_stream_1[].
func (a *appends) addStreams(e *journal.Append) {
	for _, c := range e.Streams {
		a.n++
		at := len(a.buf)
		a.int32(0) // the length comes later
		a.int32(streamFields)
		a.text(e.RunID)
		a.text(c.Stream)
		a.int4(c.Section)
		a.text(c.Step)
		if c.Attempt == 0 {
			a.null(pgtype.Int4OID)
		} else {
			a.int4(c.Attempt)
		}
		a.bool(c.Over)
		binary.BigEndian.PutUint32(a.buf[at:], uint32(len(a.buf)-at-4))
	}
}

// cutFields is the number of attributes of limpet_cut_1.
const cutFields = 3

// addCut adds what an element cuts as elements of limpet_cut_1[].
func (a *appends) addCut(e *journal.Append) {
	if e.Cut == 0 {
		return
	}
	a.cut(e, 0)
	for _, number := range e.Kept {
		a.cut(e, number)
	}
}

func (a *appends) cut(e *journal.Append, kept uint64) {
	a.n++
	at := len(a.buf)
	a.int32(0) // the length comes later
	a.int32(cutFields)
	a.text(e.RunID)
	a.int4(int32(e.Cut))
	if kept == 0 {
		a.null(pgtype.Int4OID)
	} else {
		a.int4(int32(kept))
	}
	binary.BigEndian.PutUint32(a.buf[at:], uint32(len(a.buf)-at-4))
}

// noRow is the fields of a row that does not change: all NULL.
var noRow = func() []byte {
	a := &appends{}
	for _, oid := range []uint32{
		pgtype.Int2OID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int4OID, pgtype.Int4OID, pgtype.Int8OID,
		pgtype.Int8OID, pgtype.Int8OID, pgtype.Int8OID,
		pgtype.TextOID, pgtype.TextOID, pgtype.TextOID, pgtype.TextOID, pgtype.TextOID,
		pgtype.TextOID, pgtype.TextOID, pgtype.TextOID, pgtype.TextOID, pgtype.TextOID,
		pgtype.Int8OID, pgtype.Int8OID,
	} {
		a.null(oid)
	}
	return a.buf
}()

func (a *appends) int32(v int32) { a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(v)) }

func (a *appends) field(oid uint32, length int) {
	a.buf = binary.BigEndian.AppendUint32(a.buf, oid)
	a.int32(int32(length))
}

func (a *appends) null(oid uint32) { a.field(oid, -1) }

func (a *appends) int2(v int16) {
	a.field(pgtype.Int2OID, 2)
	a.buf = binary.BigEndian.AppendUint16(a.buf, uint16(v))
}

func (a *appends) int4(v int32) {
	a.field(pgtype.Int4OID, 4)
	a.int32(v)
}

func (a *appends) int8(v int64) {
	a.field(pgtype.Int8OID, 8)
	a.buf = binary.BigEndian.AppendUint64(a.buf, uint64(v))
}

func (a *appends) bool(v bool) {
	a.field(pgtype.BoolOID, 1)
	if v {
		a.buf = append(a.buf, 1)
		return
	}
	a.buf = append(a.buf, 0)
}

func (a *appends) nonzero(v int64) {
	if v == 0 {
		a.null(pgtype.Int8OID)
		return
	}
	a.int8(v)
}

func (a *appends) text(v string) {
	a.field(pgtype.TextOID, len(v))
	a.buf = append(a.buf, v...)
}

func (a *appends) optional(v string) {
	if v == "" {
		a.null(pgtype.TextOID)
		return
	}
	a.text(v)
}

func (a *appends) bytea(v []byte) {
	a.field(pgtype.ByteaOID, len(v))
	a.buf = append(a.buf, v...)
}

// isText says whether PostgreSQL can store a string as text.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// storable makes a text of a message that somebody else's code made: what
// cannot be stored is replaced. The entry has it as it was.
func storable(s string) string {
	if isText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// storableNames refuses an append with a name that cannot be stored as text;
// it would harm its whole batch.
func storableNames(a *journal.Append) error {
	if !isText(a.RunID) {
		return messages.Errorf(messages.CodeInvalidArgument, "append: run id %q: it is not a text without zero bytes", a.RunID)
	}
	for _, c := range a.Waits {
		if w := c.Wait; !isText(w.ID) || !isText(w.Pattern) || !isText(w.If) {
			return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: wait %q for event %q if %q: it is not a text without zero bytes", a.RunID, w.ID, w.Pattern, w.If)
		}
	}
	for _, c := range a.Streams {
		if !isText(c.Stream) || !isText(c.Step) {
			return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: stream %q of step %q: it is not a text without zero bytes", a.RunID, c.Stream, c.Step)
		}
	}
	r := a.Row
	if r == nil {
		return nil
	}
	for _, f := range []struct{ name, value string }{
		{"workflow", r.Workflow}, {"definition hash", r.DefinitionHash}, {"pool", r.Pool}, {"parent run", r.ParentRun},
		{"trigger", r.Trigger}, {"bound worker", r.BoundWorker}, {"last worker", r.LastWorker}, {"wake on up", r.WakeOnUp}, {"wake on gone", r.WakeOnGone},
		{"failure code", r.FailureCode},
	} {
		if !isText(f.value) {
			return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: %s %q: it is not a text without zero bytes", a.RunID, f.name, f.value)
		}
	}
	return nil
}
