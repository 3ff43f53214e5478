package main

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestPapers(t *testing.T) {
	const source = doc + `package run
type Machine struct { now int }
func (m *Machine) Handle() {}
type Input interface{ Token() }
const most = 1
func New() {}
`
	for _, tc := range []struct{ name, text, want string }{
		{"a file and a directory", "see `actors/run/a.go` and `actors/run/`", ""},
		{"a file that is gone", "see `actors/run/b.go`", "x.md:1: paper: names the path actors/run/b.go"},
		{"what is no path of ours", "`text/plain`, `a/b`", ""},
		{"identifiers", "`run.Machine`, `run.Machine.Handle`, `run.Machine.now`, `run.Input.Token`, `run.most`, `run.New()`", ""},
		{"a type that is gone", "line\n`run.Engine`", "x.md:2: paper: names run.Engine, which no package run declares"},
		{"a method that is gone", "`run.Machine.Stop`", "names run.Machine.Stop"},
		{"a package of others", "`context.Context`", ""},
		{"a link", "[here](../actors/run/a.go) [there](https://example.com/x) [part](#part)", ""},
		{"a link to nothing", "[here](gone.md)", "links to gone.md"},
		{"an example", "```\n`run.Engine`\n```", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree, err := load(fstest.MapFS{
				"go.mod":          {Data: []byte("module example.com/m\n")},
				"actors/run/a.go": {Data: []byte(source)},
				".github/x.md":    {Data: []byte(tc.text)},
			})
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, f := range checkPapers(tree) {
				found = append(found, f.String())
			}
			if got := strings.Join(found, "\n"); !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
