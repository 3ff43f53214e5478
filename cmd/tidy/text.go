package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

// allowance is the comment that defends a long function (in its doc) or a long
// file (before its first declaration).
const allowance = "//tidy:long "

// checkTopLevel: the root holds what the design names, and dotfiles.
func checkTopLevel(t *tree) []finding {
	var found []finding
	for _, name := range t.top {
		if name[0] != '.' && !slices.Contains(topLevel, name) {
			found = append(found, finding{name, 1, "top-level", "does not belong at the top level of the repository"})
		}
	}
	return found
}

// checkSizes: functions and files stay short, or say why not.
func checkSizes(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		for _, f := range p.files {
			if f.generated {
				continue
			}
			functionMax, fileMax := functionLinesMax, fileLinesMax
			if f.test {
				functionMax, fileMax = testFunctionLinesMax, testFileLinesMax
			}
			if n := bytes.Count(f.source, []byte("\n")); n > fileMax && !fileDefended(f) {
				found = append(found, finding{f.path, 1, "long",
					fmt.Sprintf("file has %d lines, more than %d, and no %sREASON", n, fileMax, allowance)})
			}
			for _, d := range f.syntax.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				n := t.set.Position(fn.End()).Line - t.set.Position(fn.Pos()).Line + 1
				if n > functionMax && !defended(fn.Doc) {
					found = append(found, t.at(fn.Pos(), "long",
						"function %s has %d lines, more than %d, and no %sREASON", fn.Name.Name, n, functionMax, allowance))
				}
			}
		}
	}
	return found
}

func defended(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return len(strings.TrimSpace(c.Text)) > len(allowance) && strings.HasPrefix(c.Text, allowance)
	})
}

func fileDefended(f *file) bool {
	first := f.syntax.FileEnd
	if len(f.syntax.Decls) > 0 {
		first = f.syntax.Decls[0].Pos()
	}
	return slices.ContainsFunc(f.syntax.Comments, func(g *ast.CommentGroup) bool {
		return g.Pos() < first && defended(g)
	})
}

// checkNames: packages, files, types and functions have names that say what
// they are.
func checkNames(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		if w := vagueWord(path.Base(p.dir)); w != "" {
			found = append(found, t.at(p.files[0].syntax.Package, "name", "package %s: %q says nothing", p.dir, w))
		}
		for _, f := range p.files {
			if w := vagueWord(strings.TrimSuffix(path.Base(f.path), ".go")); w != "" && !f.generated {
				found = append(found, finding{f.path, 1, "name", fmt.Sprintf("file name: %q says nothing", w)})
			}
			if f.generated {
				continue
			}
			for _, id := range declared(f.syntax) {
				if w := vagueWord(id.Name); w != "" {
					found = append(found, t.at(id.Pos(), "name", "%s: %q says nothing", id.Name, w))
				}
			}
		}
	}
	return found
}

// declared are the names of a file's types and functions.
func declared(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name)
		case *ast.GenDecl:
			if d.Tok != token.TYPE {
				continue
			}
			for _, spec := range d.Specs {
				names = append(names, spec.(*ast.TypeSpec).Name)
			}
		}
	}
	return names
}

// vagueWord returns the word of a name, in camel or snake case, that is vague.
func vagueWord(name string) string {
	var words []string
	word := []rune{}
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	for _, r := range name {
		if r == '_' || r == '-' || r == '.' {
			flush()
			continue
		}
		if unicode.IsUpper(r) {
			flush()
		}
		word = append(word, r)
	}
	flush()
	for _, w := range words {
		if slices.Contains(vagueNames, w) {
			return w
		}
	}
	return ""
}

// checkWords: no file names the host of a package registry.
func checkWords(t *tree) []finding {
	var found []finding
	look := func(name string, source []byte) {
		for i, line := range bytes.Split(source, []byte("\n")) {
			lower := strings.ToLower(string(line))
			for _, host := range foreignHosts {
				if strings.Contains(lower, host) {
					found = append(found, finding{name, i + 1, "word", fmt.Sprintf("names the host %q of a registry", host)})
				}
			}
		}
	}
	for name, source := range t.texts {
		look(name, source)
	}
	for _, p := range t.packages {
		for _, f := range p.files {
			look(f.path, f.source)
		}
	}
	return found
}
