package node_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

// setClock is a store on a machine whose wall clock is set.
type setClock struct {
	journal.Store
	ahead atomic.Int64
}

func (s *setClock) Now(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Now(ctx)
	return now.Add(time.Duration(s.ahead.Load())), err
}

func (s *setClock) Time(ctx context.Context) (time.Time, journal.KeptTime, error) {
	now, kept, err := s.Store.Time(ctx)
	return now.Add(time.Duration(s.ahead.Load())), kept, err
}

// The wall clock of the store's machine is set an hour ahead while runs wait: none
// fails of it, and people read the times of the wall clock.
func TestWhatWaitsSurvivesAClockThatIsSet(t *testing.T) {
	file, err := sqlite.Open(t.Context(), sqlite.Config{Path: t.TempDir() + "/journal"})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	store := &setClock{Store: file}
	w := sdk.NewWorkflow[int]("wait", sdk.WorkflowConfig{})
	sdk.AddStep(w, "work", func(sdk.Context, int) (int, error) { return 1, nil }, sdk.StepConfig{ScheduleTimeout: 5 * time.Minute})
	def, err := w.Definition()
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutDefinition(t.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: def.Name, Data: data, RegisteredAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s, err := node.Start(t.Context(), config(store))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(context.WithoutCancel(t.Context()))
	client := apiconnect.NewLimpetServiceClient(http.DefaultClient, "http://"+s.APIAddress())
	start := func() string {
		r, err := client.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "wait", Input: []byte("1")}))
		if err != nil {
			t.Fatal(err)
		}
		return r.Msg.GetRunId()
	}
	runs := []string{start()}
	store.ahead.Store(int64(time.Hour))
	runs = append(runs, start())
	for s.ClockSteps() == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the step was not seen")
		}
		time.Sleep(10 * time.Millisecond)
	}
	runs = append(runs, start())
	work, err := worker.New(worker.Config{ID: "w", Join: []string{s.GossipAddress()}, Logger: config(nil).Logger}, w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- work.Run(ctx) }()
	defer func() { stop(); <-ended }()
	for i, id := range runs {
		r, err := client.WaitRun(t.Context(), connect.NewRequest(&api.WaitRunRequest{RunId: id}))
		if err != nil || r.Msg.GetRun().GetRun().GetStatus() != messages.RunStatus_RUN_STATUS_SUCCEEDED {
			t.Fatalf("run %d: %v, %v", i, r, err)
		}
		steps := r.Msg.GetRun().GetSteps()
		if d := time.Until(steps[0].GetEndedAt().AsTime()) - time.Hour; d.Abs() > 20*time.Second {
			t.Errorf("run %d is shown to have ended %v from when it did", i, d)
		}
		created := time.Until(r.Msg.GetRun().GetRun().GetCreatedAt().AsTime())
		if want := []time.Duration{0, 0, time.Hour}[i]; (created - want).Abs() > 20*time.Second {
			t.Errorf("run %d is shown to be created %v from now, want %v", i, created, want)
		}
	}
	if s.ClockSteps() != 1 {
		t.Errorf("%d steps of the clock were counted", s.ClockSteps())
	}
	health, err := http.Get("http://" + s.APIAddress() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer health.Body.Close()
	if body, err := io.ReadAll(health.Body); err != nil || strings.TrimSpace(string(body)) != `{"alive":true,"clock_steps":1}` {
		t.Errorf("/healthz says %s, %v", body, err)
	}
}
