package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/messages"
)

// kept is local state whose values are numbers: 1 for the first one built.
type kept struct {
	*attempt.Local
	built    atomic.Int32
	released chan string
}

func newKept(name string, released chan string) *kept {
	k := &kept{Local: &attempt.Local{Name: name}, released: released}
	k.Origin = k
	k.Bind = func(context.Context, *attempt.Build) (any, error) {
		return k.built.Add(1), nil
	}
	k.Release = func(value any, why messages.ReleaseReason) error {
		k.released <- fmt.Sprintf("%s %v %s", name, value, why.Words())
		return nil
	}
	return k
}

// getting is a function that gets all of the state and returns it.
func getting(all ...*kept) attempt.Function {
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		var out []string
		for _, k := range all {
			v, err := a.Calls.LocalValue(ctx, k.Local)
			if err != nil {
				return nil, err
			}
			out = append(out, fmt.Sprint(k.Name, v))
		}
		return fmt.Appendf(nil, "%q", strings.Join(out, " ")), nil
	}
}

func ofEpoch(epoch uint64) func(*messages.Dispatch) {
	return func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_SOFT, epoch }
}

func attemptNumber(n int32) func(*messages.Dispatch) {
	return func(d *messages.Dispatch) { d.Attempt = n }
}

func nextRelease(t *testing.T, released <-chan string) string {
	t.Helper()
	select {
	case s := <-released:
		return s
	case <-time.After(workerTestPatience):
		t.Fatal("nothing is released")
		return ""
	}
}

func locals(all ...*kept) map[string]*attempt.Local {
	out := map[string]*attempt.Local{}
	for _, k := range all {
		out[k.Name] = k.Local
	}
	return out
}

func TestWorkerHandsOffLocalState(t *testing.T) {
	s := startWorkerServer(t)
	released := make(chan string, 10)
	good, bad, slow, plain := newKept("good", released), newKept("bad", released), newKept("slow", released), newKept("plain", released)
	good.Handoff = func(_ context.Context, v any) ([]byte, error) { return fmt.Append(nil, v), nil }
	bad.Handoff = func(context.Context, any) ([]byte, error) { panic("hook") }
	returns := make(chan struct{})
	slow.Handoff = func(context.Context, any) ([]byte, error) {
		<-returns
		return nil, nil
	}
	w := mustStartTestWorker(t, s, workerTestConfig{
		slots: 2, locals: locals(good, bad, slow, plain),
		functions: map[string]attempt.Function{"a": getting(good, bad, slow, plain), "b": getting(good)},
	})
	w.dispatch("r1", "a", ofEpoch(1))
	r, _ := nextHeard[*messages.Result](s)
	if string(r.GetOutput()) != `"good1 bad1 slow1 plain1"` {
		t.Fatalf("%v", r)
	}
	w.ack(r)
	ask := &messages.HandOff{RunId: "r1", Epoch: 1, WithinMs: 2000, ReplyAddress: s.node.Self().Address, ReplyActorId: "reply"}
	w.send(ask)
	first, by := nextHeard[*messages.HandedOff](s)
	if by != "reply" || len(first.States) != 1 || first.States[0].Local != "good" || string(first.States[0].Data) != "1" {
		t.Errorf("%v", first)
	}
	for _, want := range []string{`local "bad": handoff panicked: hook`, `local "slow": its hook has not returned in time`} {
		if !strings.Contains(first.GetFailure().GetMessage(), want) {
			t.Errorf("%v lacks %q", first.Failure, want)
		}
	}
	// The same again, and nothing of the run is executed any more.
	w.send(ask)
	if again, _ := nextHeard[*messages.HandedOff](s); !proto.Equal(first, again) {
		t.Errorf("first %v, then %v", first, again)
	}
	w.dispatch("r1", "b", ofEpoch(1))
	if r, _ := nextHeard[*messages.DispatchRefused](s); r.Reason != messages.Reason_REASON_HANDED_OFF {
		t.Errorf("%v", r)
	}
	if len(released) > 0 {
		t.Errorf("released %s", <-released)
	}
	w.send(&messages.RunReleased{RunId: "r1", Epoch: 1, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND})
	got := []string{nextRelease(t, released), nextRelease(t, released), nextRelease(t, released)}
	slices.Sort(got)
	if want := []string{"bad 1 rebound", "good 1 rebound", "plain 1 rebound"}; !slices.Equal(got, want) {
		t.Errorf("released %v", got)
	}
	// What the slow hook still reads is released after it.
	close(returns)
	if got := nextRelease(t, released); got != "slow 1 rebound" {
		t.Error(got)
	}
	// The run comes back: what another worker handed off reaches Bind.
	good.Bind = func(_ context.Context, b *attempt.Build) (any, error) {
		return "from " + string(b.HandedOff.GetData()), nil
	}
	w.dispatch("r1", "b", ofEpoch(3), attemptNumber(2), func(d *messages.Dispatch) {
		d.HandedOff = []*messages.HandedState{{Local: "good", Data: []byte("afar")}}
	})
	if r, _ := nextHeard[*messages.Result](s); string(r.GetOutput()) != `"goodfrom afar"` {
		t.Errorf("%v", r)
	}
}

