package sdk_test

import (
	"os/exec"
	"strings"
	"testing"
)

// What users read shows them nothing of how workers call what they write.
func TestDocsShowNoInternals(t *testing.T) {
	for _, dir := range []string{".", "./worker", "./sdktest"} {
		doc, err := exec.CommandContext(t.Context(), "go", "doc", "-all", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		_, declared, _ := strings.Cut(string(doc), "\nFUNCTIONS\n")
		for line := range strings.Lines(declared) {
			for _, inner := range []string{"attempt.", "usercode.", "slots.", "activation.", "parts."} {
				code, _, _ := strings.Cut(line, "//")
				if prose := strings.HasPrefix(line, "    "); !prose && strings.Contains(code, inner) {
					t.Errorf("go doc ./sdk/%s shows %s", dir, strings.TrimSpace(line))
				}
			}
		}
	}
}
