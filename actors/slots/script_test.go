package slots

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

// TestScripts runs testdata/*.txt. Attempts are written run/step#number, times
// are relative to the start of the script. Commands:
//
//	worker slots=N marks=N lacks=step reports   a new worker; reports shows them;
//	       hands-off                            its workflow hands local state off
//	       kept-max=2                           that wait are kept
//	       leased                               it acts only with a lease
//	       end-if-held-for=1m
//	dispatch r/s#1 epoch= sticky= bound priority= ready= timeout= grant= term= keep= take-up suspect from= bytes= shared
//	revoke r/s#1 from= | cancel r/s#1 reason= from=,  ack r/s#1,  release | hand-off r epoch= term=
//	ends r/s#1 output= | error= | bytes=        its function returns
//	     lease-expired                          because of that
//	gone s1                                     a message to this actor was not delivered
//	waits r/s#1, returns r/s#1                  it begins, ends a wait for a child
//	idle r/s#1 waits=7 bytes=9                        it does nothing but wait, in calls that 7
//	                                            stands for; 0: it does something
//	suspended r/s#1                             its run has let it go
//	advance 2s                                  ticks as often as Next asks
//	asleep 2s                                   the same without a tick
//	drain 30s                                   the process is to end
//	drain-for 5m, undrain                       by an operator
//	hands-off r, handed-off r                   its local state
//	lease-ends 1, lease-begins 2                with the term of what begins then
//	given-up, superseded, state
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
	core    *Core
	now     time.Time
	names   map[uint64]string
	ids     map[string]uint64 // of functions
	reports bool
	out     strings.Builder
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	if d.Cmd == "worker" {
		s.worker(t, d)
		return ""
	}
	switch d.Cmd {
	case "advance":
		s.advance(t, d)
	case "asleep":
		s.now = s.now.Add(span(t, d))
	case "may-ask":
		s.mayAsk(t, d)
	default:
		s.print(s.input(t, d), "")
	}
	if err := s.core.Check(); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return s.out.String()
}

func (s *script) mayAsk(t *testing.T, d *datadriven.TestData) {
	var epoch uint64
	d.ScanArgs(t, "epoch", &epoch)
	if err := s.core.MayAsk(d.CmdArgs[0].Key, epoch); err != nil {
		s.out.WriteString(err.Error() + "\n")
		return
	}
	s.out.WriteString("yes\n")
}

func (s *script) worker(t *testing.T, d *datadriven.TestData) {
	cfg := Config{WorkerID: "w1", Incarnation: "i1", Pool: "default", Slots: 1}
	var lacks string
	d.MaybeScanArgs(t, "slots", &cfg.Slots)
	d.MaybeScanArgs(t, "marks", &cfg.MarksMax)
	d.MaybeScanArgs(t, "kept-max", &cfg.KeptMax)
	d.MaybeScanArgs(t, "kept-bytes-max", &cfg.KeptBytesMax)
	d.MaybeScanArgs(t, "results-bytes", &cfg.ResultsBytesMax)
	d.MaybeScanArgs(t, "lacks", &lacks)
	cfg.Knows = func(_, step string) bool { return step != lacks }
	if d.HasArg("end-if-held-for") {
		var limit string
		d.ScanArgs(t, "end-if-held-for", &limit)
		cfg.EndIfHeldFor, _ = time.ParseDuration(limit)
	}
	handsOff := d.HasArg("hands-off")
	cfg.HandsOff = func(string) bool { return handsOff }
	cfg.Leased = d.HasArg("leased")
	*s = script{core: New(cfg), now: epoch, names: map[uint64]string{}, ids: map[string]uint64{}, reports: d.HasArg("reports")}
}

