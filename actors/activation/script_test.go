package activation

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// TestScripts runs testdata/*.txt. Record what changed with
// go test ./actors/activation -run TestScripts -rewrite, and read the diff.
//
// A script is about a server, its runs and their journal. The shard of run r6 is
// 6 modulo 4: the first digit of its name counts. Every run has one step, a, and
// goes to worker w1, or w2 if it is to leave
// that. Directives:
//
//	server sticky=none|soft|hard    a server that owns all four shards; without
//	       sweeping                 this word it does not sweep
//	       hands-off                its steps build state that can be handed off
//	       lines=3                  so many runs may ask placement
//	do                              lets things happen, one a line:
//
//	start r1 [input=2] [priority=3], cancel r1, replay r1, wait-for r1
//	result r1, failure r1, unknown r1, revoked r1  of its newest attempt
//	cancel r1 late, result r1 late  to the activation that retired last
//	late-news r1 w1 up              the same
//	news w1 up|gone|draining        of a worker, to runs in memory and to the host
//	children-listed r1              none has ended
//	child-answers r1 done|CODE      the child that r1 cancels
//	child-started r1 done|CODE      the child that was started with its cancel
//	record r1 [late], find r1
//	revoked r1 by=w2, spawn r1 by=w2, record r1 by=w2    of that worker
//	spawn r1 [sticky], bound r1 epoch=1 worker=w1
//	appends wait | work             they are stored by the next three lines only
//	stored r1, conflict r1, unavailable r1
//	stored-unanswered r1            the journal was out of reach before it answered
//	loaded-again r1                 the activation that retired last is given another answer
//	reads wait | work               they are answered by the next two lines only
//	read, read fails | corrupt
//	elsewhere cancels r1            another server appends to the run
//	elsewhere starts r1 ahead=10s   its clock is ahead
//	elsewhere starts r1 | ends r1
//	owns 0,1 of=s2                  the view: s2 owns the other shards; 0,1/2,3 are two
//	                                views before any run hears of the first
//	lagging                         the server has not seen the next view yet
//	taken, not-taken                by the new owner
//	released 0,1 by=s2              s2 has let them go
//	lease w1 2                      w1 asks for leases under a new term from now on
//	unknown-worker                  nobody has said yet what w1 serves
//	declared-gone, begin-anew, placement-reset, panic r1
//	workers busy | free             placement answers by the next line only, or at once
//	place r1                        its question is answered
//	backlog 5000                    so much waits
//	pass 5s, runs
//
// A line of what is done begins with the activation that does it: "r1.2" is the
// second activation that the server made, and of run r1.
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
				if d.Cmd == "server" {
					s.server()
					return ""
				}
				return s.do()
			})
		})
	}
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const scriptShards = 4

type script struct {
	t   *testing.T
	d   *datadriven.TestData
	out strings.Builder

	host  *Host
	now   time.Time
	store *journal.Memory
	def   *messages.WorkflowDefinition

	mailboxes []mail
	timers    []timer
	runTimers map[*Activation]time.Time
	retired   []*Activation
	appends   []pendingAppend
	reads     []func(err error)
	offers    []Offer
	child     run.CancelChild // the last that was to be canceled
	// manual: what waits for a word of the script.
	appendsWait, readsWait bool

	owned   [scriptShards]bool
	other   string
	view    uint64
	lagging bool
	mark    uint64
	terms   map[string][2]uint64 // the mark and the term of the newest
	unknown bool
	backlog int
	waits   int // bytes, of all activations
	// busy: what is asked waits in asked, by run.
	busy  bool
	asked map[string]asked
}

type asked struct {
	by       *Activation
	question *messages.Place
}

type mail struct {
	to              *Activation
	message, sender any
}

type timer struct {
	at time.Time
	in Input
}

type pendingAppend struct {
	append journal.Append
	done   func(error)
}

func (s *script) server() {
	var sticky string
	s.d.MaybeScanArgs(s.t, "sticky", &sticky)
	def := &messages.WorkflowDefinition{Name: "wf", Steps: []*messages.StepDefinition{{Name: "a", Retries: 9, BackoffMs: 60_000}},
		Sticky: map[string]messages.Sticky{"soft": messages.Sticky_STICKY_SOFT, "hard": messages.Sticky_STICKY_HARD}[sticky]}
	if s.d.HasArg("hands-off") {
		def.Locals = []*messages.LocalDefinition{{Name: "x", Handoff: true}}
		def.Steps[0].BuildsState = true
	}
	if err := messages.ValidateDefinition(def); err != nil {
		s.fatal("%v", err)
	}
	*s = script{t: s.t, d: s.d, now: epoch, store: journal.NewMemory(), def: def, runTimers: map[*Activation]time.Time{}, terms: map[string][2]uint64{}, asked: map[string]asked{}}
	cfg := HostConfig{Facts: s, Shards: scriptShards, ShardOf: shardOf, PageSize: 2}
	if s.d.HasArg("lines") {
		s.d.ScanArgs(s.t, "lines", &cfg.LineMax)
		cfg.LineLeast = 1
	}
	s.host = NewHost(cfg)
	s.owned = [scriptShards]bool{true, true, true, true}
	if s.d.HasArg("sweeping") {
		s.handle(Open{})
	}
	s.viewChanged()
	s.pass("0s")
}

