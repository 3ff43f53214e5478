package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// checkPackageDocs: each package says what it is for, and what it imports.
func checkPackageDocs(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		if generated(p) {
			continue
		}
		switch at, doc := p.files[0].syntax.Package, docOf(p); {
		case doc == "":
			found = append(found, t.at(at, "package-doc", "package %s has no package doc", p.dir))
		case !strings.Contains(doc, "Imports ") && p.files[0].syntax.Name.Name != "main":
			found = append(found, t.at(at, "package-doc", "the doc of package %s does not say what it imports (\"Imports only …\")", p.dir))
		}
	}
	return found
}

func generated(p *pkg) bool {
	return !slices.ContainsFunc(p.files, func(f *file) bool { return !f.generated })
}

// docOf is the doc of the package's own files; generated ones and, unless there
// are no others, tests do not count.
func docOf(p *pkg) string {
	for _, f := range p.files {
		if !f.generated && (!f.test || onlyTests(p)) && f.syntax.Doc.Text() != "" {
			return f.syntax.Doc.Text()
		}
	}
	return ""
}

func onlyTests(p *pkg) bool {
	return !slices.ContainsFunc(p.files, func(f *file) bool { return !f.test })
}

// checkImports: each package imports only what its layer may, and nothing from
// a floor above its own.
func checkImports(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		floor := floorOf(p.dir)
		if floor < 0 {
			found = append(found, t.at(p.files[0].syntax.Package, "import",
				"package %s has no layer: add it to policy.go", p.dir))
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				if dir, ours := t.ours(importPath(spec)); ours && dir != p.dir {
					found = append(found, importedBy(t, p.dir, floor, f, spec, dir)...)
				}
				for _, b := range behind {
					if importPath(spec) == b.path && p.dir != b.by {
						found = append(found, t.at(spec.Pos(), "import", "only package %s imports %s", b.by, b.path))
					}
				}
			}
		}
	}
	return found
}

// importedBy checks the import of one package of ours by a file of another.
func importedBy(t *tree, by string, floor int, f *file, spec *ast.ImportSpec, dir string) []finding {
	l := policy[floor]
	switch {
	case f.test && covered(testsMay, dir):
		return nil
	case !covered(l.may, dir) && (l.pure == pure || !covered(allMay, dir)):
		return []finding{t.at(spec.Pos(), "import",
			"package %s may not import %s (it may import %s)", by, dir, orNothing(l.may))}
	case !f.test && floorOf(dir) > floor:
		return []finding{t.at(spec.Pos(), "import",
			"package %s imports %s, which lies above it: policy.go lists the floors from the ground up", by, dir)}
	}
	return nil
}

func orNothing(may []string) string {
	if len(may) == 0 {
		return "nothing of ours"
	}
	return strings.Join(may, ", ")
}

func importPath(spec *ast.ImportSpec) string {
	s, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return s
}

// floorOf is the index in the policy of a directory's layer: the exact one
// first, then the one that covers it; -1 for none.
func floorOf(dir string) int {
	exact := func(l layer) bool { return l.dir == dir }
	if i := slices.IndexFunc(policy, exact); i >= 0 {
		return i
	}
	return slices.IndexFunc(policy, func(l layer) bool { return covered([]string{l.dir}, dir) })
}

// layerOf is the layer of a directory; the zero one if it has none.
func layerOf(dir string) layer {
	if i := floorOf(dir); i >= 0 {
		return policy[i]
	}
	return layer{}
}

func covered(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if pattern == "..." {
			return true
		}
		if base, ok := strings.CutSuffix(pattern, "/..."); ok {
			return dir == base || strings.HasPrefix(dir, base+"/")
		}
		return dir == pattern
	})
}

// checkPurity: pure packages have no clock, network, files, goroutines,
// randomness or actors.
func checkPurity(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		l := layerOf(p.dir)
		for _, f := range p.files {
			if f.test || f.generated || l.pure == shell {
				continue
			}
			found = append(found, impureImportsIn(t, l, f)...)
			if l.pure == pure {
				found = append(found, impureCodeIn(t, l, f)...)
			}
		}
	}
	return found
}

func impureImportsIn(t *tree, l layer, f *file) []finding {
	var found []finding
	for _, spec := range f.syntax.Imports {
		path := importPath(spec)
		for level := inert; level <= l.pure; level++ {
			for forbidden, why := range impureImports[level] {
				if path == forbidden || strings.HasPrefix(path, forbidden+"/") {
					found = append(found, t.at(spec.Pos(), "pure", "%s imports %s: %s", l.dir, path, why))
				}
			}
		}
	}
	return found
}

func impureCodeIn(t *tree, l layer, f *file) []finding {
	clock := localName(f, "time")
	random := orDefault(localName(f, "math/rand"), localName(f, "math/rand/v2"))
	var found []finding
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, t.at(n.Pos(), "pure", "%s starts a goroutine", l.dir))
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			switch {
			case !ok:
			case clock != "" && x.Name == clock && slices.Contains(impureCalls, n.Sel.Name):
				found = append(found, t.at(n.Pos(), "pure", "%s uses time.%s: time comes in as an argument", l.dir, n.Sel.Name))
			case random != "" && x.Name == random && !slices.Contains(seededRand, n.Sel.Name):
				found = append(found, t.at(n.Pos(), "pure", "%s uses rand.%s: randomness comes from a seed", l.dir, n.Sel.Name))
			}
		}
		return true
	})
	return found
}

// checkWrapped: what one package makes safe is called through it.
func checkWrapped(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		for _, f := range p.files {
			for _, w := range wrapped {
				name := localName(f, w.path)
				if name == "" || p.dir == w.by {
					continue
				}
				ast.Inspect(f.syntax, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == w.name {
						if x, ok := s.X.(*ast.Ident); ok && x.Name == name {
							found = append(found, t.at(n.Pos(), "wrapped", "use package %s instead of %s.%s", w.by, name, w.name))
						}
					}
					return true
				})
			}
		}
	}
	return found
}

// localName is the name under which a file imports a package; "" if it does not.
func localName(f *file, path string) string {
	for _, spec := range f.syntax.Imports {
		if importPath(spec) != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		path = strings.TrimSuffix(path, "/v2")
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// checkModulePath: outside import declarations the module path is written in
// go.mod and the generator's template only, so that the repository can move.
func checkModulePath(t *tree) []finding {
	var found []finding
	for _, p := range t.packages {
		for _, f := range p.files {
			if f.generated {
				continue
			}
			imports := map[token.Pos]bool{}
			for _, spec := range f.syntax.Imports {
				imports[spec.Path.Pos()] = true
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if ok && lit.Kind == token.STRING && !imports[lit.Pos()] && strings.Contains(lit.Value, t.module) {
					found = append(found, t.at(lit.Pos(), "module-path",
						"the module path is written in a string: read it from the build info instead"))
				}
				return true
			})
		}
	}
	return found
}
