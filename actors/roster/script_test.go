package roster

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// TestScripts runs testdata/*.txt. Processes are written worker~incarnation, a
// later incarnation is greater. Watchers have names like r1. Times are relative
// to the start of the script. Commands:
//
//	roster workers=N                  a new roster
//	view w1~i1 w1~i2:draining w2~i1:leaving   what the view has; a process
//	                                  without a word behind it is ready
//	watch r1 w1~i1, watch r1 w1~      a run watches a worker, bound to a process or
//	                                  to none
//	unwatch r1 w1
//	says w1~i1 [draining] [as=i7]     a process answers who it is
//	silent w1~i1                      it does not answer
//	leases w1~i1 hold=300ms in-view   the word of the other servers on the question
//	                                  that names this process first; no hold: no
//	                                  lease is left
//	ended w1~i1                       the process is known to have ended
//	left w1~i1                        it is known to have said that it leaves
//	advance 2s                        ticks as often as Next asks
//	load w1~i1 running=N, list        reports, and what listings show
//	state                             counts
//
// An answer goes to the oldest question of its kind that it fits.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := &script{}
			datadriven.RunTest(t, path, s.run)
		})
	}
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

type script struct {
	core  *Core[string]
	now   time.Time
	ended map[string]bool
	left  map[string]bool
	// open are the questions that were not answered, the oldest first.
	open []openQuestion
	out  strings.Builder
}

type openQuestion struct {
	id uint64
	// about is the process that is asked, or whose leases are asked about first.
	about  string
	leases bool
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	switch d.Cmd {
	case "roster":
		s.begin(t, d)
		return ""
	case "advance":
		s.advance(t, d)
	case "state":
		s.state()
	case "list":
		s.list()
	default:
		s.print(s.input(t, d), "")
	}
	if err := s.core.Check(); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return s.out.String()
}

func (s *script) begin(t *testing.T, d *datadriven.TestData) {
	*s = script{now: epoch, ended: map[string]bool{}, left: map[string]bool{}}
	cfg := Config{
		Ended: func(w, i string) bool { return s.ended[w+"~"+i] },
		Left:  func(w, i string) bool { return s.left[w+"~"+i] },
	}
	d.MaybeScanArgs(t, "workers", &cfg.WorkersMax)
	s.core = New[string](cfg)
}

func (s *script) advance(t *testing.T, d *datadriven.TestData) {
	end := s.now.Add(span(t, d, d.CmdArgs[0].Key))
	for {
		next := s.core.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(s.now) {
			s.now = next
		}
		s.print(s.core.Tick(s.now), fmt.Sprintf("%v: ", s.now.Sub(epoch)))
	}
	s.now = end
}

func span(t *testing.T, d *datadriven.TestData, text string) time.Duration {
	span, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return span
}

func ref(name string) *messages.WorkerRef {
	id, incarnation, _ := strings.Cut(name, "~")
	return &messages.WorkerRef{WorkerId: id, Incarnation: incarnation}
}

func nameOf(r *messages.WorkerRef) string { return r.WorkerId + "~" + r.Incarnation }