func (s *script) fatal(format string, args ...any) { s.d.Fatalf(s.t, format, args...) }

func (s *script) printf(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *script) do() string {
	s.out.Reset()
	for _, line := range strings.Split(s.d.Input, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		s.printf("> %s", line)
		s.command(strings.Fields(line))
		s.settle()
	}
	return s.out.String()
}

// ---- facts ---------------------------------------------------------------------

func shardOf(runID string) int { return int(runID[1]-'0') % scriptShards }

func (s *script) Owns(runID string) bool { return s.owned[shardOf(runID)] }
func (s *script) OwnerOf(shard int) string {
	if s.owned[shard] {
		return ""
	}
	return s.other
}
func (s *script) Alone() bool                       { return s.other == "" }
func (s *script) LeaseMark() uint64                 { return s.mark }
func (s *script) UpWorkers() []string               { return []string{"w1"} }
func (s *script) Backlog() int                      { return s.backlog }
func (s *script) ToEngine(wall time.Time) time.Time { return wall }
func (s *script) Waits(change int) int {
	s.waits += change
	return s.waits
}
func (s *script) Absences() []run.Absence { return nil }
func (s *script) InfoOf(w *messages.WorkerRef) *messages.WorkerInfo {
	if s.unknown {
		return nil
	}
	return s.infoOf(w.WorkerId)
}
func (s *script) LeaseTerm(w *messages.WorkerRef, mark uint64) (uint64, bool) {
	newest := s.terms[w.WorkerId]
	return newest[1], mark >= newest[0]
}

// ---- what happens --------------------------------------------------------------

func (s *script) command(words []string) {
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	named := func(name, otherwise string) string {
		for _, w := range words {
			if v, ok := strings.CutPrefix(w, name+"="); ok {
				return v
			}
		}
		return otherwise
	}
	number := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			s.fatal("%v", err)
		}
		return n
	}
	id := word(1)
	signed := func(m proto.Message) proto.Message {
		messages.SentBy(m, named("by", ""))
		return m
	}
	switch words[0] {
	case "start":
		start := s.startOf(id, named("input", "1"))
		if kib := number(named("kib", "0")); kib > 0 {
			start.Start.Input = fmt.Appendf(nil, "%q", strings.Repeat("x", int(kib)<<10))
		}
		start.Start.Priority = int32(number(named("priority", "0")))
		s.handle(Start{&Starting{Message: start, Def: s.def}})
	case "cancel":
		s.deliver(id, word(2) == "late", &messages.CancelRun{RunId: id, Reason: "client"})
	case "replay":
		s.handle(Deliver{RunID: id, Message: &messages.ReplayRun{RunId: id}, Sender: "client"})
	case "result":
		s.deliver(id, word(2) == "late", s.result(id, &messages.Result_Output{Output: []byte("1")}))
	case "failure":
		s.deliver(id, false, s.result(id, &messages.Result_Failure{Failure: &messages.Failure{Code: string(messages.CodeUserError), Message: "no"}}))
	case "unknown":
		s.deliver(id, false, &messages.AttemptUnknown{RunId: id, Step: "a", Attempt: 1})
	case "revoked":
		s.deliver(id, false, signed(&messages.Revoked{RunId: id, Step: "a", Attempt: 1}))
	case "spawn":
		s.handle(Deliver{RunID: id, Sender: "step", Message: signed(&messages.SpawnChild{RunId: id, Step: "a", Attempt: 1, Epoch: 1, Key: "k",
			Workflow: "wf", Input: []byte("1"), Sticky: word(2) == "sticky"})})
	case "record":
		s.deliver(id, word(2) == "late", signed(&messages.RecordCall{RunId: id, Epoch: 1, Call: &messages.CallRecorded{Step: "a", Attempt: 1, Kind: messages.CallKind_CALL_KIND_DO, Name: "think", Key: "#0"}}))
	case "find":
		s.handle(Deliver{RunID: id, Sender: "step", Message: &messages.RecordedCalls{RunId: id, Step: "a", Attempt: 1, Epoch: 1, Name: "think", Key: "#0"}})
	case "await":
		s.handle(Deliver{RunID: id, Sender: "step", Message: &messages.AwaitCall{RunId: id, Step: "a", Attempt: 1, Epoch: 1,
			Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "ok", Key: "#0", TimeoutMs: 60_000}})
	case "children-listed":
		s.deliver(id, false, run.ChildrenListed{})
	case "child-answers", "child-started":
		answer := ChildAnswered{Of: s.child, Started: words[0] == "child-started"}
		if code := word(2); code != "done" {
			answer.Err = messages.Errorf(messages.Code(code), "of the child")
		}
		s.deliver(id, false, answer)
	case "wait-for":
		s.handle(Deliver{RunID: id, Message: AskWaitingFor{}, Sender: "client"})
	case "bound":
		s.handle(StillBound{RunID: id, Bound: Bound{Worker: &messages.WorkerRef{WorkerId: named("worker", "w1"), Incarnation: "i1"},
			Epoch: number(named("epoch", "1")), To: "w1"}})
	case "loaded-again":
		s.deliver(id, true, s.load(id, nil))
	case "late-news":
		news := newsOf(s, word(2), word(3))
		s.deliver(id, true, &news)
	case "news":
		s.news(word(1), word(2))
	case "appends":
		s.appendsWait = word(1) == "wait"
	case "stored", "stored-unanswered", "conflict", "unavailable":
		s.stored(id, words[0])
	case "reads":
		s.readsWait = word(1) == "wait"
	case "read":
		s.answerRead(word(1))
	case "elsewhere":
		ahead, err := time.ParseDuration(named("ahead", "0s"))
		s.must(err)
		s.elsewhere(word(1), word(2), s.now.Add(ahead))
	case "lease":
		s.mark++
		s.terms[word(1)] = [2]uint64{s.mark, number(word(2))}
	case "unknown-worker":
		s.unknown = true
	case "workers":
		s.busy = word(1) == "busy"
	case "place":
		s.place(id)
	case "backlog":
		s.backlog = int(number(word(1)))
	case "pass":
		s.pass(word(1))
	case "moved":
		s.moved(word(1))
	case "panic":
		a := s.host.Active(id)
		delete(s.runTimers, a)
		s.handle(Ended{a})
	case "runs":
		for _, a := range s.host.All() {
			s.printf("%s is in memory", name(a))
		}
	default:
		s.shards(words[0], word(1), named)
	}
}

