package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Corpus is what one run reads: packages of the standard library.
type Corpus struct {
	// Root is the directory that Packages are below.
	Root     string   `json:"root"`
	Packages []string `json:"packages"`
}

// ErrNoSource says that there is no Go toolchain with its source.
var ErrNoSource = errors.New("the source of Go's standard library is not there")

// Source is the directory of the standard library's source; ErrNoSource.
func Source(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("%w: `go env GOROOT`: %w", ErrNoSource, err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	if _, err := os.Stat(filepath.Join(root, "fmt")); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSource, err)
	}
	return root, nil
}

// slice deals the packages below root to n corpora of about equal size.
func slice(root string, n int) ([]Corpus, error) {
	sizes := make(map[string]int64)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "testdata" || rel == "cmd" || rel == "vendor" {
				return filepath.SkipDir
			}
			return nil
		}
		if !isSource(d.Name()) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sizes[filepath.Dir(rel)] += info.Size()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return deal(root, sizes, n), nil
}

// deal gives the largest package left to the corpus that has least.
func deal(root string, sizes map[string]int64, n int) []Corpus {
	var packages []string
	for p := range sizes {
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b string) int {
		if sizes[a] != sizes[b] {
			return int(sizes[b] - sizes[a])
		}
		return strings.Compare(a, b)
	})
	corpora := make([]Corpus, n)
	filled := make([]int64, n)
	for i := range corpora {
		corpora[i].Root = root
	}
	for _, p := range packages {
		least := 0
		for i := range filled {
			if filled[i] < filled[least] {
				least = i
			}
		}
		corpora[least].Packages = append(corpora[least].Packages, p)
		filled[least] += sizes[p]
	}
	return corpora
}

func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// files calls f with each source file of the corpus, in order.
func (c Corpus) files(ctx context.Context, f func(name string, data []byte)) error {
	for _, p := range c.Packages {
		entries, err := os.ReadDir(filepath.Join(c.Root, p))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !isSource(e.Name()) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			data, err := os.ReadFile(filepath.Join(c.Root, p, e.Name()))
			if err != nil {
				return err
			}
			f(filepath.Join(p, e.Name()), data)
		}
	}
	return nil
}

// Count finds the answers to questions the slow way, by searching the files:
// what the answers from an index are compared with.
func (c Corpus) Count(ctx context.Context, questions []string) ([]Answer, error) {
	answers := make([]Answer, len(questions))
	for i, q := range questions {
		answers[i].Question = q
	}
	err := c.files(ctx, func(_ string, data []byte) {
		for i, q := range questions {
			hits, all := 0, true
			for word := range strings.FieldsSeq(q) {
				n := occurrences(data, []byte(word))
				hits, all = hits+n, all && n > 0
			}
			if all {
				answers[i].Files++
				answers[i].Hits += hits
			}
		}
	})
	return answers, err
}

// occurrences of a word that is not part of a longer one.
func occurrences(data, word []byte) int {
	n := 0
	for at := 0; ; {
		i := bytes.Index(data[at:], word)
		if i < 0 {
			return n
		}
		begin := at + i
		end := begin + len(word)
		if (begin == 0 || !isWordByte(data[begin-1])) && (end == len(data) || !isWordByte(data[end])) {
			n++
		}
		at = begin + 1
	}
}

// isWordByte counts the bytes of letters beyond ASCII as letters.
func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80
}
