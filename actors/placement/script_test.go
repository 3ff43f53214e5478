package placement

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/limpetrun/limpet/messages"
)

// TestScripts runs testdata/*.txt. Record what changed with
// go test ./actors/placement -run TestScripts -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := newScript()
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				out := s.run(t, d)
				if err := s.core.Check(); err != nil {
					t.Fatalf("%s: %v", d.Pos, err)
				}
				return out
			})
		})
	}
}

// script drives a core with the commands of a test file. Grants are named g1,
// g2, … in the order in which they are made.
type script struct {
	core   *Core
	now    time.Time
	grants map[string]uint64
	names  map[uint64]string
	infos  map[string]*messages.WorkerInfo // by id~incarnation
	probes map[string]Probe                // the newest, by id~incarnation
	serial uint64
}

func newScript() *script {
	s := &script{grants: map[string]uint64{}, names: map[uint64]string{}, infos: map[string]*messages.WorkerInfo{}, probes: map[string]Probe{}}
	s.reset(Config{SettleFor: -1})
	return s
}

func (s *script) reset(c Config) {
	s.core, s.now = New(c), time.Unix(1_000_000, 0)
	clear(s.grants)
	clear(s.names)
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	a := arguments{t: t, d: d}
	c := s.core
	switch d.Cmd {
	case "new":
		s.reset(Config{SettleFor: a.span("settle", -1), Pool: a.str("pool"), QuestionsMax: int(a.num("questions-max", 0)), ClassesMax: int(a.num("classes-max", 0)),
			MovesPerSecond: int(a.num("moves", 0)), HeldLoadBound: a.factor("bound"), HeldLoadFree: a.factor("free")})
		return "ok\n"
	case "worker":
		info := s.worker(a)
		out := s.show(c.WorkerUp(info, s.now))
		s.serial++
		return out + s.show(c.Report(&messages.LoadReport{WorkerId: info.WorkerId, Incarnation: info.Incarnation, Slots: info.Slots, Serial: s.serial}, s.now))
	case "worker-up":
		return s.show(c.WorkerUp(s.worker(a), s.now))
	case "worker-gone":
		return s.show(c.WorkerGone(a.first(), a.or("incarnation", "i1"), s.now))
	case "worker-draining":
		return s.show(c.WorkerDraining(a.first(), a.or("incarnation", "i1"), s.now))
	case "report":
		return s.show(c.Report(s.report(a), s.now))
	case "ask":
		var out string
		for _, run := range a.firsts() {
			out += s.show(c.Ask(s.question(a, run), s.now))
		}
		return out
	case "withdraw":
		return s.show(c.Withdraw(&messages.WithdrawPlace{RunId: a.first(), Step: a.str("step"), Question: uint64(a.num("question", 1)),
			ReplyAddress: a.or("from", "server"), ReplyActorId: "run/" + a.first()}, s.now))
	case "server-gone":
		return s.show(c.AskersGone(a.first(), s.now))
	case "unbound":
		return s.show(c.RunUnbound(&messages.RunUnbound{RunId: a.first(), WorkerId: a.str("worker")}, s.now))
	case "bound-runs":
		return s.show(c.BoundRuns(a.first(), a.list("runs"), s.now))
	case "bound-runs-failed":
		return s.show(c.BoundRunsFailed(a.first(), s.now))
	case "figures":
		return s.figures()
	case "wait":
		return s.wait(a)
	case "register":
		return s.show(c.Register(s.worker(a), s.rivals(a), s.now))
	case "probe-answered":
		by := s.infos[a.first()+"~"+a.str("by")]
		return s.show(c.ProbeAnswered(s.probe(a), by, a.flag("draining")))
	case "probe-failed":
		return s.show(c.ProbeFailed(s.probe(a), a.flag("gone"), s.now))
	case "recorded":
		var err error
		if code := a.str("error"); code != "" {
			err = messages.Errorf(messages.Code(code), "the disk is full")
		}
		return s.show(c.Recorded(a.first(), a.or("incarnation", "i1"), err, s.now))
	case "status":
		return s.status()
	}
	t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	return ""
}

// worker makes a worker of: worker ID incarnation= slots= workflows=(a(x,y),…)
func (s *script) worker(a arguments) *messages.WorkerInfo {
	info := &messages.WorkerInfo{
		WorkerId: a.first(), Incarnation: a.or("incarnation", "i1"), Pool: a.str("pool"),
		Slots: int32(a.num("slots", 1)), StickyRunsMax: int32(a.num("sticky-runs-max", 0)),
		Host: "h", ProcessId: int32(a.num("pid", 7)), Webhook: a.flag("webhook"), Labels: map[string]string{},
	}
	info.Address, info.ActorId = a.or("address", "addr-"+info.WorkerId), "worker/"+info.WorkerId+"/"+info.Incarnation
	for _, l := range a.list("labels") {
		key, value, _ := strings.Cut(l, ":")
		info.Labels[key] = value
	}
	for _, name := range strings.Split(a.or("workflows", "build"), "+") {
		info.Workflows = append(info.Workflows, s.workflow(a, name))
	}
	s.infos[info.WorkerId+"~"+info.Incarnation] = info
	return info
}

