package worker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

func workflow(name string, config ...sdk.WorkflowConfig) *sdk.Workflow[int] {
	w := sdk.NewWorkflow[int](name, config...)
	sdk.AddStep(w, "s", func(_ sdk.Context, in int) (int, error) { return in, nil })
	return w
}

func TestNewReportsEverythingAtOnce(t *testing.T) {
	var missing *sdk.Workflow[int]
	_, err := New(Config{
		ID: "not allowed", Slots: -1, StickyRunsMax: -1, Pool: "a b", Labels: map[string]string{"x y": "1"},
	}, workflow("bad name"), workflow("twice"), workflow("twice", sdk.WorkflowConfig{Pool: "gpu"}), missing, nil)
	for _, want := range []string{
		`worker id "not allowed"`, "join is empty", "-1 slots", "sticky runs max is -1", `pool "a b"`, `label key "x y"`,
		`workflow name "bad name"`, `workflow "twice" is given more than once`, `workflow "twice" is of pool "gpu", the worker of pool "a b"`,
		"was not made by NewWorkflow", "a workflow is nil",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if !errors.Is(err, sdk.ErrInvalidArgument) || !errors.Is(err, sdk.ErrInvalidDefinition) {
		t.Error(err)
	}
	if _, err := New(Config{ID: "w", Join: []string{"127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), "no workflows") {
		t.Error(err)
	}
}

func TestDefaults(t *testing.T) {
	w, err := New(Config{Name: "crawler", Join: []string{"127.0.0.1:1"}, Labels: map[string]string{"gpu": "a100"}}, workflow("w"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(w.ID(), "/crawler") || len(w.ID()) == len("/crawler") {
		t.Errorf("id %q", w.ID())
	}
	if w.info.Slots < 1 || w.info.Pool != messages.DefaultPool || w.info.Labels["gpu"] != "a100" || len(w.info.Workflows) != 1 {
		t.Errorf("info %v", w.info)
	}
	if w.functions["w"]["s"] == nil {
		t.Errorf("functions %v", w.functions)
	}
	if named, err := New(Config{Join: []string{"127.0.0.1:1"}}, workflow("w")); err != nil || !strings.HasSuffix(named.ID(), "/worker.test") {
		t.Errorf("%v", err)
	}
}

func TestRunWithoutAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close()
	config := Config{ID: "w", Join: []string{dead}, JoinTimeout: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
	w, err := New(config, workflow("w"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, &messages.Error{Code: messages.CodeJoinFailed}) || !strings.Contains(err.Error(), dead) {
		t.Errorf("nobody to join: %v", err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("run twice: %v", err)
	}

	config.JoinTimeout = sdk.Never
	ctx, cancel := context.WithCancel(t.Context())
	w, err = New(config, workflow("w"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped while it joins: %v", err)
	}
	w, err = New(config, workflow("w"))
	if err != nil {
		t.Fatal(err)
	}
	w.Kill()
	if err := w.Run(t.Context()); !errors.Is(err, sdk.ErrWorkerLost) {
		t.Errorf("killed while it joins: %v", err)
	}
}
