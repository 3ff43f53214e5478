package ledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	for _, process := range []struct {
		incarnation string
		flushEvery  time.Duration
	}{{"i1", 0}, {"i2", time.Minute}} {
		w, err := Create(filepath.Join(dir, process.incarnation+".ledger"), "w1", process.incarnation, process.flushEvery)
		if err != nil {
			t.Fatal(err)
		}
		w.Ready()
		first := w.Begin("run", "ask", 2, 3)
		second := w.Begin("run", "report", 1, 3)
		w.End(second, true, "no\tway")
		if got := w.ID(first); got != process.incarnation+"#1" {
			t.Errorf("id %q", got)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	processes, all, err := ReadAll(filepath.Join(dir, "*.ledger"))
	if err != nil || len(all) != 4 || len(processes) != 2 {
		t.Fatalf("%d processes, %d executions, %v", len(processes), len(all), err)
	}
	if p := processes[0]; p.Worker != "w1" || p.Incarnation != "i1" || p.ID != os.Getpid() || p.Begin.IsZero() || p.Ready.Before(p.Begin) {
		t.Errorf("%+v", p)
	}
	e := all[0]
	if e.ID != "i1#1" || e.Worker != "w1" || e.Process != os.Getpid() || e.Run != "run" || e.Step != "ask" || e.Attempt != 2 || e.Epoch != 3 || !e.End.IsZero() {
		t.Errorf("%+v", e)
	}
	if e := all[1]; e.End.Before(e.Begin) || !e.Failed || e.Note != "no way" {
		t.Errorf("%+v", e)
	}
}

func TestUnbufferedLinesSurviveTheProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "w.ledger")
	w, err := Create(name, "w", "i", 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Begin("run", "ask", 1, 1)
	if all, err := Read(name); err != nil || len(all) != 1 {
		t.Fatalf("%d executions, %v", len(all), err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestParseRefusesWhatIsNotALedger(t *testing.T) {
	for data, ok := range map[string]bool{
		"":                                true,
		"process\tw\ti\t1\t5\n":           true,
		"process\tw\ti\t1\t5\nbegin\t1\t": true, // cut off
		"process\tw\ti\t1\t5\nready\t6\n": true,
		"process\tw\ti\t1\n":              false,
		"process\tw\ti\t1\tx\n":           false,
		"process\tw\ti\t1\t5\nready\tx\n": false,
		"process\tw\ti\tx\t5\n":           false,
		"begin\t2\tr\ts\t1\t1\t1\n":       false,
		"end\t1\t1\tok\t\n":               false,
		"hello\n":                         false,
	} {
		if _, _, err := parse([]byte(data)); (err == nil) != ok {
			t.Errorf("%q: %v", data, err)
		}
	}
}