func (s *script) advance(t *testing.T, d *datadriven.TestData) {
	end := s.now.Add(span(t, d))
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

func term(t *testing.T, d *datadriven.TestData) uint64 {
	n, err := strconv.ParseUint(d.CmdArgs[0].Key, 10, 64)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return n
}

func span(t *testing.T, d *datadriven.TestData) time.Duration {
	span, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return span
}

func (s *script) input(t *testing.T, d *datadriven.TestData) []Action {
	var run, step, reason, from string
	var number int32
	if len(d.CmdArgs) > 0 {
		run, step, number = attemptName(d.CmdArgs[0].Key)
	}
	d.MaybeScanArgs(t, "reason", &reason)
	d.MaybeScanArgs(t, "from", &from)
	id := s.ids[fmt.Sprintf("%s/%s#%d", run, step, number)]
	switch d.Cmd {
	case "dispatch":
		return s.core.Dispatch(s.now, s.dispatch(t, d, run, step, number, from))
	case "revoke":
		return s.core.Revoke(s.now, &messages.Revoke{RunId: run, Step: step, Attempt: number, ReplyAddress: from})
	case "cancel":
		return s.core.CancelAttempt(s.now, &messages.CancelAttempt{
			RunId: run, Step: step, Attempt: number, Reason: messages.Reason_REASON_RUN_CANCELED, Text: reason, ReplyAddress: from})
	case "ack":
		return s.core.ResultAck(s.now, &messages.ResultAck{RunId: run, Step: step, Attempt: number})
	case "gone":
		return s.core.ReplyGone(s.now, Address{Host: d.CmdArgs[0].Key})
	case "release":
		var e uint64
		d.MaybeScanArgs(t, "epoch", &e)
		return s.core.RunReleased(s.now, &messages.RunReleased{RunId: run, Epoch: e, Reason: released(t, d, reason)})
	case "ends":
		return s.ends(t, d, id)
	case "waits":
		return s.core.ChildWaitBegan(s.now, id)
	case "idle":
		var waits uint64
		d.ScanArgs(t, "waits", &waits)
		var bytes int64
		d.MaybeScanArgs(t, "bytes", &bytes)
		return s.core.Idle(s.now, id, waits, bytes)
	case "tells":
		return s.core.Progress(s.now, id, []byte(d.CmdArgs[1].Key))
	case "extends":
		more, err := time.ParseDuration(d.CmdArgs[1].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return s.core.Extend(s.now, id, more)
	case "suspended":
		return s.core.Suspended(s.now, &messages.Suspended{RunId: run, Step: step, Attempt: number})
	case "returns":
		return s.core.ChildWaitEnded(s.now, id)
	case "drain":
		return s.core.Drain(s.now, s.now.Add(span(t, d)))
	case "drain-for":
		return s.orError(s.core.DrainFor(s.now, s.now.Add(span(t, d))))
	case "undrain":
		return s.orError(s.core.Undrain(s.now))
	case "hands-off":
		return s.core.HandOffBegan(s.now, run)
	case "handed-off":
		return s.core.HandOffEnded(s.now, run)
	case "hand-off":
		var e uint64
		d.MaybeScanArgs(t, "epoch", &e)
		m := &messages.HandOff{RunId: run, Epoch: e}
		d.MaybeScanArgs(t, "term", &m.LeaseTerm)
		actions, _ := s.core.HandOff(s.now, m)
		return actions
	case "lease-ends":
		return s.core.LeaseEnded(s.now, term(t, d), messages.Errorf(messages.CodeLeaseExpired, "no server was reached"))
	case "lease-begins":
		return s.core.LeaseBegan(s.now, term(t, d))
	case "given-up":
		return s.core.GivenUp(s.now, from, messages.Errorf(messages.CodeWorkerLost, "declared gone"))
	case "superseded":
		return s.core.Superseded(s.now, messages.Errorf(messages.CodeWorkerSuperseded, "by i2"))
	case "state":
		fmt.Fprintf(&s.out, "taken=%d queued=%d functions=%d results=%d bound=%d runs=%d\n", s.core.taken,
			s.core.queue.Len(), len(s.core.byID), s.core.unacked, s.core.bound, len(s.core.runs))
		return nil
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil
}

func (s *script) orError(actions []Action, err error) []Action {
	if err != nil {
		fmt.Fprintf(&s.out, "error: %v\n", err)
	}
	return actions
}

func (s *script) dispatch(t *testing.T, d *datadriven.TestData, run, step string, number int32, from string) *messages.Dispatch {
	m := &messages.Dispatch{
		RunId: run, Step: step, Attempt: number, Workflow: "w", ReplyAddress: from,
		Bound: d.HasArg("bound"), TakeUp: d.HasArg("take-up"), Suspect: d.HasArg("suspect"), ReadyUs: s.now.UnixMicro(),
	}
	var sticky, timeout string
	d.MaybeScanArgs(t, "epoch", &m.Epoch)
	d.MaybeScanArgs(t, "sticky", &sticky)
	var priority int
	d.MaybeScanArgs(t, "priority", &priority)
	m.Priority = int32(priority)
	d.MaybeScanArgs(t, "ready", &m.ReadyUs)
	d.MaybeScanArgs(t, "grant", &m.GrantId)
	d.MaybeScanArgs(t, "term", &m.LeaseTerm)
	var bytes int
	d.MaybeScanArgs(t, "bytes", &bytes)
	m.Input, m.InputShared = make([]byte, bytes), d.HasArg("shared")
	if d.MaybeScanArgs(t, "timeout", &timeout) {
		span, err := time.ParseDuration(timeout)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		m.ExecutionTimeoutMs = span.Milliseconds()
	}
	if beat := ""; d.MaybeScanArgs(t, "heartbeat", &beat) {
		span, err := time.ParseDuration(beat)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		m.HeartbeatMs = span.Milliseconds()
	}
	if keep := ""; d.MaybeScanArgs(t, "keep", &keep) {
		named := map[string]int64{"while-waiting": messages.KeepWhileWaitingMs, "not-at-all": messages.KeepNotAtAllMs}
		span, err := time.ParseDuration(keep)
		if m.KeepForMs = span.Milliseconds(); err != nil {
			m.KeepForMs = named[keep]
		}
	}
	m.Sticky = map[string]messages.Sticky{"soft": messages.Sticky_STICKY_SOFT, "hard": messages.Sticky_STICKY_HARD}[sticky]
	return m
}

func (s *script) ends(t *testing.T, d *datadriven.TestData, id uint64) []Action {
	var output, text string
	var size int
	d.MaybeScanArgs(t, "output", &output)
	if d.MaybeScanArgs(t, "bytes", &size) {
		output = strings.Repeat("x", size)
	}
	if d.MaybeScanArgs(t, "error", &text) {
		code := messages.CodeUserError
		if d.HasArg("lease-expired") {
			code = messages.CodeLeaseExpired
		}
		return s.core.FunctionEnded(s.now, id, nil, &messages.Failure{Code: string(code), Message: text})
	}
	return s.core.FunctionEnded(s.now, id, []byte(output), nil)
}

func attemptName(name string) (run, step string, number int32) {
	run, rest, _ := strings.Cut(name, "/")
	step, n, _ := strings.Cut(rest, "#")
	i, _ := strconv.Atoi(n)
	return run, step, int32(i)
}

func (s *script) print(actions []Action, prefix string) {
	for _, a := range actions {
		if a.Kind == Start {
			name := fmt.Sprintf("%s/%s#%d", a.Dispatch.RunId, a.Dispatch.Step, a.Dispatch.Attempt)
			s.names[a.ID], s.ids[name] = name, a.ID
		}
		if line := s.line(a); line != "" {
			s.out.WriteString(prefix + line + "\n")
		}
	}
}

func (s *script) line(a Action) string {
	switch a.Kind {
	case Start:
		if a.Dispatch.InputShared {
			return fmt.Sprintf("start %s with %d bytes", s.names[a.ID], len(a.Dispatch.Input))
		}
		return "start " + s.names[a.ID]
	case Resume:
		return "resume " + s.names[a.ID]
	case Extended:
		return fmt.Sprintf("%s ends at %v", s.names[a.ID], a.Deadline.Sub(epoch))
	case CancelContext:
		return fmt.Sprintf("cancel context of %s: %v", s.names[a.ID], a.Err)
	case Send:
		to := "owner of " + a.RunID
		if a.To != (Address{}) {
			to = a.To.Host
		}
		return fmt.Sprintf("to %s: %s", to, s.message(a.Message))
	case Report:
		if !s.reports {
			return ""
		}
		l := a.Load
		line := fmt.Sprintf("report slots=%d running=%d queued=%d bound=%d", l.Slots, l.Running, l.Queued, l.BoundRuns)
		if l.HeldSlots > 0 {
			line += fmt.Sprintf(" held=%d for %v", l.HeldSlots, time.Duration(l.HeldMs)*time.Millisecond)
		}
		if l.Kept > 0 || l.Suspended > 0 {
			line += fmt.Sprintf(" kept=%d suspended=%d early=%d", l.Kept, l.Suspended, l.SuspendedEarly)
		}
		if l.Draining {
			line += fmt.Sprintf(" draining soft=%d left=%v", l.BoundSoft, time.Duration(l.DrainLeftMs)*time.Millisecond)
		}
		if l.Ending {
			line += " ending"
		}
		if len(l.GrantsSeen) > 0 {
			line += fmt.Sprintf(" grants=%v", l.GrantsSeen)
		}
		return line
	}
	switch a.Kind {
	case Released:
		return fmt.Sprintf("released %s@%d: %s", a.RunID, a.Epoch, a.Reason.Words())
	case SlotHeld:
		return "slot held: " + heldWords(a.Held)
	case SlotFreed:
		return "slot freed: " + heldWords(a.Held)
	case Overheld:
		return fmt.Sprintf("overheld: %v", a.Err)
	case AskedToHandOff:
		return fmt.Sprintf("asked to hand off %s@%d", a.RunID, a.Message.(*messages.HandOff).Epoch)
	case AskBound:
		names := make([]string, len(a.Runs))
		for i, r := range a.Runs {
			names[i] = fmt.Sprintf("%s@%d", r.RunId, r.Epoch)
		}
		return "ask about " + strings.Join(names, " ")
	}
	if a.Err == nil {
		return "stopped"
	}
	return fmt.Sprintf("stopped: %v", a.Err)
}

// told is the progress that a message tells.
func told(m interface {
	GetProgress() []byte
	GetSerial() int64
}) string {
	if m.GetSerial() == 0 {
		return ""
	}
	return fmt.Sprintf(" told=%s (%d)", m.GetProgress(), m.GetSerial())
}

func heldWords(h Held) string {
	if h.Suspended {
		return fmt.Sprintf("%s/%s#%d, suspended, without a slot", h.RunID, h.Step, h.Attempt)
	}
	return fmt.Sprintf("%s/%s#%d for %v", h.RunID, h.Step, h.Attempt, h.For)
}

func (s *script) message(m proto.Message) string {
	switch m := m.(type) {
	case *messages.Queued:
		line := fmt.Sprintf("queued %s/%s#%d ahead=%d slots=%d", m.RunId, m.Step, m.Attempt, m.Ahead, m.Slots)
		if m.Aside {
			line += " aside"
		}
		if m.HeldSlots > 0 {
			line += fmt.Sprintf(" held=%d for %v", m.HeldSlots, time.Duration(m.HeldMs)*time.Millisecond)
		}
		return line
	case *messages.Started:
		line := fmt.Sprintf("started %s/%s#%d at %v", m.RunId, m.Step, m.Attempt, time.UnixMicro(m.StartedUs).Sub(epoch))
		if m.WaitingForChild {
			line += ", waits for a child"
		}
		if m.IdleWaits != 0 {
			line += fmt.Sprintf(", idle in %d", m.IdleWaits)
		}
		if executed := time.Duration(m.ExecutedUs) * time.Microsecond; executed != time.Duration(m.RunningUs)*time.Microsecond {
			line += fmt.Sprintf(", has executed for %v", executed)
		}
		if m.ExtendedMs != 0 {
			line += fmt.Sprintf(" of %v", time.Duration(m.ExtendedMs)*time.Millisecond)
		}
		return line + told(m)
	case *messages.Result:
		line := fmt.Sprintf("result %s/%s#%d epoch=%d", m.RunId, m.Step, m.Attempt, m.Epoch)
		if m.StartedUs == 0 {
			line += " never started"
		}
		if m.Canceled {
			line += " canceled"
		}
		if f := m.GetFailure(); f != nil {
			line += fmt.Sprintf(" %s: %s", f.Code, f.Message)
			if f.Final {
				line += " (final)"
			}
			return line + told(m)
		}
		return line + fmt.Sprintf(" output=%s", m.GetOutput()) + told(m)
	case *messages.Progress:
		return fmt.Sprintf("progress %s/%s#%d", m.RunId, m.Step, m.Attempt) + told(m)
	case *messages.SuspendAttempt:
		return fmt.Sprintf("suspend %s/%s#%d epoch=%d, idle in %d: %s", m.RunId, m.Step, m.Attempt, m.Epoch, m.IdleWaits, m.Reason.Words())
	case *messages.Revoked:
		return fmt.Sprintf("revoked %s/%s#%d", m.RunId, m.Step, m.Attempt)
	case *messages.DispatchRefused:
		return fmt.Sprintf("refused %s/%s#%d: %s", m.RunId, m.Step, m.Attempt, m.Reason.Words())
	case *messages.AttemptUnknown:
		return fmt.Sprintf("unknown %s/%s#%d", m.RunId, m.Step, m.Attempt)
	}
	return fmt.Sprintf("%T", m)
}

// released is the reason of a release that a script names by its words.
func released(t *testing.T, d *datadriven.TestData, words string) messages.ReleaseReason {
	for n := range messages.ReleaseReason_name {
		if r := messages.ReleaseReason(n); r.Words() == words {
			return r
		}
	}
	d.Fatalf(t, "no reason has the words %q", words)
	return 0
}