func (s *script) workflow(a arguments, name string) *messages.WorkflowDefinition {
	d := &messages.WorkflowDefinition{Name: name, Pool: a.str("workflow-pool")}
	steps := a.list("steps")
	if len(steps) == 0 {
		steps = []string{"s1"}
	}
	for _, step := range steps {
		d.Steps = append(d.Steps, &messages.StepDefinition{Name: step})
	}
	d.Sticky = sticky(a.str("sticky"))
	return d
}

func (s *script) report(a arguments) *messages.LoadReport {
	s.serial++
	r := &messages.LoadReport{
		WorkerId: a.first(), Incarnation: a.or("incarnation", "i1"), Slots: int32(a.num("slots", 0)),
		Running: int32(a.num("running", 0)), Queued: int32(a.num("queued", 0)), BoundRuns: int32(a.num("bound", 0)),
		Draining: a.flag("draining"), Serial: uint64(a.num("serial", int64(s.serial))), HeldSlots: int32(a.num("stuck", 0)),
	}
	for _, g := range a.list("seen") {
		r.GrantsSeen = append(r.GrantsSeen, s.grants[g])
	}
	r.HeldKeys = keysOf(a.list("held"))
	return r
}

func (s *script) question(a arguments, run string) *messages.Place {
	p := &messages.Place{
		RunId: run, Question: uint64(a.num("question", 1)), Step: a.str("step"), Workflow: a.or("workflow", "build"),
		Sticky: sticky(a.str("sticky")), Steps: a.list("steps"), Priority: int32(a.num("priority", 2)),
		ExcludeWorker: a.str("exclude"), UnboundWorker: a.str("unbound"), ReadyUs: a.num("ready", 0),
		ReplyAddress: a.or("from", "server"), ReplyActorId: "run/" + run,
		HeldKeys: keysOf(a.list("keys")), Move: a.flag("move"),
	}
	if len(p.Steps) == 0 {
		p.Steps = []string{"s1"}
	}
	for _, text := range a.list("required") {
		rule := parseRule(text)
		rule.Required = true
		p.Labels = append(p.Labels, rule)
	}
	for _, text := range a.list("preferred") {
		text, weight, _ := strings.Cut(text, "*")
		rule := parseRule(text)
		w, _ := strconv.Atoi(weight)
		rule.Weight = int32(w)
		p.Labels = append(p.Labels, rule)
	}
	return p
}

// wait lets time pass in ticks of 100 ms and shows what it brings.
func (s *script) wait(a arguments) string {
	span, err := time.ParseDuration(a.first())
	if err != nil {
		a.t.Fatal(err)
	}
	var actions []Action
	for end := s.now.Add(span); s.now.Before(end); {
		s.now = s.now.Add(100 * time.Millisecond)
		actions = append(actions, s.core.Tick(s.now)...)
	}
	return s.show(actions)
}

func (s *script) rivals(a arguments) []Rival {
	var out []Rival
	for _, text := range a.list("rivals") {
		incarnation, state, _ := strings.Cut(text, ":")
		states := map[string]RivalState{"joining": RivalJoining, "ready": RivalReady, "draining": RivalDraining}
		out = append(out, Rival{WorkerID: a.first(), Incarnation: incarnation, Address: "addr-" + incarnation, State: states[state]})
	}
	return out
}

// probe is the newest for a process, or, with rival=, one that asked another.
func (s *script) probe(a arguments) Probe {
	p := s.probes[a.first()+"~"+a.str("incarnation")]
	if rival := a.str("rival"); rival != "" {
		p.Rival = Rival{WorkerID: a.first(), Incarnation: rival}
	}
	return p
}

func (s *script) show(actions []Action) string {
	var b strings.Builder
	for _, action := range actions {
		switch x := action.(type) {
		case Answer:
			s.showAnswer(&b, x)
		case Introduce:
			fmt.Fprintf(&b, "introduce %s %s\n", x.WorkerID, x.Incarnation)
		case Summon:
			fmt.Fprintf(&b, "summon %s %s\n", x.WorkerID, x.Incarnation)
		case ListBound:
			fmt.Fprintf(&b, "list runs bound to %s\n", x.WorkerID)
		case Probe:
			s.probes[x.WorkerID+"~"+x.Incarnation] = x
			fmt.Fprintf(&b, "probe %s %s at %s, for %s\n", x.WorkerID, x.Rival.Incarnation, x.Rival.Address, x.Incarnation)
		case Record:
			fmt.Fprintf(&b, "record definitions of %s %s\n", x.Worker.WorkerId, x.Worker.Incarnation)
		case Admit:
			fmt.Fprintf(&b, "admit %s %s\n", x.Worker.WorkerId, x.Worker.Incarnation)
		case Wait:
			fmt.Fprintf(&b, "%s %s is to wait: %s\n", x.WorkerID, x.Incarnation, x.Message)
		case Refuse:
			fmt.Fprintf(&b, "refuse %s %s: %v\n", x.WorkerID, x.Incarnation, x.Err)
		}
	}
	return b.String()
}

