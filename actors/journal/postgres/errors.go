package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/limpetrun/limpet/messages"
)

// SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	stateUniqueViolation  = "23505"
	stateSerialization    = "40001"
	stateDeadlock         = "40P01"
	stateReadOnly         = "25006"
	stateNoDatabase       = "3D000"
	stateNoPrivilege      = "42501"
	stateTooManySessions  = "53300"
	stateDiskFull         = "53100"
	stateLockTimeout      = "55P03"
	stateCanceled         = "57014"
	stateAdminShutdown    = "57P01"
	stateCrashShutdown    = "57P02"
	stateCannotConnectNow = "57P03"
	stateDataCorrupted    = "XX001"
	stateIndexCorrupted   = "XX002"

	classData          = "22"
	classIntegrity     = "23"
	classAuthorization = "28"
	classUnsupported   = "0A"
	classNoSchema      = "3F"
	classAccess        = "42"
	classLimit         = "54"
)

// causes say what SQLSTATEs mean here, before PostgreSQL's own words.
var causes = map[string]string{
	stateReadOnly:         "the database takes no writes, it may be a standby",
	stateTooManySessions:  "the database has no connection left",
	stateDiskFull:         "the disk of the database is full",
	stateLockTimeout:      "somebody else holds a lock",
	stateCanceled:         "the statement took too long",
	stateAdminShutdown:    "the database is shutting down",
	stateCrashShutdown:    "the database has crashed",
	stateCannotConnectNow: "the database is starting or stopping",
}

// stateOf returns the SQLSTATE of an error, "" if the database did not send it.
func stateOf(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// collided says whether another transaction came in between, and nothing was
// stored: the same again may work at once.
func collided(err error) bool {
	switch stateOf(err) {
	case stateUniqueViolation, stateSerialization, stateDeadlock:
		return true
	}
	return false
}

// codeOf gives an error of the database, or of the way to it, its code. All
// that may pass, be it that somebody has to free space or grant a right first,
// is JOURNAL_UNAVAILABLE.
func codeOf(err error) messages.Code {
	state := stateOf(err)
	switch {
	case state == stateDataCorrupted || state == stateIndexCorrupted:
		return messages.CodeJournalCorrupt
	case strings.HasPrefix(state, classData):
		return messages.CodeInvalidArgument
	case strings.HasPrefix(state, classLimit):
		return messages.CodeLimitExceeded
	case strings.HasPrefix(state, classIntegrity) && !collided(err):
		return messages.CodeInternal
	}
	return messages.CodeJournalUnavailable
}

// ofData says whether it is what was to be stored that the database refused.
func ofData(err error) bool {
	switch codeOf(err) {
	case messages.CodeInvalidArgument, messages.CodeLimitExceeded, messages.CodeInternal:
		return true
	}
	return false
}

// lost says whether all connections should be made anew: they are likely to be
// broken too, or to lead to a server that is not the one to talk to. Not so
// after a call without an answer: the database may just be slow, and new
// connections would make it slower.
func lost(err error) bool {
	if late(err) || errors.Is(err, context.Canceled) {
		return false
	}
	switch stateOf(err) {
	case "", stateReadOnly, stateAdminShutdown, stateCrashShutdown, stateCannotConnectNow:
		return true
	}
	return false
}

// late says whether there was no answer in time.
func late(err error) bool {
	var unreachable net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &unreachable) && unreachable.Timeout()
}

// line is an error whose text is one line: that of a connection that several
// addresses refused has one for each.
type line struct{ error }

func (l line) Error() string { return strings.Join(strings.Fields(l.error.Error()), " ") }
func (l line) Unwrap() error { return l.error }

// fail gives an error its code, and says where and why.
func (s *Store) fail(what string, err error) error {
	var coded *messages.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	err = line{err}
	if cause := causes[stateOf(err)]; cause != "" {
		return messages.Errorf(codeOf(err), "journal %s: %s: %s: %w", s.name, what, cause, err)
	}
	if late(err) {
		return messages.Errorf(messages.CodeJournalUnavailable, "journal %s: %s: no answer in time: %w", s.name, what, err)
	}
	return messages.Errorf(codeOf(err), "journal %s: %s: %w", s.name, what, err)
}

// failOpen is fail for what happens when the journal is opened: what no waiting
// mends is then a mistake of whoever gave the URL, or the rights.
func (s *Store) failOpen(err error) error {
	state := stateOf(err)
	class := state[:min(2, len(state))]
	var untrusted *tls.CertificateVerificationError
	switch {
	case state == stateNoPrivilege:
		return messages.Errorf(messages.CodeJournalDenied, "journal %s: open: %w", s.name, line{err})
	case state == stateNoDatabase, errors.As(err, &untrusted),
		class == classAuthorization, class == classUnsupported, class == classNoSchema, class == classAccess:
		return messages.Errorf(messages.CodeInvalidArgument, "journal %s: open: %w", s.name, line{err})
	}
	var coded *messages.Error
	if errors.As(err, &coded) {
		return messages.Errorf(coded.Code, "journal %s: %w", s.name, err)
	}
	return s.fail("open", err)
}
