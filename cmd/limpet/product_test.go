package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTheProductHasNoLaboratory lists what is linked into limpet: of the other
// commands, and of what they share, nothing.
func TestTheProductHasNoLaboratory(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	own := 0
	for name := range strings.Lines(string(out)) {
		_, command, ok := strings.Cut(strings.TrimSpace(name), "/limpet/cmd/")
		switch {
		case !ok:
		case command == "limpet" || strings.HasPrefix(command, "limpet/"):
			own++
		default:
			t.Errorf("limpet contains cmd/%s", command)
		}
	}
	if own == 0 {
		t.Errorf("limpet does not contain itself:\n%s", out)
	}
}
