package demo

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// corpus of two packages with files that are, and are not, to be read.
func corpus(t *testing.T) Corpus {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/one.go":           "package a // a Mutex: Lock, Lock, unlock; Lock2 is another word",
		"a/two.go":           "Mutex",
		"a/two_test.go":      "Lock Mutex",
		"a/testdata/no.go":   "Lock Mutex",
		"b/c/three.go":       "Lock\nMutex _Lock Löck",
		"b/c/README":         "Lock Mutex",
		"cmd/go/main.go":     "Lock Mutex",
		"vendor/x/vendor.go": "Lock Mutex",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	corpora, err := slice(root, 1)
	if err != nil {
		t.Fatal(err)
	}
	return corpora[0]
}

func TestTheIndexAnswersAsASearchDoes(t *testing.T) {
	c := corpus(t)
	if want := []string{"a", "b/c"}; !reflect.DeepEqual(c.Packages, want) {
		t.Fatalf("packages %q", c.Packages)
	}
	x, err := BuildIndex(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if x.Files != 3 {
		t.Errorf("%d files", x.Files)
	}
	asked := []string{"Mutex Lock", "Mutex", "Lock", "unlock", "nowhere", "Mutex nowhere"}
	searched, err := c.Count(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range asked {
		if got := x.Answer(q); got != searched[i] {
			t.Errorf("%q: index %+v, search %+v", q, got, searched[i])
		}
	}
	if got := x.Answer("Mutex Lock"); got.Files != 2 || got.Hits != 5 {
		t.Errorf("%+v", got)
	}
	if top := x.Top(2); !reflect.DeepEqual(top, []string{"Lock", "Mutex"}) {
		t.Errorf("top %q", top)
	}
}

func TestPackagesAreDealtEvenly(t *testing.T) {
	corpora := deal("/", map[string]int64{"big": 10, "half": 5, "other": 5, "small": 1}, 2)
	if want := []Corpus{{"/", []string{"big", "small"}}, {"/", []string{"half", "other"}}}; !reflect.DeepEqual(corpora, want) {
		t.Errorf("%+v", corpora)
	}
}
