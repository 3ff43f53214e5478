package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// tree is the repository, read and parsed once.
type tree struct {
	module   string
	set      *token.FileSet
	packages []*pkg
	// top are the names at the top level, without those that .gitignore names.
	top []string
	// texts are all files but Go sources and sums.
	texts map[string][]byte
}

type pkg struct {
	dir   string // slash-separated, relative to the root
	files []*file
}

type file struct {
	path      string
	source    []byte
	syntax    *ast.File
	test      bool
	generated bool
}

// load reads the tree. Directories that begin with a dot or an underscore, and
// testdata, hold no packages; .git is not read at all.
func load(root fs.FS) (*tree, error) {
	t := &tree{set: token.NewFileSet(), texts: map[string][]byte{}}
	ignored := ignoredNames(root)
	packages := map[string]*pkg{}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if ignored[entry.Name()] || ignored["/"+name] || entry.Name() == ".git" {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.Contains(name, "/") {
			t.top = append(t.top, name)
		}
		if entry.IsDir() || !entry.Type().IsRegular() {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return t.add(packages, name, source)
	})
	if err != nil {
		return nil, err
	}
	for _, p := range packages {
		t.packages = append(t.packages, p)
	}
	slices.SortFunc(t.packages, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	if t.module == "" {
		return nil, fmt.Errorf("go.mod names no module")
	}
	return t, nil
}

func (t *tree) add(packages map[string]*pkg, name string, source []byte) error {
	if name == "go.mod" {
		t.module = moduleOf(source)
	}
	if path.Base(name) == "go.sum" || bytes.IndexByte(source, 0) >= 0 {
		return nil
	}
	if path.Ext(name) != ".go" || outsidePackages(name) {
		t.texts[name] = source
		return nil
	}
	syntax, err := parser.ParseFile(t.set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if packages[dir] == nil {
		packages[dir] = &pkg{dir: dir}
	}
	packages[dir].files = append(packages[dir].files, &file{
		path: name, source: source, syntax: syntax,
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
	})
	return nil
}

func outsidePackages(name string) bool {
	for _, part := range strings.Split(path.Dir(name), "/") {
		if part == "testdata" || part != "." && (part[0] == '.' || part[0] == '_') {
			return true
		}
	}
	return false
}

// ignoredNames are the plain names in .gitignore: what a build leaves behind.
// One that begins with a slash is meant at the top level only.
func ignoredNames(root fs.FS) map[string]bool {
	names := map[string]bool{}
	source, err := fs.ReadFile(root, ".gitignore")
	if err != nil {
		return names
	}
	for line := range strings.Lines(string(source)) {
		line = strings.TrimSuffix(strings.TrimSpace(line), "/")
		if name := strings.TrimPrefix(line, "/"); name != "" && !strings.ContainsAny(name, "#*!/") {
			names[line] = true
		}
	}
	return names
}

func moduleOf(gomod []byte) string {
	for line := range strings.Lines(string(gomod)) {
		if rest, ok := strings.CutPrefix(line, "module "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// at makes a finding at a position in Go source.
func (t *tree) at(pos token.Pos, rule, format string, args ...any) finding {
	p := t.set.Position(pos)
	return finding{p.Filename, p.Line, rule, fmt.Sprintf(format, args...)}
}

// ours returns the directory of an import path of this module.
func (t *tree) ours(importPath string) (dir string, ok bool) {
	if importPath == t.module {
		return ".", true
	}
	return strings.CutPrefix(importPath, t.module+"/")
}
