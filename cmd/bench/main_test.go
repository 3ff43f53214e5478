package main

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/cmd/internal/program"
)

func TestHelpAndWrongUse(t *testing.T) {
	for args, want := range map[string]int{"--help": program.ExitOK, "--runs -1": program.ExitUsage, "--no-such": program.ExitUsage, "more": program.ExitUsage} {
		cmd := command()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		if code := program.Execute(t.Context(), cmd, strings.Fields(args)); code != want || out.Len() == 0 {
			t.Errorf("bench %s: exit code %d, %q", args, code, &out)
		}
		if args == "--help" && !strings.Contains(out.String(), "Examples:\n  bench") {
			t.Errorf("no example in %s", &out)
		}
	}
}
