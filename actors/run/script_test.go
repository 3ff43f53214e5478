package run

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// TestScripts runs testdata/*.txt. Record what changed with
// go test ./actors/run -run TestScripts -rewrite, and read the diff: the
// scripts are the specification of a run.
//
// Two directives. "workflow" declares a definition, one step a line:
//
//	workflow sticky=soft|hard patience=10s|never|at-once priority=1 label=gpu locals=(x/handoff,y)
//	load builds
//	ask parents=load needs retries=2 backoff=1s schedule=5m execution=1h lost-max=5
//	tidy on-end=failed,canceled,succeeded
//
// "do" lets things happen, one a line, and prints what the run does about each:
// the entry that it appends, with its events, then what it sends. Nothing that
// an entry caused is sent before "durable"; that happens by itself unless
// "appends wait" was said. Times are relative to the start of the script.
//
//	start input=… input-bytes=9 workflow=… child-of=run/step bind-to=w1
//	placed w1 step=a question=q1 grant=9, waiting reason… reason=NO_LABELS, stay, placement restarted
//	handed-off x=data bytes=9 epoch=1 failed=reason
//	queued a#1, started a#1 waiting-for-child at=1s running=1s executed=1s, unknown a#1, revoked a#1,
//	refused a#1 reason, result a#1 output | error=… final | state-lost | canceled by=w1 epoch=1
//	started a#1 idle=ok/#0,ok/#1     it does nothing but wait in these calls
//	suspend a#1 reason idle=ok/#0    its worker, by=w1, asks for that
//	slots w1 2, slots w1 unknown what the server knows of it; any number if nothing is said
//	workers share inputs
//	up w1 lacking-workflow, up w1 lacking=b, draining w1, gone w1 reason
//	pass 10s quietly             time passes, timers fire; what is sent again is not shown
//	stands still 10s             time passes, timers fire afterwards
//	cancel reason without-end-step=yes, replay steps…, spawn a#1 key workflow sticky plain keep not-there unknown
//	child started|refused|other-input|canceled key of=step
//	child tells|goes-on|ended|unknown key of=step, told      a child's end, and who is told of one
//	await a#1 name key timeout=1h withdrawn kind=first branches=signal:ok,sleep:1h,wall:2h,child:key
//	await a#1 name key kind=event branches=event:user:* if=payload.x since=1h
//	event user:* payload=1 at=10s, sought [user:* payload=1], sought before, sought error=CODE
//	send a#1 name key to=run signal=ok payload=1, sent CODE
//	appends wait|work, durable, conflict, drop
//	server stops, restarts       the run is read from its entries and taken up
//	server restarts clock=-10s   by a server whose clock is off
//	server away 10s              no server was there for so long up to now
//	wall clock set by=1h         from here on it is so far ahead of engine time
//	shows a | shows run | waits-for
//
// A worker process is written w1 (its first incarnation) or w1~i2.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			s := &script{}
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				s.t, s.d = t, d
				switch d.Cmd {
				case "workflow":
					s.workflow()
					return ""
				case "do":
					return s.do()
				}
				d.Fatalf(t, "unknown directive %q", d.Cmd)
				return ""
			})
		})
	}
}

var scriptEpoch = time.UnixMicro(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())

const scriptRun = "r"

type script struct {
	// sending is the newest message to another run.
	sending SignalOther
	// seeking is the newest search for events, soughtBefore the one before.
	seeking, soughtBefore SeekEvents
	t                     *testing.T
	d                     *datadriven.TestData

	def *messages.WorkflowDefinition
	m   *Machine
	now time.Time
	// clock is what the server's clock is off by.
	clock time.Duration
	out   strings.Builder
	when  string // prefix of lines that an timer caused
	// The last such line, and how often it was repeated since.
	said     string
	repeated int

	timer    time.Time
	absences []Absence
	stored   [][]byte
	folded   *State
	inFlight *Append
	manual   bool
	quiet    bool // what is sent again is not shown
	stopped  bool
	names    map[uint64]string // of questions
	open     map[string]uint64 // newest question by step
	asks     int
	slots    map[string]int // of workers, by id
	shares   bool           // they share inputs
	wall     time.Duration  // what the wall clock is ahead of engine time
}

func (s *script) config() *Config {
	return &Config{LinksKept: 1, InfoOf: s.infoOf, ToEngine: s.toEngine}
}

func (s *script) toEngine(wall time.Time) time.Time { return wall.Add(-s.wall) }

func (s *script) infoOf(worker *messages.WorkerRef) *messages.WorkerInfo {
	n, said := s.slots[worker.WorkerId]
	switch {
	case !said:
		n = messages.SlotsMax
	case n == 0:
		return nil
	}
	return &messages.WorkerInfo{Slots: int32(n), SharesInputs: s.shares}
}

