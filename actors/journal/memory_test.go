package journal_test

import (
	"testing"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
)

func TestMemory(t *testing.T) {
	journaltest.Exercise(t, func(*testing.T) journal.Store { return journal.NewMemory() }, nil)
}
