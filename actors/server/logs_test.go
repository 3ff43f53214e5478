package server

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/limpetrun/limpet/messages"
)

// The line of a failure whose text is too long is cut between two characters, wherever
// its words end: else nobody could read the log.
func TestALineOfAFailureIsText(t *testing.T) {
	for before := range 2 {
		text := strings.Repeat("x", before) + strings.Repeat("ä", messages.LogLineBytesMax)
		c := failureIn(nil, &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{
			Step: "a", Attempt: 1, Failure: &messages.Failure{Code: string(messages.CodeUserError), Message: text}}}})
		line := c.Lines[0]
		if n := len(line.Message); !line.Cut || !utf8.ValidString(line.Message) || n > messages.LogLineBytesMax || n < messages.LogLineBytesMax-1 {
			t.Errorf("%d bytes, cut: %v, text: %v", n, line.Cut, utf8.ValidString(line.Message))
		}
	}
}
