package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
)

// What callers are told in place of errors whose own words are of the inside of a
// server: paths, addresses and names of databases. The server's log has those.
const (
	journalAwayText = "the journal is out of reach; it is not known whether the call takes effect when it is back"
	journalText     = "the journal of the server cannot be used; the server's log says why"
	internalText    = "the server failed at the call; the server's log says at what"
)

var discreetTexts = map[messages.Code]string{
	messages.CodeJournalUnavailable: journalAwayText,
	messages.CodeJournalCorrupt:     journalText,
	messages.CodeJournalNewer:       journalText,
	messages.CodeJournalInUse:       journalText,
	messages.CodeJournalDenied:      journalText,
	messages.CodeInternal:           internalText,
}

// discreet replaces the message of an error that is of the inside of a server, and
// logs it. Other errors, and those that were replaced before, are returned as they
// are.
func (g *gateway) discreet(procedure string, err error) error {
	var e *messages.Error
	var done *connect.Error
	if err == nil || errors.As(err, &done) || !errors.As(err, &e) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	code := messages.CodeOf(err)
	text, inside := discreetTexts[code]
	if !inside || strings.Contains(messageOf(err), text) {
		return err
	}
	level := slog.LevelError
	if code == messages.CodeJournalUnavailable {
		level = slog.LevelDebug // The committer says so once, and not for each call.
	}
	g.config.Logger.Log(context.Background(), level, "error in the API", "procedure", procedure, "error", err)
	return messages.Errorf(code, "%s", text)
}
