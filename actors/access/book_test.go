package access

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

func done(at int64, who, action, target string) *messages.AuditRecord {
	return &messages.AuditRecord{AtUs: at, Who: who, From: "10.0.0.1", Action: action, Target: target, Count: 1, Targets: 1, Server: "s"}
}

func said(records []*messages.AuditRecord) string {
	text := ""
	for _, r := range records {
		text += fmt.Sprintf("%d %s %s %s ×%d/%d; ", r.AtUs, r.Who, r.Action, r.Target, r.Count, r.Targets)
	}
	return text
}

// TestABookCountsWhatIsAlike, and keeps the order of what is not; what could not be
// written comes first again.
func TestABookCountsWhatIsAlike(t *testing.T) {
	b := &Book{}
	b.Note(done(1, "a", "StartRun", "w"))
	b.Note(done(2, "b", "StartRun", "w"))
	b.Note(done(3, "a", "StartRun", "w"))
	b.Note(done(4, "a", "CancelRun", "r"))
	taken := b.Take()
	if got, want := said(taken), "1 a StartRun w ×2/2; 2 b StartRun w ×1/1; 4 a CancelRun r ×1/1; "; got != want {
		t.Errorf("noted %s, want %s", got, want)
	}
	b.Note(done(5, "c", "CancelRun", "r"))
	b.Note(done(6, "a", "CancelRun", "r"))
	b.Return(taken)
	if got, want := said(b.Take()), "1 a StartRun w ×2/2; 2 b StartRun w ×1/1; 4 a CancelRun r ×2/2; 5 c CancelRun r ×1/1; "; got != want {
		t.Errorf("returned %s, want %s", got, want)
	}
	if len(b.Take()) != 0 {
		t.Error("it is not empty after it was emptied")
	}
}

// TestAFullBookLosesNoCount: a million strangers are counted, if not by name.
func TestAFullBookLosesNoCount(t *testing.T) {
	b := &Book{}
	const calls = 3 * bookMax
	for i := range calls {
		b.Note(done(1, strconv.Itoa(i), "Enter", strconv.Itoa(i)))
		b.Note(done(1, "one", "CancelRun", strconv.Itoa(i)))
	}
	taken := b.Take()
	count, targets := int64(0), int64(0)
	for _, r := range taken {
		count, targets = count+r.Count, targets+r.Targets
	}
	if count != 2*calls || targets != 2*calls || len(taken) > bookMax+4 {
		t.Errorf("%d calls to %d targets in %d records, want %d and no more than %d records", count, targets, len(taken), 2*calls, bookMax+4)
	}
}
