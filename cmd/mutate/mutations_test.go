package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each mutation finds the text that it replaces, once, and leaves source that
// can be read.
func TestMutationsApply(t *testing.T) {
	names := map[string]bool{}
	var all []mutation
	for _, k := range kinds(1) {
		all = append(all, k.rules...)
	}
	for _, m := range all {
		if names[m.name] {
			t.Errorf("%s: twice", m.name)
		}
		names[m.name] = true
		files := map[string]string{}
		for _, c := range m.changes {
			if _, ok := files[c.file]; !ok {
				data, err := os.ReadFile(filepath.Join("..", "..", c.file))
				if err != nil {
					t.Fatal(err)
				}
				files[c.file] = string(data)
			}
			if n := strings.Count(files[c.file], c.old); n != 1 {
				t.Errorf("%s: %s has the text %d times, not once:\n%s", m.name, c.file, n, c.old)
			}
			files[c.file] = strings.Replace(files[c.file], c.old, c.new, 1)
		}
		for name, text := range files {
			if _, err := parser.ParseFile(token.NewFileSet(), name, text, 0); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}
