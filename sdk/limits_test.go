package sdk_test

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The list of limits in the package's doc is that of the code.
func TestListOfLimitsIsThatOfTheCode(t *testing.T) {
	inCode := limitsOf(t, "../messages/limits.go")
	for name, value := range limitsOf(t, "../messages/schema/doc.go") {
		inCode[name] = value
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^//\t([A-Z]\w*Max)\s+([\d,]+)( MiB| KiB| bytes)?  +\S`)
	inDoc := map[string]int64{}
	for _, m := range line.FindAllStringSubmatch(string(doc), -1) {
		n, err := strconv.ParseInt(strings.ReplaceAll(m[2], ",", ""), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch m[3] {
		case " MiB":
			n <<= 20
		case " KiB":
			n <<= 10
		}
		inDoc[m[1]] = n
	}
	for name, value := range inCode {
		if inDoc[name] != value {
			t.Errorf("%s is %d, the doc says %d (0: nothing)", name, value, inDoc[name])
		}
	}
	for name := range inDoc {
		if _, ok := inCode[name]; !ok {
			t.Errorf("%s is in the doc alone", name)
		}
	}
	if len(inCode) < 30 {
		t.Errorf("%d limits only", len(inCode))
	}
}

// limitsOf are the constants of a file whose names end in Max.
func limitsOf(t *testing.T, path string) map[string]int64 {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The constants alone: functions use what other files declare.
	var decls []ast.Decl
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			decls = append(decls, d)
		}
	}
	file.Decls, file.Imports = decls, nil
	pkg, err := (&types.Config{Importer: importer.Default()}).Check(path, files, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	limits := map[string]int64{}
	for _, name := range pkg.Scope().Names() {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok || !strings.HasSuffix(name, "Max") {
			continue
		}
		value, ok := constant.Int64Val(constant.ToInt(c.Val()))
		if !ok {
			t.Errorf("%s is no whole number", name)
		}
		limits[name] = value
	}
	return limits
}