func (s *script) fatal(format string, args ...any) { s.d.Fatalf(s.t, format, args...) }

// ---- workflow --------------------------------------------------------------

func (s *script) workflow() {
	def := &messages.WorkflowDefinition{Name: "wf"}
	for _, arg := range s.d.CmdArgs {
		v := ""
		if len(arg.Vals) > 0 {
			v = arg.Vals[0]
		}
		switch arg.Key {
		case "sticky":
			def.Sticky = map[string]messages.Sticky{"none": 0, "soft": messages.Sticky_STICKY_SOFT, "hard": messages.Sticky_STICKY_HARD}[v]
		case "patience":
			switch v {
			case "never":
				def.BusyPatienceMs = messages.BusyPatienceNeverMs
			case "at-once":
				def.BusyPatienceMs = messages.BusyPatienceAtOnceMs
			default:
				def.BusyPatienceMs = s.millis(v)
			}
		case "locals":
			for _, name := range arg.Vals {
				name, handoff := strings.CutSuffix(name, "/handoff")
				def.Locals = append(def.Locals, &messages.LocalDefinition{Name: name, Handoff: handoff})
			}
		case "priority":
			def.Priority = int32(v[0] - '0')
		case "label":
			def.Labels = []*messages.LabelRule{{Key: v, Value: "yes", Required: true}}
		default:
			s.fatal("unknown argument %q", arg.Key)
		}
	}
	for _, line := range strings.Split(s.d.Input, "\n") {
		fields := strings.Fields(line)
		if len(fields) > 0 {
			def.Steps = append(def.Steps, s.step(fields))
		}
	}
	if err := messages.ValidateDefinition(def); err != nil {
		s.fatal("%v", err)
	}
	*s = script{t: s.t, d: s.d, def: def, now: scriptEpoch, slots: map[string]int{},
		folded: NewState(scriptRun, def), names: map[uint64]string{}, open: map[string]uint64{}}
	s.m = New(scriptRun, def, s.config())
}

func (s *script) step(fields []string) *messages.StepDefinition {
	st := &messages.StepDefinition{Name: fields[0]}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "parents":
			st.Parents = strings.Split(v, ",")
		case "retries":
			_, _ = fmt.Sscan(v, &st.Retries)
		case "backoff":
			st.BackoffMs = s.millis(v)
		case "backoff-max":
			st.BackoffMaxMs = s.millis(v)
		case "schedule":
			st.ScheduleTimeoutMs = s.millis(v)
		case "heartbeat":
			st.HeartbeatMs = s.millis(v)
		case "execution":
			st.ExecutionTimeoutMs = s.millis(v)
		case "lost-max":
			_, _ = fmt.Sscan(v, &st.LostAttemptsMax)
		case "builds":
			st.BuildsState = true
		case "needs":
			st.NeedsState = true
		case "on-end":
			for _, outcome := range strings.Split(v, ",") {
				st.OnEnd = append(st.OnEnd, messages.RunStatus(messages.RunStatus_value["RUN_STATUS_"+strings.ToUpper(outcome)]))
			}
		case "label":
			st.Labels = []*messages.LabelRule{{Key: v, Value: "yes", Required: true}}
		default:
			s.fatal("unknown argument %q of step %q", k, st.Name)
		}
	}
	return st
}

func (s *script) millis(v string) int64 {
	if v == "never" {
		return -1
	}
	return s.span(v).Milliseconds()
}

func (s *script) span(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		s.fatal("%v", err)
	}
	return d
}

// ---- do --------------------------------------------------------------------

func (s *script) do() string {
	s.out.Reset()
	if s.m == nil {
		s.fatal("no workflow")
	}
	for _, line := range strings.Split(s.d.Input, "\n") {
		line = strings.TrimSpace(line)
		s.flush()
		switch {
		case line == "":
		case line[0] == '#':
			fmt.Fprintf(&s.out, "%s\n", line)
		default:
			s.when = ""
			fmt.Fprintf(&s.out, "> %s\n", line)
			s.command(newWords(line))
		}
	}
	s.flush()
	return s.out.String()
}

// words are the fields of a line: plain ones and key=value.
type words struct {
	plain []string
	named map[string]string
}

func newWords(line string) words {
	w := words{named: map[string]string{}}
	for _, f := range strings.Fields(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			w.named[k] = v
			continue
		}
		w.plain = append(w.plain, f)
	}
	return w
}

func (w words) at(i int) string {
	if i < len(w.plain) {
		return w.plain[i]
	}
	return ""
}