// place answers what a run has asked.
func (s *script) place(id string) {
	q, ok := s.asked[id]
	if !ok {
		s.fatal("%s has asked nothing", id)
	}
	delete(s.asked, id)
	s.mailboxes = append(s.mailboxes, mail{q.by, &messages.Placed{RunId: id, Question: q.question.Question, Step: q.question.Step, GrantId: 1, Worker: workerRef("w1")}, nil})
}

// deliver sends a message: to the run, or to its activation that has retired last.
func (s *script) deliver(id string, late bool, message any) {
	if !late {
		s.handle(Deliver{RunID: id, Message: message, Sender: "client"})
		return
	}
	for _, a := range slices.Backward(s.retired) {
		if a.RunID == id {
			s.mailboxes = append(s.mailboxes, mail{a, message, "client"})
			return
		}
	}
}

// shards are the commands about who owns what.
func (s *script) shards(command, arg string, named func(name, otherwise string) string) {
	switch command {
	case "owns":
		s.other = named("of", "")
		for _, part := range strings.Split(arg, "/") {
			s.owned = [scriptShards]bool{}
			for _, shard := range shardList(part) {
				s.owned[shard] = true
			}
			s.viewChanged()
		}
	case "lagging":
		s.lagging = true
	case "released":
		s.handle(ShardsReleased{Shards: shardList(arg), Asker: named("by", "s2")})
	case "taken", "not-taken":
		offers := s.offers
		s.offers = nil
		for _, o := range offers {
			s.handle(Offered{Of: o, Taken: command == "taken"})
		}
	case "declared-gone":
		s.handle(DeclaredGone{})
	case "begin-anew":
		s.handle(BeginAnew{})
	case "placement-reset":
		s.handle(PlacementReset{})
	default:
		s.fatal("unknown command %q", command)
	}
}

func shardList(text string) []int {
	list := []int{}
	for _, part := range strings.Split(text, ",") {
		if n, err := strconv.Atoi(part); err == nil {
			list = append(list, n)
		}
	}
	return list
}

func (s *script) viewChanged() {
	s.view++
	if s.lagging {
		s.lagging = false
		return
	}
	s.handle(ViewChanged{Version: s.view, Owned: slices.Clone(s.owned[:])})
}