func TestWorkerTellsWhatItHolds(t *testing.T) {
	s := startWorkerServer(t)
	released := make(chan string, 10)
	model, own := newKept("model", released), newKept("own", released)
	model.Key = func(input []byte) (string, error) {
		switch string(input) {
		case `"bad"`:
			return "", errors.New("no key")
		case `"panic"`:
			panic("no key")
		}
		return strings.Trim(string(input), `"`), nil
	}
	model.Size = func(any) int64 { return 50 }
	w := mustStartTestWorker(t, s, workerTestConfig{
		slots: 2, locals: locals(model, own), functions: map[string]attempt.Function{"a": getting(model, own)}, limits: local.Config{IdleFor: -1},
	})
	ctx, cancel := context.WithTimeout(t.Context(), workerTestPatience)
	defer cancel()
	reply, err := s.node.Request(ctx, w.remote(), &messages.LocalKeysOf{Workflow: "w", Inputs: [][]byte{[]byte(`"x"`), []byte(`"bad"`), []byte(`"panic"`), []byte(`"y"`), []byte(`"` + strings.Repeat("z", 300) + `"`)}})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, k := range reply.(*messages.LocalKeysReply).Keys {
		keys = append(keys, fmt.Sprintf("%s", k.Keys))
	}
	if want := []string{"map[model:x]", "map[]", "map[]", "map[model:y]", "map[]"}; !slices.Equal(keys, want) {
		t.Errorf("keys %q", keys)
	}
	w.dispatch("r1", "a", ofEpoch(1), func(d *messages.Dispatch) { d.Input = []byte(`"x"`) })
	w.dispatch("r2", "a", ofEpoch(1), func(d *messages.Dispatch) { d.Input = []byte(`"y"`) })
	want := []uint64{messages.HeldKey("model", "x"), messages.HeldKey("model", "y")}
	slices.Sort(want)
	held := untilLoad(t, s, func(l *messages.LoadReport) bool {
		return slices.Equal(l.HeldKeys, want) && len(l.Locals) == 2 && l.Locals[1].Values == 2
	})
	if m := held.Locals[0]; m.Name != "model" || !m.Shared || m.Values != 2 || m.InUse != 2 || m.Bytes != 100 || m.Builds != 2 {
		t.Errorf("%v", held.Locals)
	}
	for _, run := range []string{"r1", "r2"} {
		w.send(&messages.RunReleased{RunId: run, Epoch: 1, Reason: messages.ReleaseReason_RELEASE_REASON_RUN_ENDED})
	}
	gone := untilLoad(t, s, func(l *messages.LoadReport) bool {
		return len(l.HeldKeys) == 0 && len(l.Locals) == 2 && l.Locals[0].Values+l.Locals[1].Values == 0
	})
	if m := gone.Locals[0]; m.Releases != 2 || m.Evictions != 2 {
		t.Errorf("%v", gone.Locals)
	}
}

func untilLoad(t *testing.T, s *workerServer, good func(*messages.LoadReport) bool) *messages.LoadReport {
	t.Helper()
	deadline := time.After(workerTestPatience)
	var last *messages.LoadReport
	for {
		select {
		case last = <-s.loads:
			if good(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("the last load is %v", last)
		}
	}
}

// What a function got is there until it has returned, whatever becomes of its
// run and its worker.
func TestWorkerReleasesNothingThatIsInUse(t *testing.T) {
	s := startWorkerServer(t)
	released := make(chan string, 10)
	own := newKept("own", released)
	entered, leave, stay := make(chan struct{}), make(chan struct{}), make(chan struct{})
	holding := func(until chan struct{}) attempt.Function {
		return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			v, err := a.Calls.LocalValue(ctx, own.Local)
			entered <- struct{}{}
			<-until
			if len(released) > 0 {
				t.Error("the value was released while it was in use")
			}
			if _, stale := a.Calls.LocalValue(ctx, own.Local); stale == nil {
				t.Error("a function of a run that was released got a value")
			}
			return fmt.Append(nil, v), err
		}
	}
	w := mustStartTestWorker(t, s, workerTestConfig{
		slots: 2, grace: -1, locals: locals(own),
		functions: map[string]attempt.Function{"a": getting(own), "leaves": holding(leave), "stays": holding(stay)},
	})
	w.locals.linger = 100 * time.Millisecond
	w.dispatch("r1", "leaves", ofEpoch(1))
	<-entered
	w.send(&messages.RunReleased{RunId: "r1", Epoch: 1, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND})
	// The next message is handled after that one.
	w.dispatch("r1", "a", ofEpoch(2))
	if r, _ := nextHeard[*messages.Result](s); string(r.GetOutput()) != `"own2"` {
		t.Errorf("%v", r)
	}
	close(leave)
	if got := nextRelease(t, released); got != "own 1 rebound" {
		t.Error(got)
	}
	w.dispatch("r1", "stays", ofEpoch(2), attemptNumber(2))
	<-entered
	w.Drain()
	if err := w.ended(); !errors.Is(err, &messages.Error{Code: messages.CodeWorkerLost}) {
		t.Errorf("the end: %v", err)
	}
	if len(released) > 0 {
		t.Errorf("released %s", <-released)
	}
	close(stay)
	if got := nextRelease(t, released); got != "own 2 worker-stopping" {
		t.Error(got)
	}
}

func TestReleaseFailsByItsOwnCode(t *testing.T) {
	for _, release := range []func(any, messages.ReleaseReason) error{
		func(any, messages.ReleaseReason) error { return errors.New("no space") },
		func(any, messages.ReleaseReason) error { panic("no space") },
	} {
		v := &localValue{kind: &attempt.Local{Name: "p", Release: release}}
		err := (&localShell{releaseWithin: localReleaseWithin}).callRelease(v, messages.ReleaseReason_RELEASE_REASON_RUN_ENDED)
		if f := messages.ToFailure(err); f.GetCode() != string(messages.CodeUserError) || !strings.Contains(f.Message, "no space") {
			t.Errorf("%v", f)
		}
	}
}
