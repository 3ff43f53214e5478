package config

import (
	"testing"

	"go.yaml.in/yaml/v3"
)

// FuzzFile: whatever a file of settings holds is refused by key and line, or read.
func FuzzFile(f *testing.F) {
	f.Add([]byte("store: memory\njoin: [a:1, b:2]\nretention: 24h\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("--- 1\n--- 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := file{path: "FILE", nodes: map[string]*yaml.Node{}}
		if read.parse(data) != nil {
			return
		}
		for key := range read.nodes {
			if !known(key) {
				t.Errorf("key %q is taken", key)
			}
		}
	})
}

func known(key string) bool {
	for _, s := range Table {
		if s.Key() == key {
			return true
		}
	}
	return false
}
