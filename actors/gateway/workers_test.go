package gateway

import (
	"errors"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func TestWorkersAreDrained(t *testing.T) {
	e := newFakeBackend()
	c := client(t, serve(t, e, Config{}))
	ctx := t.Context()
	got, err1 := c.GetWorker(ctx, connect.NewRequest(&api.GetWorkerRequest{WorkerId: "gpu-1"}))
	drained, err2 := c.DrainWorker(ctx, connect.NewRequest(&api.DrainWorkerRequest{WorkerId: "gpu-1", Deadline: durationpb.New(5 * time.Minute)}))
	_, err3 := c.DrainWorker(ctx, connect.NewRequest(&api.DrainWorkerRequest{WorkerId: "gpu-1"}))
	undrained, err4 := c.UndrainWorker(ctx, connect.NewRequest(&api.UndrainWorkerRequest{WorkerId: "gpu-1"}))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if a, b, c := got.Msg.GetWorker().GetState(), drained.Msg.GetWorker().GetState(), undrained.Msg.GetWorker().GetState(); a != "up" || b != "draining" || c != "up" {
		t.Errorf("it is %s, then %s, then %s", a, b, c)
	}
	if want := []string{"drain gpu-1 5m0s", "drain gpu-1 0s", "undrain gpu-1"}; !slices.Equal(e.commands, want) {
		t.Errorf("the engine was asked to %q, want %q", e.commands, want)
	}
}

func TestDrainsThatAreRefused(t *testing.T) {
	e := newFakeBackend()
	c := client(t, serve(t, e, Config{}))
	ctx := t.Context()
	drain := func(id string, deadline time.Duration) error {
		_, err := c.DrainWorker(ctx, connect.NewRequest(&api.DrainWorkerRequest{WorkerId: id, Deadline: durationpb.New(deadline)}))
		return err
	}
	_, notSeen := c.GetWorker(ctx, connect.NewRequest(&api.GetWorkerRequest{WorkerId: "none"}))
	_, noName := c.GetWorker(ctx, connect.NewRequest(&api.GetWorkerRequest{}))
	_, ending := c.UndrainWorker(ctx, connect.NewRequest(&api.UndrainWorkerRequest{WorkerId: "gpu-2"}))
	_, badName := c.UndrainWorker(ctx, connect.NewRequest(&api.UndrainWorkerRequest{WorkerId: "a b"}))
	for i, tc := range []struct {
		err  error
		want messages.Code
	}{
		{notSeen, messages.CodeUnknownWorker}, {noName, messages.CodeInvalidArgument}, {ending, messages.CodeWorkerEnding},
		{badName, messages.CodeInvalidArgument}, {drain("none", time.Second), messages.CodeUnknownWorker},
		{drain("gpu-1", 0), messages.CodeInvalidArgument}, {drain("gpu-1", -time.Second), messages.CodeInvalidArgument},
		{drain("gpu-1", drainMax+time.Second), messages.CodeInvalidArgument},
	} {
		if codeOf(tc.err) != tc.want {
			t.Errorf("%d: got %v, want %s", i, tc.err, tc.want)
		}
	}
	if len(e.commands) > 0 {
		t.Errorf("the engine was asked to %q", e.commands)
	}
}
