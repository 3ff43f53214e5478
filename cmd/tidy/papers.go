package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A paper is a text for people about the code: it is true as long as what it
// names is there. What stands between backquotes is a path of the repository, a
// name of Go such as run.Machine.Handle, or something else, which is not checked.
var (
	quoted  = regexp.MustCompile("`([^`\n]+)`")
	linked  = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	aPath   = regexp.MustCompile(`^\.?[\w-]+(/[\w.-]+)+/?$`)
	anIdent = regexp.MustCompile(`^([a-z]\w*)\.([A-Za-z]\w*)(?:\.([A-Za-z]\w*))?(?:\(\))?$`)
)

// checkPapers: every file and every identifier that a paper names exists.
func checkPapers(t *tree) []finding {
	paths, names := pathsOf(t), declaredIn(t)
	var found []finding
	for paper, text := range t.texts {
		if path.Ext(paper) != ".md" || outsidePackages(paper) && !strings.HasPrefix(paper, ".github/") {
			continue
		}
		fenced := false
		for i, line := range bytes.Split(text, []byte("\n")) {
			if bytes.HasPrefix(bytes.TrimSpace(line), []byte("```")) {
				fenced = !fenced
			}
			if fenced {
				continue
			}
			for _, m := range linked.FindAllSubmatch(line, -1) {
				if to := string(m[1]); !strings.Contains(to, ":") && !paths[path.Join(path.Dir(paper), to)] {
					found = append(found, finding{paper, i + 1, "paper", fmt.Sprintf("links to %s, which is not there", to)})
				}
			}
			for _, m := range quoted.FindAllSubmatch(line, -1) {
				if wrong := missing(string(m[1]), paths, names); wrong != "" {
					found = append(found, finding{paper, i + 1, "paper", wrong})
				}
			}
		}
	}
	return found
}

// missing says what is wrong with a text between backquotes; empty for nothing.
func missing(text string, paths map[string]bool, names map[string][]members) string {
	if aPath.MatchString(text) {
		name := strings.TrimSuffix(text, "/")
		first, _, _ := strings.Cut(name, "/")
		if paths[first] && !paths[name] {
			return fmt.Sprintf("names the path %s, which is not there", text)
		}
		return ""
	}
	m := anIdent.FindStringSubmatch(text)
	if m == nil || names[m[1]] == nil {
		return ""
	}
	if !slices.ContainsFunc(names[m[1]], func(in members) bool {
		of, declared := in[m[2]]
		return declared && (m[3] == "" || of[m[3]])
	}) {
		return fmt.Sprintf("names %s, which no package %s declares", text, m[1])
	}
	return ""
}

// pathsOf are all files and directories.
func pathsOf(t *tree) map[string]bool {
	paths := map[string]bool{}
	add := func(name string) {
		for ; name != "." && !paths[name]; name = path.Dir(name) {
			paths[name] = true
		}
	}
	for name := range t.texts {
		add(name)
	}
	for _, p := range t.packages {
		for _, f := range p.files {
			add(f.path)
		}
	}
	return paths
}

// members are the names that a package declares, each with those of its fields
// and methods.
type members map[string]map[string]bool

// declaredIn are the members of all packages, by the packages' names.
func declaredIn(t *tree) map[string][]members {
	all := map[string][]members{}
	for _, p := range t.packages {
		in := members{}
		for _, f := range p.files {
			for _, d := range f.syntax.Decls {
				in.declare(d)
			}
		}
		name := strings.TrimSuffix(p.files[0].syntax.Name.Name, "_test")
		all[name] = append(all[name], in)
	}
	return all
}

func (in members) add(name, member string) {
	if in[name] == nil {
		in[name] = map[string]bool{}
	}
	if member != "" {
		in[name][member] = true
	}
}

func (in members) declare(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			in.add(d.Name.Name, "")
		} else {
			in.add(receiver(d.Recv.List[0].Type), d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				in.add(spec.Name.Name, "")
				in.addFields(spec.Name.Name, spec.Type)
			case *ast.ValueSpec:
				for _, id := range spec.Names {
					in.add(id.Name, "")
				}
			}
		}
	}
}

func (in members) addFields(name string, of ast.Expr) {
	var fields *ast.FieldList
	switch of := of.(type) {
	case *ast.StructType:
		fields = of.Fields
	case *ast.InterfaceType:
		fields = of.Methods
	default:
		return
	}
	for _, f := range fields.List {
		for _, id := range f.Names {
			in.add(name, id.Name)
		}
	}
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
