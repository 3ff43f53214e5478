package guard_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/actors/guard"
	"github.com/limpetrun/limpet/messages"
)

func TestGuard(t *testing.T) {
	var log bytes.Buffer
	g := guard.New(slog.New(slog.NewTextHandler(&log, nil)))
	wanted := errors.New("wanted")
	for _, err := range []error{nil, wanted} {
		if got := g.Do(func() error { return err }); got != err {
			t.Errorf("a function returned %v, and the guard %v", err, got)
		}
	}
	if g.Panics() != 0 || log.Len() > 0 {
		t.Errorf("%d panics without one; the log says %s", g.Panics(), &log)
	}
	var nobody *messages.StartRun
	for range 2 {
		err := g.Do(func() error { nobody.RunId = "x"; return nil })
		if messages.CodeOf(err) != messages.CodeInternal {
			t.Errorf("a panic became %v, want INTERNAL", err)
		}
	}
	if g.Panics() != 2 || strings.Count(log.String(), "guard_test.go") < 2 {
		t.Errorf("%d panics are counted, want 2 with their stacks; the log says %s", g.Panics(), &log)
	}
}