func (w words) rest(i int) string {
	if i < len(w.plain) {
		return strings.Join(w.plain[i:], " ")
	}
	return ""
}

func (w words) has(name string) bool {
	for _, p := range w.plain {
		if p == name {
			return true
		}
	}
	_, ok := w.named[name]
	return ok
}

func (s *script) command(w words) {
	switch w.at(0) {
	case "pass":
		s.quiet = w.has("quietly")
		s.pass(s.span(w.at(1)))
		s.quiet = false
	case "stands":
		s.now = s.now.Add(s.span(w.at(2)))
	case "appends":
		s.manual = w.at(1) == "wait"
	case "durable":
		s.durable()
	case "conflict":
		s.inFlight = nil
		s.handle(Appended{Err: messages.Errorf(messages.CodeJournalConflict, "another activation went on")})
	case "server":
		switch w.at(1) {
		case "stops":
			s.timer = time.Time{}
			return
		case "away":
			away := s.span(w.at(2))
			s.absences = append(s.absences, Absence{s.now, s.now.Add(away)})
			s.now, s.timer = s.now.Add(away), time.Time{}
		}
		s.clock = 0
		if off := w.named["clock"]; off != "" {
			s.clock = s.span(off)
		}
		s.restart()
	case "wall":
		s.wall = s.span(w.named["by"])
	case "slots":
		s.slots[w.at(1)], _ = strconv.Atoi(w.at(2))
	case "workers":
		s.shares = true
	case "shows":
		s.shows(w.at(1))
	case "waits-for":
		s.printf("%s", s.m.WaitingFor())
	default:
		s.handle(s.input(w))
	}
}

func (s *script) pass(d time.Duration) {
	end := s.now.Add(d)
	for fired := 0; ; fired++ {
		if fired > 100_000 {
			s.fatal("the timer fires again and again, at %v", s.now.Sub(scriptEpoch))
		}
		next := s.timer
		if dormant := s.folded.Dormant; s.stopped && dormant != nil && dormant.WakeAtUs != 0 {
			next = time.UnixMicro(dormant.WakeAtUs).Add(-s.clock)
		}
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(s.now) {
			s.now = next
		}
		s.timer = time.Time{}
		s.when = fmt.Sprintf("%v: ", s.now.Sub(scriptEpoch))
		if s.stopped {
			s.wake()
			continue
		}
		s.handle(TimerDue{})
	}
	s.now = end
}

// wake brings a run back that had left memory.
func (s *script) wake() {
	s.printf("(brought back from the journal)")
	s.stopped = false
	s.restart()
}

func (s *script) restart() {
	s.inFlight = nil
	if len(s.stored) == 0 {
		s.m, s.timer = New(scriptRun, s.def, s.config()), time.Time{}
		return
	}
	m, err := Restore(scriptRun, s.def, s.stored, s.config())
	if err != nil {
		s.printf("refused: %v", err)
		return
	}
	s.m, s.timer = m, time.Time{}
	// Questions of another activation are others, even at the same time.
	s.names = map[uint64]string{}
	s.handle(TakeUp{Absences: s.absences})
}

func (s *script) handle(in Input) {
	if s.stopped {
		s.wake()
	}
	for _, a := range s.m.Handle(in, s.now.Add(s.clock)) {
		s.print(a)
	}
	if err := s.m.State().Check(); err != nil {
		s.fatal("%v", err)
	}
	if s.inFlight != nil && !s.manual {
		s.durable()
	}
}

// cut cuts what is stored, as a store would. What is left is as good.
func (s *script) cut(a *Append) {
	if a.Cut == 0 {
		return
	}
	s.stored = s.stored[len(s.stored)-int(a.Number-a.Cut):]
	left, err := Fold(scriptRun, s.def, s.stored)
	if err == nil {
		err = s.folded.CheckSame(left)
	}
	if err != nil {
		s.fatal("what is left: %v", err)
	}
}

// durable makes the entry in flight durable, checks it and compares what it
// folds to with the live state.
func (s *script) durable() {
	if s.inFlight == nil {
		s.fatal("no append is in flight")
	}
	a := s.inFlight
	s.inFlight = nil
	data, err := proto.Marshal(a.Entry)
	if err != nil {
		s.fatal("%v", err)
	}
	s.stored = append(s.stored, data)
	e, err := DecodeEntry(data)
	if err == nil {
		err = s.folded.ApplyChecked(e)
	}
	if err != nil {
		s.fatal("%v", err)
	}
	if !s.m.Appending() {
		s.fatal("the machine has forgotten its append")
	}
	if err := s.folded.CheckSame(s.m.State()); err != nil {
		s.fatal("the entries do not fold to the live state: %v", err)
	}
	s.cut(a)
	s.handle(Appended{})
}
