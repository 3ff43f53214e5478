package activation

import (
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
)

// Servers note in the journal that they are there. Where none did for a while, no
// server was there to place a step, and what a step may wait does not count that
// time.

const (
	// PresenceEvery is the time between two notes of a server, PresenceGap that from
	// which on the time between two notes is an absence.
	PresenceEvery = 3 * time.Second
	PresenceGap   = 2 * PresenceEvery
)

// Unread is what stands for the absences while a server could not read them yet: all
// time until now, so that nothing expires for want of knowing.
func Unread(now time.Time) []run.Absence { return []run.Absence{{To: now}} }

// Absences are the times between stretches in which servers were there.
func Absences(list []journal.Presence) []run.Absence {
	var gaps []run.Absence
	for i := 1; i < len(list); i++ {
		gaps = append(gaps, run.Absence{From: list[i-1].To, To: list[i].From})
	}
	return gaps
}
