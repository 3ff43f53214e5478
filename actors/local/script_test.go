package local

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/limpetrun/limpet/messages"
)

// TestScripts runs testdata/*.txt. Functions are written #1, questions ?1,
// values v1. Commands:
//
//	keeper max=N bytes=N idle=1m     a new keeper
//	begins #1 r1 epoch=1             a function of a run; without an epoch the run is not sticky
//	get ?1 #1 x key=k handoff        it asks for the value of x; shared with a key
//	get ?1 #1 x takes                if it is there
//	gave-up ?1
//	built v1 bytes=N | error=text
//	ends #1 state-lost               the function returns
//	released r1 epoch=1 why=rebound
//	gone v1                          its release has ended
//	hand-off r1 epoch=1
//	hook v1                          the hook of the value has returned
//	handed r1 epoch=1                what the hooks gave in the lines below
//	advance 2s                       ticks as often as Next asks
//	stop
//	state                            how the kinds fare, and what is held
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

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

type script struct {
	keeper *Keeper
	now    time.Time
	out    strings.Builder
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	switch d.Cmd {
	case "keeper":
		s.begin(t, d)
	case "advance":
		s.advance(t, d)
	case "state":
		s.state()
	default:
		s.print("", s.input(t, d))
	}
	if err := s.keeper.Check(); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return s.out.String()
}

func (s *script) begin(t *testing.T, d *datadriven.TestData) {
	cfg := Config{WorkerID: "w1"}
	var idle string
	d.MaybeScanArgs(t, "max", &cfg.SharedMax)
	d.MaybeScanArgs(t, "bytes", &cfg.SharedBytesMax)
	if d.MaybeScanArgs(t, "idle", &idle) {
		cfg.IdleFor = span(t, d, idle)
	}
	*s = script{keeper: New(cfg), now: start}
}

func span(t *testing.T, d *datadriven.TestData, text string) time.Duration {
	span, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return span
}

func (s *script) advance(t *testing.T, d *datadriven.TestData) {
	end := s.now.Add(span(t, d, d.CmdArgs[0].Key))
	for {
		next := s.keeper.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		s.now = next
		s.print(fmt.Sprintf("%v: ", s.now.Sub(start)), s.keeper.Tick(s.now))
	}
	s.now = end
}

// number reads a name such as #1, ?1 or v1.
func number(t *testing.T, d *datadriven.TestData, i int) uint64 {
	n, err := strconv.ParseUint(d.CmdArgs[i].Key[1:], 10, 64)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return n
}

func (s *script) input(t *testing.T, d *datadriven.TestData) []Action {
	var epoch uint64
	var why, text string
	d.MaybeScanArgs(t, "epoch", &epoch)
	d.MaybeScanArgs(t, "why", &why)
	k, now := s.keeper, s.now
	switch d.Cmd {
	case "begins":
		k.AttemptBegan(Attempt{Number: number(t, d, 0), RunID: d.CmdArgs[1].Key, Epoch: epoch, Sticky: epoch > 0 && !d.HasArg("query")})
		return nil
	case "get":
		ask := Ask{ID: number(t, d, 0), Attempt: number(t, d, 1), Local: d.CmdArgs[2].Key, Handoff: d.HasArg("handoff"), Takes: d.HasArg("takes")}
		ask.Shared = d.MaybeScanArgs(t, "key", &ask.Key)
		return k.Get(now, ask)
	case "peek":
		return k.Peek(now, Ask{ID: number(t, d, 0), Attempt: number(t, d, 1), Local: d.CmdArgs[2].Key, Shared: d.HasArg("shared")})
	case "gave-up":
		return k.GaveUp(now, number(t, d, 0))
	case "built":
		var bytes int64
		d.MaybeScanArgs(t, "bytes", &bytes)
		if d.MaybeScanArgs(t, "error", &text) {
			return k.Built(now, number(t, d, 0), 0, errors.New(text))
		}
		return k.Built(now, number(t, d, 0), bytes, nil)
	case "ends":
		return k.AttemptEnded(now, number(t, d, 0), d.HasArg("state-lost"))
	case "released":
		return k.Released(now, d.CmdArgs[0].Key, epoch, released(t, d, why))
	case "gone":
		return k.ReleaseEnded(now, number(t, d, 0))
	case "hand-off":
		return k.HandOff(now, d.CmdArgs[0].Key, epoch)
	case "hook":
		return k.HandOffReturned(now, number(t, d, 0))
	case "handed":
		states, faults := handedStates(d)
		return k.HandOffEnded(now, d.CmdArgs[0].Key, epoch, states, faults)
	case "stop":
		return k.Stop(now)
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil
}

// handedStates reads what hooks gave, a line each: name=data, name=N*x for N
// bytes, or what went wrong.
func handedStates(d *datadriven.TestData) (states []*messages.HandedState, faults []string) {
	for text := range strings.Lines(d.Input) {
		text = strings.TrimSuffix(text, "\n")
		name, data, ok := strings.Cut(text, "=")
		if !ok {
			faults = append(faults, text)
			continue
		}
		if times, of, ok := strings.Cut(data, "*"); ok {
			n, _ := strconv.Atoi(times)
			data = strings.Repeat(of, n)
		}
		states = append(states, &messages.HandedState{Local: name, Data: []byte(data)})
	}
	return states, faults
}

func (s *script) print(prefix string, actions []Action) {
	for _, a := range actions {
		s.out.WriteString(prefix + line(a) + "\n")
	}
}

func line(a Action) string {
	switch a.Kind {
	case Build:
		return fmt.Sprintf("build v%d for ?%d", a.Value, a.Ask)
	case CancelBuild:
		return fmt.Sprintf("cancel build of v%d: %v", a.Value, a.Err)
	case Give:
		if a.Hit {
			return fmt.Sprintf("give ?%d v%d, a hit", a.Ask, a.Value)
		}
		return fmt.Sprintf("give ?%d v%d", a.Ask, a.Value)
	case Fail:
		return fmt.Sprintf("fail ?%d: %v", a.Ask, a.Err)
	case Release:
		return fmt.Sprintf("release v%d: %s", a.Value, a.Why.Words())
	case HandOff:
		out := fmt.Sprintf("hand off of %s under %d:", a.Run, a.Epoch)
		for _, v := range a.Values {
			out += fmt.Sprintf(" %s=v%d", v.Local, v.Value)
		}
		return out
	}
	out := fmt.Sprintf("answer of %s under %d:", a.Run, a.Epoch)
	for _, state := range a.Answer.States {
		if len(state.Data) > 16 {
			out += fmt.Sprintf(" %s=%d bytes", state.Local, len(state.Data))
			continue
		}
		out += fmt.Sprintf(" %s=%s", state.Local, state.Data)
	}
	if f := a.Answer.Failure; f != nil {
		out += fmt.Sprintf(" %s: %s", f.Code, f.Message)
	}
	return out
}

func (s *script) state() {
	for _, u := range s.keeper.Uses() {
		kind := "private"
		if u.Shared {
			kind = "shared"
		}
		fmt.Fprintf(&s.out, "%s %s: values=%d in-use=%d bytes=%d hits=%d builds=%d failures=%d releases=%d evictions=%d\n",
			kind, u.Name, u.Values, u.InUse, u.Bytes, u.Hits, u.Builds, u.Failures, u.Releases, u.Evictions)
	}
	fmt.Fprintf(&s.out, "held=%d runs=%d empty=%v\n", len(s.keeper.Held()), len(s.keeper.runs), s.keeper.Empty())
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
