package sdktest_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// fields are what a caller may fill in with text, of a start, an event and a
// spawn alike.
type fields struct {
	key      string
	metadata map[string]string
	priority sdk.Priority
}

func tooMany() map[string]string {
	m := map[string]string{}
	for i := range 65 {
		m[fmt.Sprint("k", i)] = ""
	}
	return m
}

// What a field may not be is refused by each door at once, in the same words; and
// what a step asks for in vain leaves a run that all can tell of.
func TestFieldsAreCheckedAtEveryDoor(t *testing.T) {
	bad := []struct {
		fields
		code sdk.Code
		want string
	}{
		{fields{key: "\xff\xfe"}, "INVALID_ARGUMENT", `"\xff\xfe": the character at byte 1 is not printable UTF-8`},
		{fields{key: "a\x00"}, "INVALID_ARGUMENT", "the character at byte 2 is not printable UTF-8"},
		{fields{key: strings.Repeat("k", 1<<20)}, "INVALID_ARGUMENT", "1048576 bytes, more than KeyBytesMax = 256"},
		{fields{metadata: map[string]string{"a": "\xff"}}, "INVALID_ARGUMENT", `metadata "a": its value "\xff" is not UTF-8`},
		{fields{metadata: map[string]string{"\xff": ""}}, "INVALID_ARGUMENT", "metadata key"},
		{fields{metadata: map[string]string{"a": strings.Repeat("x", 20<<10)}}, "LIMIT_EXCEEDED", "MetadataBytesMax = 16384"},
		{fields{metadata: map[string]string{"a": strings.Repeat("x", 40<<20)}}, "LIMIT_EXCEEDED", "MetadataBytesMax = 16384"},
		{fields{metadata: tooMany()}, "LIMIT_EXCEEDED", "MetadataMax = 64"},
		{fields{priority: 99}, "INVALID_ARGUMENT", "priority 99"},
		{fields{priority: -5}, "INVALID_ARGUMENT", "priority -5"},
	}
	child := sdk.NewWorkflow[int]("child", sdk.WorkflowConfig{OnEvents: []string{"e"}})
	sdk.AddStep(child, "s", func(sdk.Context, int) (int, error) { return 1, nil })
	parent := sdk.NewWorkflow[int]("parent")
	sdk.AddStep(parent, "s", func(ctx sdk.Context, i int) (int, error) {
		f := bad[i].fields
		_, err := child.Spawn(ctx, 1, &sdk.SpawnOptions{Key: f.key, Metadata: f.metadata, Priority: f.priority})
		return 0, err
	})
	e := sdktest.Start(t, sdktest.Config{}, parent, child)
	c := e.Client()
	for i, b := range bad {
		doors := map[string]error{}
		_, doors["start"] = child.Start(t.Context(), c, 1, &sdk.StartOptions{IdempotencyKey: b.key, Metadata: b.metadata, Priority: b.priority})
		if b.priority == 0 {
			_, doors["event"] = c.PushEvent(t.Context(), "e", 1, &sdk.EventOptions{ID: b.key, Metadata: b.metadata})
		}
		run, err := parent.Start(t.Context(), c, i)
		if err != nil {
			t.Fatal(err)
		}
		doors["spawn"] = run.Wait(t.Context())
		for door, err := range maps.All(doors) {
			if sdk.CodeOf(err) != b.code && !errors.Is(err, &sdk.Error{Code: b.code}) || !strings.Contains(fmt.Sprint(err), b.want) {
				t.Errorf("%s: %.300v, want %s %s", door, err, b.code, b.want)
			}
		}
		if got, err := run.Get(t.Context()); err != nil || got.GetRun().GetStatus() != sdk.Failed {
			t.Errorf("the run that spawned: %v %v", got.GetRun().GetStatus(), err)
		}
	}
	for what, err := range map[string]error{
		"a run id":    c.Run("\xff").Wait(t.Context()),
		"a reason":    c.Run("r").Cancel(t.Context(), "\xff"),
		"a step":      c.Run("r").Replay(t.Context(), "\xff"),
		"a long step": c.Run("r").Replay(t.Context(), strings.Repeat("s", 1<<20)),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %.200v", what, err)
		}
	}
}

// Keys of shared local state may be any bytes.
func TestKeysOfLocalStateAreBytes(t *testing.T) {
	for _, key := range []string{"\xff\x00\xfe", strings.Repeat("\x80", 256)} {
		w := sdk.NewWorkflow[int]("w", sdk.WorkflowConfig{Sticky: sdk.Soft})
		l := sdk.NewLocal(w, sdk.LocalConfig[string, int]{
			Name: "model", Key: func(int) string { return key },
			Bind: func(ctx sdk.BindContext, _ int) (string, error) { return ctx.Key(), nil },
		})
		sdk.AddStep(w, "s", func(ctx sdk.Context, _ int) (bool, error) {
			got, err := l.Get(ctx)
			return got == key, err
		})
		e := sdktest.Start(t, sdktest.Config{}, w)
		run, err := w.Start(t.Context(), e.Client(), 1)
		if err != nil {
			t.Fatal(err)
		}
		var same bool
		if err := run.Result(t.Context(), &same); err != nil || !same {
			t.Error(same, err)
		}
		if _, err := run.Get(t.Context()); err != nil {
			t.Error(err)
		}
		for _, err := range run.Watch(t.Context(), 0) {
			if err != nil {
				t.Error(err)
			}
		}
	}
}
