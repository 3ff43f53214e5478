package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/messages"
)

// inspect looks at the file before anything may change it. One that does not exist
// becomes a new journal, and one that is empty if beginning says that a new journal
// was begun here and not finished. Any other empty file has lost something.
func inspect(ctx context.Context, path string, beginning bool, checkBytesMax int64) error {
	size, there, err := inspectHeader(path)
	switch {
	case err != nil:
		return err
	case size == 0 && beginning:
		return nil
	case size == 0 && hasWAL(path):
		return messages.Errorf(messages.CodeJournalCorrupt, "journal %q: the file is empty or gone, and what was written last is in %s-wal", path, path)
	case there && size == 0:
		return messages.Errorf(messages.CodeJournalCorrupt, "journal %q: the file is empty, and no journal was begun in it; delete the file to begin one", path)
	case size == 0:
		return nil
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return failed(path, "open", err)
	}
	defer conn.Close()
	conn.SetInterrupt(ctx.Done())
	if err := inspectVersion(conn, path); err != nil {
		return err
	}
	if checkBytesMax >= 0 && size > checkBytesMax {
		return nil
	}
	fault, err := queryText(conn, "PRAGMA quick_check(1)")
	if err != nil {
		return failed(path, "check", err)
	}
	if fault != "ok" {
		return messages.Errorf(messages.CodeJournalCorrupt, "journal %q: %s", path, strings.ReplaceAll(fault, "\n", ": "))
	}
	return nil
}

// The header of a database file: https://sqlite.org/fileformat2.html#the_database_header
const (
	headerBytes  = 100
	headerMagic  = "SQLite format 3\x00"
	pageSizeAt   = 16
	changeAt     = 24
	pagesAt      = 28
	validForAt   = 92
	pageSize64Ki = 1
)

// inspectHeader returns the size of the file, and whether there is one.
func inspectHeader(path string) (size int64, there bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, true, failed(path, "open", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, true, failed(path, "open", err)
	}
	if !info.Mode().IsRegular() {
		return 0, true, messages.Errorf(messages.CodeInvalidArgument, "journal %q: it is not a file", path)
	}
	if info.Size() == 0 {
		return 0, true, nil
	}
	var header [headerBytes]byte
	if _, err := io.ReadFull(file, header[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, true, messages.Errorf(messages.CodeJournalCorrupt, "journal %q: it has %d bytes, not even a header", path, info.Size())
	} else if err != nil {
		return 0, true, failed(path, "read the header", err)
	}
	if string(header[:len(headerMagic)]) != headerMagic {
		return 0, true, messages.Errorf(messages.CodeJournalCorrupt, "journal %q: it is not a database, or its header is damaged", path)
	}
	pageSize := int64(binary.BigEndian.Uint16(header[pageSizeAt:]))
	if pageSize == pageSize64Ki {
		pageSize = 64 << 10
	}
	field := func(at int) uint32 { return binary.BigEndian.Uint32(header[at:]) }
	// With a WAL the file may be short: a checkpoint that was cut off wrote
	// the header before the last pages, which the WAL still has.
	want := int64(field(pagesAt)) * pageSize
	if field(changeAt) == field(validForAt) && info.Size() < want {
		inWAL, err := pagesInWAL(path, pageSize)
		if err != nil {
			return 0, true, failed(path, "read the WAL", err)
		}
		for page := info.Size()/pageSize + 1; page <= int64(field(pagesAt)); page++ {
			if !inWAL[uint32(page)] {
				return 0, true, messages.Errorf(messages.CodeJournalCorrupt, "journal %q: it has been cut off: %d bytes of %d are there", path, info.Size(), want)
			}
		}
	}
	return info.Size(), true, nil
}

// pagesInWAL returns the pages that the WAL has. It is read up to the first frame
// of an earlier round.
func pagesInWAL(path string, pageSize int64) (map[uint32]bool, error) {
	const headerBytes, frameBytes, saltAt, saltBytes, frameSaltAt = 32, 24, 16, 8, 8
	if !hasWAL(path) {
		return nil, nil
	}
	file, err := os.Open(path + "-wal")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var header [headerBytes]byte
	if _, err := io.ReadFull(file, header[:]); err != nil {
		return nil, err
	}
	pages := map[uint32]bool{}
	var frame [frameBytes]byte
	for at := int64(headerBytes); ; at += frameBytes + pageSize {
		_, err := file.ReadAt(frame[:], at)
		if errors.Is(err, io.EOF) || err == nil && !bytes.Equal(frame[frameSaltAt:frameSaltAt+saltBytes], header[saltAt:saltAt+saltBytes]) {
			return pages, nil
		}
		if err != nil {
			return nil, err
		}
		pages[binary.BigEndian.Uint32(frame[:])] = true
	}
}

// hasWAL says whether there is a WAL that was written to; it then begins with
// https://sqlite.org/fileformat2.html#the_write_ahead_log, either byte order.
func hasWAL(path string) bool {
	file, err := os.Open(path + "-wal")
	if err != nil {
		return false
	}
	defer file.Close()
	var magic [4]byte
	_, err = io.ReadFull(file, magic[:])
	return err == nil && binary.BigEndian.Uint32(magic[:])&^1 == 0x377f0682
}

func inspectVersion(conn *sqlite.Conn, path string) error {
	id, err := queryInt(conn, "PRAGMA application_id")
	if err != nil {
		return failed(path, "read its application", err)
	}
	version, err := queryInt(conn, "PRAGMA user_version")
	if err != nil {
		return failed(path, "read its version", err)
	}
	tables, err := queryInt(conn, "SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return failed(path, "read its schema", err)
	}
	switch {
	case id == 0 && tables == 0:
		return nil
	case id&^applicationGeneration != applicationFamily:
		return messages.Errorf(messages.CodeInvalidArgument, "journal %q: it is the database of another application (application_id %#x)", path, id)
	case id > applicationID || version > int64(len(schema.Migrations)):
		return messages.Errorf(messages.CodeJournalNewer, "journal %q: its format is %d.%d, this version of limpet knows up to %d.%d",
			path, id&applicationGeneration, version, applicationID&applicationGeneration, len(schema.Migrations))
	}
	return nil
}

func queryInt(conn *sqlite.Conn, sql string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		n = s.ColumnInt64(0)
		return nil
	}})
	return n, err
}

func queryText(conn *sqlite.Conn, sql string) (text string, err error) {
	err = sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		text = s.ColumnText(0)
		return nil
	}})
	return text, err
}
