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
	book, err := ReadBook(filepath.Join(dir, "*.ledger"))
	processes, all := book.Processes, book.Executions
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

// What a function did meanwhile, and what became of local state.
func TestActsAndValuesAreRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "i.ledger")
	w, err := Create(name, "w1", "i", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	n := w.Begin("run", "ask", 1, 4)
	w.Rebuild(n)
	w.Tick(n)
	w.Did(n, "got think", "a\tb")
	private := w.Built("index", "", "run", 4, "version\t7")
	shared := w.Built("model", "large", "", 0, "")
	w.Used(private, n, 8)
	w.Used(shared, n, 1)
	w.Tick(n)
	w.Gave(private, `{"version":8}`)
	w.Released(private, "rebound")
	w.Canceled(n, "context canceled")
	w.End(n, true, "context canceled")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	book, err := ReadBook(name)
	if err != nil || len(book.Executions) != 1 || len(book.Values) != 2 {
		t.Fatalf("%+v, %v", book, err)
	}
	e := book.Executions[0]
	if len(e.Did) != 1 || e.Did[0].What != "got think" || e.Did[0].Value != "a b" || e.Did[0].At.Before(e.Begin) {
		t.Errorf("%+v", e.Did)
	}
	if !e.Rebuild || len(e.Ticks) != 2 || e.Ticks[0] < e.Begin.UnixMicro() || e.Canceled.Before(e.Begin) || e.End.Before(e.Canceled) || e.Why != "context canceled" {
		t.Errorf("%+v", e)
	}
	v := book.Values[0]
	if v.ID != w.ValueID(private) || v.Worker != "w1" || v.Local != "index" || v.Run != "run" || v.Epoch != 4 || v.Received != "version 7" || v.Built.IsZero() {
		t.Errorf("%+v", v)
	}
	if len(v.Uses) != 1 || v.Uses[0].Execution != e.ID || v.Uses[0].Version != 8 || v.Gifts[0].Data != `{"version":8}` || v.Releases[0].Why != "rebound" || v.Releases[0].At.Before(v.Built) {
		t.Errorf("%+v", v)
	}
	if v := book.Values[1]; v.Key != "large" || v.Run != "" || len(v.Uses) != 1 || v.Releases != nil {
		t.Errorf("%+v", v)
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
		"process\tw\ti\t1\t5\nbegin\t1\tr\ts\t1\t1\t1\ntick\t1\t9\nrebuild\t1\ncanceled\t1\t9\tno\n": true,
		"process\tw\ti\t1\t5\ntick\t1\t9\n":                                                    false,
		"process\tw\ti\t1\t5\nbuilt\t1\tl\tk\tr\t1\t9\t\ngave\t1\t9\tx\nreleased\t1\t9\twhy\n": true,
		"process\tw\ti\t1\t5\nbuilt\t2\tl\tk\tr\t1\t9\t\n":                                     false,
		"process\tw\ti\t1\t5\nbuilt\t1\tl\tk\tr\t1\t9\t\nused\t1\t1\t9\t1\n":                   false,
		"process\tw\ti\t1\t5\nreleased\t1\t9\twhy\n":                                           false,
	} {
		if _, err := parse([]byte(data)); (err == nil) != ok {
			t.Errorf("%q: %v", data, err)
		}
	}
}
