package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/messages"
)

// families are all metrics of servers and of workers.
func families() (server, worker []metrics.Family) {
	s := metrics.NewServer()
	s.Watch(metrics.Sources{})
	return s.Families(), metrics.NewWorker("", "", func() *messages.LoadReport { return nil }, nil).Families()
}

// TestMetricsTables: the tables of METRICS.md are those of the code. With
// UPDATE_TABLES=1 it writes them.
func TestMetricsTables(t *testing.T) {
	const path = "deploy/METRICS.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	server, worker := families()
	want := withTable(t, withTable(t, string(text), "server metrics", metricsTable(server)), "worker metrics", metricsTable(worker))
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_TABLES") == "1" {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("a table in %s is not that of the code; UPDATE_TABLES=1 go test ./cmd/limpet -run %s writes it", path, t.Name())
}

func metricsTable(of []metrics.Family) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	for _, f := range of {
		labels := ""
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "` `") + "`"
		}
		b.WriteString("| `" + f.Name + "` | " + f.Type + " | " + labels + " | " + f.Help + " |\n")
	}
	return b.String()
}

// expressions are the queries of the alerts, of the dashboard and of METRICS.md.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string]any{}
	for _, path := range []string{"deploy/prometheus/alerts.yaml", "deploy/grafana/limpet.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var content any
		if err = yaml.Unmarshal(text, &content); strings.HasSuffix(path, ".json") {
			err = json.Unmarshal(text, &content)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		files[path] = content
	}
	found := map[string][]string{}
	for path, content := range files {
		found[path] = queriesIn(content)
	}
	text, err := os.ReadFile("deploy/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^ +query: (.*)$|`(limpet_[^`]*)`").FindAllStringSubmatch(string(text), -1) {
		found["deploy/METRICS.md"] = append(found["deploy/METRICS.md"], m[1]+m[2])
	}
	return found
}

// queriesIn are the texts under the keys that hold queries.
func queriesIn(content any) (out []string) {
	switch c := content.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(c)) {
			if text, ok := c[key].(string); ok && (key == "expr" || key == "query") {
				out = append(out, text)
			}
			out = append(out, queriesIn(c[key])...)
		}
	case []any:
		for _, each := range c {
			out = append(out, queriesIn(each)...)
		}
	}
	return out
}

var (
	selector   = regexp.MustCompile(`\b(limpet_\w+)(\{[^}]*\})?`)
	labelIn    = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	variableOf = regexp.MustCompile(`label_values\((limpet_\w+), (\w+)\)`)
)

// TestQueriesNameWhatThereIs: every metric that the alerts, the dashboard and
// METRICS.md name exists, and has the labels that it is asked for.
func TestQueriesNameWhatThereIs(t *testing.T) {
	server, worker := families()
	known := map[string]metrics.Family{}
	for _, f := range slices.Concat(server, worker) {
		known[f.Name] = f
		if f.Type == "histogram" {
			bucket := f
			bucket.Labels = append(slices.Clone(f.Labels), "le")
			known[f.Name+"_bucket"], known[f.Name+"_sum"], known[f.Name+"_count"] = bucket, f, f
		}
	}
	target := []string{"job", "instance"} // of every metric
	named := map[string]bool{}
	for path, queries := range expressions(t) {
		if len(queries) < 10 {
			t.Errorf("%s has only %d queries", path, len(queries))
		}
		for _, query := range queries {
			var labels []string // of all that the query names
			for _, m := range selector.FindAllStringSubmatch(query, -1) {
				f, ok := known[m[1]]
				if !ok {
					t.Errorf("%s: there is no metric %s: %s", path, m[1], query)
					continue
				}
				named[f.Name] = true
				labels = append(labels, f.Labels...)
				for _, l := range labelIn.FindAllStringSubmatch(m[2], -1) {
					if !slices.Contains(append(f.Labels, target...), l[1]) {
						t.Errorf("%s: %s has no label %s: %s", path, m[1], l[1], query)
					}
				}
			}
			for _, by := range grouping.FindAllStringSubmatch(query, -1) {
				for label := range strings.SplitSeq(by[1], ", ") {
					if strings.Contains(query, "limpet_") && !slices.Contains(append(labels, target...), label) {
						t.Errorf("%s: nothing has the label %s: %s", path, label, query)
					}
				}
			}
			for _, m := range variableOf.FindAllStringSubmatch(query, -1) {
				if !slices.Contains(known[m[1]].Labels, m[2]) {
					t.Errorf("%s: %s has no label %s", path, m[1], m[2])
				}
			}
			if strings.Count(query, "(") != strings.Count(query, ")") || strings.Count(query, "{") != strings.Count(query, "}") {
				t.Errorf("%s: brackets that do not match: %s", path, query)
			}
		}
	}
	if len(named) < 40 {
		t.Errorf("only %d metrics are shown or watched", len(named))
	}
	if program, err := exec.LookPath("promtool"); err == nil {
		for _, args := range [][]string{{"check", "rules", "deploy/prometheus/alerts.yaml"}, {"check", "config", "--syntax-only", "deploy/prometheus/prometheus.yaml"}} {
			if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
				t.Errorf("promtool %s: %v\n%s", args, err, out)
			}
		}
	}
}