func (s *script) input(t *testing.T, d *datadriven.TestData) []Action {
	arg := func(i int) string {
		if i >= len(d.CmdArgs) {
			d.Fatalf(t, "%s lacks an argument", d.Cmd)
		}
		return d.CmdArgs[i].Key
	}
	switch d.Cmd {
	case "view":
		return s.core.ViewChanged(s.now, view(t, d))
	case "watch":
		to := ref(arg(1))
		return s.core.Watch(s.now, arg(0), to.WorkerId, to.Incarnation)
	case "unwatch":
		s.core.Unwatch(arg(0), arg(1))
		return nil
	case "says":
		of := ref(arg(0))
		d.MaybeScanArgs(t, "as", &of.Incarnation)
		info := &messages.WorkerInfo{WorkerId: of.WorkerId, Incarnation: of.Incarnation}
		return s.core.Described(s.now, s.question(t, d, arg(0), false), info, d.HasArg("draining"))
	case "silent":
		return s.core.Silent(s.now, s.question(t, d, arg(0), false))
	case "leases":
		var hold time.Duration
		var text string
		if d.MaybeScanArgs(t, "hold", &text) {
			hold = span(t, d, text)
		}
		return s.core.Leases(s.now, s.question(t, d, arg(0), true), hold, d.HasArg("in-view"))
	case "ended":
		s.ended[arg(0)] = true
		return nil
	case "left":
		s.left[arg(0)] = true
		return nil
	case "load":
		of := ref(arg(0))
		var running int
		d.MaybeScanArgs(t, "running", &running)
		s.core.NoteLoad(s.now, &messages.LoadReport{WorkerId: of.WorkerId, Incarnation: of.Incarnation, Running: int32(running)})
		return nil
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil
}

func view(t *testing.T, d *datadriven.TestData) []Process {
	var list []Process
	for _, a := range d.CmdArgs {
		name, word, _ := strings.Cut(a.Key, ":")
		state, ok := map[string]ProcessState{"": Ready, "draining": Draining, "leaving": Leaving}[word]
		if !ok {
			d.Fatalf(t, "unknown state %q", word)
		}
		list = append(list, Process{WorkerID: ref(name).WorkerId, Incarnation: ref(name).Incarnation, State: state})
	}
	return list
}

// question takes the oldest open question that fits. One that the core no longer
// waits for may be answered too.
func (s *script) question(t *testing.T, d *datadriven.TestData, about string, leases bool) uint64 {
	i := slices.IndexFunc(s.open, func(q openQuestion) bool { return q.about == about && q.leases == leases })
	if i < 0 {
		d.Fatalf(t, "nobody asked that of %s", about)
	}
	id := s.open[i].id
	s.open = slices.Delete(s.open, i, i+1)
	return id
}

func (s *script) print(actions []Action, prefix string) {
	for _, a := range actions {
		s.out.WriteString(prefix + s.line(a) + "\n")
	}
}

func (s *script) line(a Action) string {
	switch a := a.(type) {
	case Tell[string]:
		to := slices.Clone(a.To)
		if a.Public {
			to = append(to, "everybody")
		}
		return fmt.Sprintf("tell %s: %s", strings.Join(to, " "), newsText(a.News))
	case Ask:
		s.open = append(s.open, openQuestion{a.Question, nameOf(a.Process), false})
		return fmt.Sprintf("ask %s who it is", nameOf(a.Process))
	case AskLeases:
		s.open = append(s.open, openQuestion{a.Question, a.WorkerID + "~" + a.Incarnations[0], true})
		return fmt.Sprintf("ask the servers for leases of %s~%s", a.WorkerID, strings.Join(a.Incarnations, ", "))
	case Supersede:
		return fmt.Sprintf("tell %s that it is superseded by %s", nameOf(a.Process), nameOf(a.By))
	}
	return fmt.Sprintf("%T", a)
}

func newsText(n *run.WorkerChanged) string {
	text := nameOf(n.Worker) + " is " + n.State.String()
	if n.State == run.WorkerGone {
		text += ", " + n.Reason.Words()
	}
	return text
}

func (s *script) state() {
	c := s.core
	watchers, verdicts, doubts := 0, 0, 0
	for _, w := range c.workers {
		watchers, verdicts, doubts = watchers+w.watchers.len(), verdicts+len(w.past), doubts+len(w.doubts)
	}
	fmt.Fprintf(&s.out, "workers=%d there=%d watchers=%d verdicts=%d doubts=%d questions=%d timers=%d\n",
		len(c.workers), len(c.there), watchers, verdicts, doubts, len(c.questions), c.timers.Len())
}

func (s *script) list() {
	for _, w := range s.core.Workers(s.now) {
		fmt.Fprintf(&s.out, "%s~%s %v", w.WorkerID, w.Incarnation, w.State)
		if w.Reason != 0 {
			s.out.WriteString(", " + w.Reason.Words())
		}
		if w.Load != nil {
			fmt.Fprintf(&s.out, "; running=%d, %v ago", w.Load.Running, w.LoadAge)
		}
		s.out.WriteString("\n")
	}
}