func (s *script) showAnswer(b *strings.Builder, x Answer) {
	if p := x.Placed; p != nil {
		if s.names[p.GrantId] == "" {
			name := fmt.Sprintf("g%d", len(s.names)+1)
			s.names[p.GrantId], s.grants[name] = name, p.GrantId
		}
		fmt.Fprintf(b, "%s → %s (%s)\n", subject(p.RunId, p.Step, p.Question), p.Worker.WorkerId, s.names[p.GrantId])
		return
	}
	w := x.Waiting
	if w.Stay {
		fmt.Fprintf(b, "%s stays: %s\n", subject(w.RunId, w.Step, w.Question), w.Text)
		return
	}
	fmt.Fprintf(b, "%s waits: %s\n", subject(w.RunId, w.Step, w.Question), w.Text)
}

func subject(run, step string, question uint64) string {
	if step != "" {
		run += "/" + step
	}
	if question > 1 {
		run += fmt.Sprintf(" question %d", question)
	}
	return run
}

func (s *script) status() string {
	loads := s.core.Loads()
	sort.Slice(loads, func(i, j int) bool { return loads[i].WorkerID < loads[j].WorkerID })
	var b strings.Builder
	for _, l := range loads {
		fmt.Fprintf(&b, "%s %s: %d slots, %d running, %d queued, %d granted, %d bound", l.WorkerID, l.Incarnation, l.Slots, l.Running, l.Queued, l.Granted, l.BoundRuns)
		if l.Draining {
			b.WriteString(", draining")
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d waiting", s.core.Waiting())
	if n := s.core.cfg.ClassesMax; n < 1024 {
		fmt.Fprintf(&b, ", %d classes", len(s.core.classes))
	}
	b.WriteByte('\n')
	return b.String()
}

// keysOf are the hashes of keys of one kind of shared state.
func keysOf(names []string) []uint64 {
	var out []uint64
	for _, name := range names {
		out = append(out, messages.HeldKey("model", name))
	}
	slices.Sort(out)
	return out
}

func sticky(name string) messages.Sticky {
	return map[string]messages.Sticky{"soft": messages.Sticky_STICKY_SOFT, "hard": messages.Sticky_STICKY_HARD}[name]
}

// parseRule reads key=value, key!=value, key<value, key<=value, …
func parseRule(text string) *messages.LabelRule {
	for _, op := range []struct {
		text string
		op   messages.LabelRule_Op
	}{
		{"!=", messages.LabelRule_NOT_EQUAL}, {"<=", messages.LabelRule_LESS_OR_EQUAL}, {">=", messages.LabelRule_GREATER_OR_EQUAL},
		{"=", messages.LabelRule_EQUAL}, {"<", messages.LabelRule_LESS}, {">", messages.LabelRule_GREATER},
	} {
		if key, value, ok := strings.Cut(text, op.text); ok {
			return &messages.LabelRule{Key: key, Op: op.op, Value: value}
		}
	}
	panic("no rule: " + text)
}

// arguments are those of one command: names without a value come first.
type arguments struct {
	t *testing.T
	d *datadriven.TestData
}

func (a arguments) firsts() []string {
	var out []string
	for _, arg := range a.d.CmdArgs {
		if len(arg.Vals) == 0 {
			out = append(out, arg.Key)
		}
	}
	return out
}

func (a arguments) first() string { return a.d.CmdArgs[0].Key }

func (a arguments) list(key string) []string {
	arg, ok := a.d.Arg(key)
	if !ok {
		return nil
	}
	return arg.Vals
}

func (a arguments) str(key string) string { return strings.Join(a.list(key), ",") }

func (a arguments) or(key, value string) string {
	if v := a.str(key); v != "" {
		return v
	}
	return value
}

func (a arguments) span(key string, value time.Duration) time.Duration {
	if v := a.str(key); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			a.t.Fatal(err)
		}
		return d
	}
	return value
}

func (a arguments) factor(key string) float64 {
	f, err := strconv.ParseFloat(a.or(key, "0"), 64)
	if err != nil {
		a.t.Fatal(err)
	}
	return f
}

func (a arguments) flag(key string) bool { return a.str(key) == "yes" }

func (a arguments) num(key string, value int64) int64 {
	if v := a.str(key); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			a.t.Fatal(err)
		}
		return n
	}
	return value
}

// figures shows what waits since how long ago, and what has waited how long.
func (s *script) figures() string {
	var b strings.Builder
	f := s.core.Figures(s.now)
	for _, w := range f.Waiting {
		fmt.Fprintf(&b, "%d of %s wait: %s, the first since %v\n", w.Questions, w.Workflow, w.Reason, s.now.Sub(w.ReadySince))
	}
	for _, reason := range slices.Sorted(maps.Keys(f.Waited)) {
		fmt.Fprintf(&b, "waited %v: %s\n", f.Waited[reason], reason)
	}
	return b.String()
}