func (s *script) startOf(id, input string) *messages.StartRun {
	return &messages.StartRun{RunId: id, Start: &messages.RunStarted{Workflow: "wf", DefinitionHash: "h", Input: []byte(input), Sticky: s.def.Sticky, Trigger: "api"}}
}

func (s *script) news(worker, state string) {
	news := newsOf(s, worker, state)
	for _, a := range s.host.All() {
		if slices.Contains(a.Watched(), worker) {
			s.mailboxes = append(s.mailboxes, mail{a, &news, nil})
		}
	}
	s.handle(News{news})
}

func newsOf(s *script, worker, state string) run.WorkerChanged {
	st := map[string]run.WorkerState{"up": run.WorkerUp, "draining": run.WorkerDraining, "gone": run.WorkerGone}[state]
	return run.WorkerChanged{Worker: workerRef(worker), State: st, Reason: messages.Reason_REASON_WORKER_LOST,
		Info: s.infoOf(worker)}
}

func (s *script) infoOf(worker string) *messages.WorkerInfo {
	return &messages.WorkerInfo{WorkerId: worker, Incarnation: "i1", Slots: 2, Workflows: []*messages.WorkflowDefinition{s.def}}
}

// result is that of the newest attempt.
func (s *script) result(id string, outcome any) *messages.Result {
	r := &messages.Result{RunId: id, Step: "a", Attempt: 1, WorkerId: "w1", Incarnation: "i1"}
	if a := s.host.Active(id); a != nil && a.State() != nil {
		r.Attempt, r.Epoch = a.State().Step("a").Attempt, a.State().Step("a").Epoch
	}
	switch o := outcome.(type) {
	case *messages.Result_Output:
		r.Outcome = o
	case *messages.Result_Failure:
		r.Outcome = o
	}
	return r
}

func workerRef(id string) *messages.WorkerRef {
	return &messages.WorkerRef{WorkerId: id, Incarnation: "i1", Address: "host", ActorId: id}
}

// elsewhere lets another server, which took the run for its own, go on with it.
func (s *script) elsewhere(what, id string, now time.Time) {
	m := run.New(id, s.def, &run.Config{})
	var in run.Input = run.Start{Started: s.startOf(id, "1").Start}
	if what != "starts" {
		record, err := s.store.Load(context.Background(), id)
		if err == nil {
			m, err = run.Restore(id, s.def, record.Entries, &run.Config{})
		}
		s.must(err)
		in = run.Cancel{Reason: "elsewhere"}
	}
	if what == "ends" {
		m.Handle(run.TakeUp{}, now)
		in = run.FromWorker{Message: s.result(id, &messages.Result_Output{Output: []byte("1")})}
	}
	actions := m.Handle(in, now)
	if what == "starts" {
		actions = m.Handle(run.TimerDue{}, now.Add(time.Second))
	}
	for _, action := range actions {
		if act, ok := action.(run.Append); ok {
			s.must(s.store.Append(context.Background(), []journal.Append{s.entry(m.State(), act.Entry)})[0])
		}
	}
}

func (s *script) must(err error) {
	if err != nil {
		s.fatal("%v", err)
	}
}

func (s *script) entry(st *run.State, entry *messages.Entry) journal.Append {
	data, err := proto.Marshal(entry)
	s.must(err)
	return journal.Append{RunID: st.RunID, Number: st.Number, Entry: data, Row: projection.Row(st, shardOf(st.RunID))}
}

// pass lets time go by.
func (s *script) pass(span string) {
	d, err := time.ParseDuration(span)
	s.must(err)
	end := s.now.Add(d)
	for {
		s.settle()
		first, at := -1, end
		for i, t := range s.timers {
			if !t.at.After(at) && (first < 0 || t.at.Before(at)) {
				first, at = i, t.at
			}
		}
		var rings *Activation
		for _, a := range s.host.All() {
			if due, ok := s.runTimers[a]; ok && !due.After(at) && (first < 0 || due.Before(at)) {
				rings, at = a, due
			}
		}
		switch {
		case rings != nil:
			delete(s.runTimers, rings)
			s.now = maxTime(s.now, at)
			s.mailboxes = append(s.mailboxes, mail{rings, run.TimerDue{}, nil})
		case first >= 0:
			in := s.timers[first].in
			s.timers = slices.Delete(s.timers, first, first+1)
			s.now = maxTime(s.now, at)
			s.handle(in)
		default:
			s.now = end
			return
		}
	}
}

// moved moves the server's clock on: what sleeps does so for as long as it would have.
func (s *script) moved(span string) {
	d, err := time.ParseDuration(span)
	s.must(err)
	s.now = s.now.Add(d)
	for i := range s.timers {
		s.timers[i].at = s.timers[i].at.Add(d)
	}
	s.handle(Moved{})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
