package compare

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// build is a program that stands for a bench: each time it is run it prints the
// next of the lines, and notes its name and arguments in a file.
func build(t *testing.T, log, name string, lines ...string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lines"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, name)
	text := "echo " + name + " $* >> " + log + "\nhead -n 1 " + dir + "/lines\nsed -i 1d " + dir + "/lines\n"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", script}
}

func TestBothAreMeasuredInTurns(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	c, err := Run(t.Context(), Config{
		Other:  build(t, log, "old", `{"w":"chain3","runs_per_s":100,"gone":1,"limits":{"fsync":9}}`, `{"runs_per_s":300,"limits":{"fsync":7}}`, `{"runs_per_s":200,"limits":{"fsync":8}}`),
		This:   build(t, log, "new", `{"w":"chain3","runs_per_s":150,"new":1,"zero":0,"limits":{"fsync":4}}`, `{"runs_per_s":160,"limits":{"fsync":4}}`, `{"runs_per_s":170,"limits":{"fsync":4}}`),
		Args:   []string{"--runs=5"},
		Rounds: 3, Progress: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Figure{{"runs_per_s", 160, 200, -20, 160. / 300, 1.5}, {"limits.fsync", 4, 8, -50, 4. / 9, 4. / 7}}
	if !slices.Equal(c.Figures, want) {
		t.Errorf("%+v, want %+v", c.Figures, want)
	}
	if table := c.Table(); !strings.Contains(table, "-20.0 %") || !strings.Contains(table, "0.53 to 1.50") {
		t.Error(table)
	}
	ran, err := os.ReadFile(log)
	if want := "old --runs=5 --json\nnew --runs=5 --json\nnew --runs=5 --json\nold --runs=5 --json\nold --runs=5 --json\nnew --runs=5 --json\n"; err != nil || string(ran) != want {
		t.Errorf("%v, ran\n%s", err, ran)
	}
}

func TestWhatGoesWrongIsSaid(t *testing.T) {
	for _, c := range []Config{{Rounds: 1}, {Other: []string{"x"}}, {Other: []string{"x"}, Rounds: roundsMax + 1}} {
		if _, err := Run(t.Context(), c); messages.CodeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for script, want := range map[string]string{"echo broken >&2; exit 3": "exit status 3\nbroken", "echo": "printed no JSON"} {
		_, err := Run(t.Context(), Config{Other: []string{"sh", "-c", script}, Rounds: 1, Progress: t.Logf})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestNoSpreadIsMadeUp(t *testing.T) {
	for _, c := range [][2][]float64{{{1, 2}, {1}}, {{1, 2}, {1, 0}}} {
		if least, most := spread(c[0], c[1]); least != 0 || most != 0 {
			t.Errorf("%v: %v to %v", c, least, most)
		}
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Error(m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Error(m)
	}
}
