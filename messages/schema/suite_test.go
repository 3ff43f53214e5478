package schema

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

var _ jsonschema.Schema // its module has the suite

// The official suite of the drafts, as it lies in the module of a library.
func TestSuiteOfTheDrafts(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/jsonschema-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked, refused := 0, map[string]int{}
	for _, draft := range []string{"draft7", "draft2020-12"} {
		files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "jsonschema", "testdata", draft, "*.json"))
		if len(files) < 30 {
			t.Fatalf("%d files of the suite of %s", len(files), draft)
		}
		for _, file := range files {
			c, r := runSuite(t, draft, file)
			checked += c
			for text, n := range r {
				refused[text] += n
			}
		}
	}
	t.Logf("%d cases agree, not supported: %v", checked, refused)
	if checked < 1500 {
		t.Errorf("%d cases only", checked)
	}
}

func runSuite(t *testing.T, draft, file string) (checked int, refused map[string]int) {
	t.Helper()
	refused = map[string]int{}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Description string
		Schema      json.RawMessage
		Tests       []struct {
			Description string
			Data        json.RawMessage
			Valid       bool
		}
	}
	if err := json.Unmarshal(data, &groups); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		text := string(g.Schema)
		if draft == "draft7" && strings.HasPrefix(text, "{") && !strings.Contains(text, `"$schema"`) {
			text = `{"$schema":"http://json-schema.org/draft-07/schema#",` + text[1:]
			text = strings.Replace(text, ",}", "}", 1)
		}
		s, err := Compile(text)
		if err != nil {
			known := false
			for _, why := range []string{"leads elsewhere", "not supported", "$schema is"} {
				if strings.Contains(err.Error(), why) {
					refused[why] += len(g.Tests)
					known = true
				}
			}
			if !known {
				t.Errorf("%s: %s: %v", filepath.Base(file), g.Description, err)
			}
			continue
		}
		for _, c := range g.Tests {
			d, err := Parse(c.Data)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check(d); (err == nil) != c.Valid {
				t.Errorf("%s %s: %s: %s: %s: %v", draft, filepath.Base(file), g.Description, c.Description, c.Data, err)
			}
			checked++
		}
	}
	return checked, refused
}
