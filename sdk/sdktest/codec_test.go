package sdktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/codec"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

func secretKeys(t *testing.T, ids ...string) codec.Codec {
	t.Helper()
	var keys []codec.Key
	for _, id := range ids {
		keys = append(keys, codec.Key{ID: id, Secret: bytes.Repeat([]byte(id), 32)})
	}
	c, err := codec.AESGCM(bytes.Repeat([]byte("s"), 16), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// spying is a run that has a secret in every payload that there is.
type spying struct {
	w     *sdk.Workflow[string]
	child *sdk.Workflow[string]
	last  *sdk.Step[string, string]
	peeks chan struct{}
}

const secret = "hush"

func newSpying() *spying {
	s := &spying{w: sdk.NewWorkflow[string]("spying", sdk.WorkflowConfig{Sticky: sdk.Soft, OnEvents: []string{"spy"}}), peeks: make(chan struct{})}
	s.child = sdk.NewWorkflow[string]("child")
	sdk.AddStep(s.child, "echo", func(_ sdk.Context, in string) (string, error) { return in, nil })
	local := sdk.NewLocal(s.w, sdk.LocalConfig[string, string]{Bind: func(_ sdk.BindContext, in string) (string, error) { return in + " local", nil }})
	sdk.AddQuery(s.w, "peek", func(ctx sdk.QueryContext, arg string) (string, error) {
		value, err := local.Peek(ctx)
		return value + " " + arg, err
	})
	first := sdk.AddStep(s.w, "first", func(ctx sdk.Context, in string) (string, error) { return s.first(ctx, in, local) }, sdk.StepConfig{Retries: 1, Backoff: time.Millisecond})
	s.last = sdk.AddStep(s.w, "last", func(ctx sdk.Context, in string) (string, error) {
		said, err := first.Output(ctx)
		return in + "; " + said, err
	}, sdk.StepConfig{Parents: sdk.Steps(first)})
	return s
}

func (s *spying) first(ctx sdk.Context, in string, local *sdk.Local[string]) (string, error) {
	held, err := local.Get(ctx)
	if err != nil {
		return "", err
	}
	done, err := sdk.Do(ctx, "think", func(ctx sdk.Context) (string, error) { return fmt.Sprintf("%s %d", secret, ctx.Attempt()), nil })
	if err != nil {
		return "", err
	}
	child, err := s.child.Spawn(ctx, in+" spawned")
	if err != nil {
		return "", err
	}
	if ctx.Attempt() == 1 {
		if _, err := fmt.Fprint(ctx.Stream("words"), secret+" streamed"); err != nil {
			return "", err
		}
		return "", errors.Join(ctx.Progress(secret+" progress"), errors.New("again"))
	}
	last, _, err := sdk.LastProgress[string](ctx)
	if err != nil {
		return "", err
	}
	<-s.peeks
	told, err := sdk.Receive[string](ctx, "tell")
	if err != nil {
		return "", err
	}
	event, err := sdk.WaitEvent[string](ctx, "happen", &sdk.EventWait{Since: time.Minute})
	if err != nil {
		return "", err
	}
	var echoed string
	if err := child.Result(ctx, &echoed); err != nil {
		return "", err
	}
	return strings.Join([]string{held, done, last, told, event.Payload, echoed}, ", "), nil
}

// TestTheClusterReadsNoEncodedPayload, whatever it is of, and what is tried again is
// known as the same, though it is encoded anew.
func TestTheClusterReadsNoEncodedPayload(t *testing.T) {
	s := newSpying()
	e := sdktest.Start(t, sdktest.Config{Codec: secretKeys(t, "b", "a")}, s.w, s.child)
	key := &sdk.StartOptions{IdempotencyKey: "once"}
	run, err := s.w.Start(t.Context(), e.Client(), secret, key)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.w.Start(t.Context(), e.Client(), secret, key); err != nil || again.ID() != run.ID() {
		t.Errorf("started again it is %v, %v", again, err)
	}
	if _, err := s.w.Start(t.Context(), e.Client(), "another", key); !errors.Is(err, sdk.ErrIdempotencyMismatch) {
		t.Errorf("started again with another input: %v", err)
	}
	s.peeks <- struct{}{} // it has local state
	var peeked string
	if err := run.Ask(t.Context(), "peek", secret+" asked", &peeked); err != nil || peeked != "hush local hush asked" {
		t.Errorf("the query says %q, %v", peeked, err)
	}
	id := &sdk.SignalOptions{ID: "once"}
	for range 2 {
		if err := run.Signal(t.Context(), "tell", secret+" told", id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Client().PushEvent(t.Context(), "happen", secret+" happened"); err != nil {
		t.Fatal(err)
	}
	got, err := s.last.Result(t.Context(), run)
	if want := "hush; hush local, hush 1, hush progress, hush told, hush happened, hush spawned"; err != nil || got != want {
		t.Errorf("the run says %q, %v, want %q", got, err, want)
	}
	wantStreamOf(t, run, secret+" streamed")

	// Who has no codec sees that there is something, and nothing of it.
	plain, err := sdk.NewClient(sdk.ClientConfig{Address: e.Address()})
	if err != nil {
		t.Fatal(err)
	}
	seen, sealed := everything(t, plain.Run(run.ID()))
	if strings.Contains(seen, secret) || sealed < 10 {
		t.Errorf("%d payloads are encoded; seen without a codec:\n%s", sealed, seen)
	}
	if _, err := s.last.Result(t.Context(), plain.Run(run.ID())); !errors.Is(err, sdk.ErrCodecFailed) {
		t.Errorf("without a codec its result is %v", err)
	}
	if seen, sealed := everything(t, run); sealed > 0 || !strings.Contains(seen, secret) {
		t.Errorf("%d payloads are encoded, seen with the codec", sealed)
	}
}

// wantStreamOf reads the whole stream.
func wantStreamOf(t *testing.T, run *sdk.Run, want string) {
	t.Helper()
	if got, err := read(t, run, "words", nil); err != nil || got != "1.1:"+want {
		t.Errorf("the stream has %q, %v", got, err)
	}
}

// everything is what the API tells of a run, and how many payloads are encoded.
func everything(t *testing.T, run *sdk.Run) (seen string, sealed int) {
	t.Helper()
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := []proto.Message{view}
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry)
	}
	var out strings.Builder
	for _, m := range all {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	for piece, err := range run.ReadStream(t.Context(), "words") {
		if err != nil {
			t.Fatal(err)
		}
		out.Write(piece.Data)
	}
	return out.String(), strings.Count(out.String(), `{"limpet.encoded":`)
}

// TestWhoeverLacksTheKeyIsTold by a code; what is not encoded is taken as it is.
func TestWhoeverLacksTheKeyIsTold(t *testing.T) {
	s := newSpying()
	has := sdktest.Start(t, sdktest.Config{Codec: secretKeys(t, "a")}, s.child)
	none := sdktest.Start(t, sdktest.Config{}, s.child)
	for name, c := range map[string]struct {
		at    *sdktest.Engine
		codec codec.Codec
		says  string
	}{
		"a worker with another key": {has, secretKeys(t, "b"), `key "b"`},
		"a worker without a codec":  {none, secretKeys(t, "a"), "nothing here decodes them"},
		"a client without a codec":  {has, nil, "nothing here decodes them"}, // the output is encoded
	} {
		client, err := sdk.NewClient(sdk.ClientConfig{Address: c.at.Address(), Codec: c.codec})
		if err != nil {
			t.Fatal(err)
		}
		run, err := s.child.Start(t.Context(), client, "7")
		if err != nil {
			t.Fatal(err)
		}
		var out string
		if err := run.Result(t.Context(), &out); !errors.Is(err, sdk.ErrCodecFailed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
