package sqlite

import (
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

// inspect looks at the file before anything may change it. A file that does
// not exist or is empty is good: it becomes a new journal.
func inspect(ctx context.Context, path string, checkBytesMax int64) error {
	size, err := inspectHeader(path)
	if err != nil || size == 0 {
		return err
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

// inspectHeader returns the size of the file, 0 if there is none.
func inspectHeader(path string) (size int64, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, failed(path, "open", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, failed(path, "open", err)
	}
	if !info.Mode().IsRegular() {
		return 0, messages.Errorf(messages.CodeInvalidArgument, "journal %q: it is not a file", path)
	}
	if info.Size() == 0 {
		return 0, nil
	}
	var header [headerBytes]byte
	if _, err := io.ReadFull(file, header[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, messages.Errorf(messages.CodeJournalCorrupt, "journal %q: it has %d bytes, not even a header", path, info.Size())
	} else if err != nil {
		return 0, failed(path, "read the header", err)
	}
	if string(header[:len(headerMagic)]) != headerMagic {
		return 0, messages.Errorf(messages.CodeJournalCorrupt, "journal %q: it is not a database, or its header is damaged", path)
	}
	pageSize := int64(binary.BigEndian.Uint16(header[pageSizeAt:]))
	if pageSize == pageSize64Ki {
		pageSize = 64 << 10
	}
	field := func(at int) uint32 { return binary.BigEndian.Uint32(header[at:]) }
	// With a WAL the file may be short: a checkpoint that was cut off wrote
	// the header before the last pages, which the WAL still has.
	want := int64(field(pagesAt)) * pageSize
	if field(changeAt) == field(validForAt) && info.Size() < want && !hasWAL(path) {
		return 0, messages.Errorf(messages.CodeJournalCorrupt, "journal %q: it has been cut off: %d bytes of %d are there", path, info.Size(), want)
	}
	return info.Size(), nil
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
