package sdktest_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// The attempts of a worker are found by the time, those of runs that have left it too; what
// became of it is kept, and a run's sentence says why it moved.
func TestWhatAWorkerDid(t *testing.T) {
	w := sdk.NewWorkflow[int]("moves", sdk.WorkflowConfig{Sticky: sdk.Soft})
	begun := make(chan string, 8)
	sdk.AddStep(w, "s", func(ctx sdk.Context, in int) (int, error) {
		begun <- ctx.WorkerID()
		if in == 1 && ctx.Attempt() == 1 {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return in, nil
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	service := e.Client().Service()
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	first := <-begun
	if err := e.KillWorker(first); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := <-begun
	for i := range 5 {
		other, err := w.Start(t.Context(), e.Client(), 10+i)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	had := func(worker string, from, to time.Time, size int32) (all []string, pages int) {
		t.Helper()
		r := &api.ListAttemptsRequest{WorkerId: worker, From: timestamppb.New(from), PageSize: size}
		if !to.IsZero() {
			r.To = timestamppb.New(to)
		}
		for {
			resp, err := service.ListAttempts(t.Context(), connect.NewRequest(r))
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, a := range resp.Msg.GetAttempts() {
				all = append(all, fmt.Sprint(a.GetRunId() == run.ID(), a.GetWorkflow(), a.GetStep(), a.GetNumber(), a.GetOutcome()))
			}
			if r.PageToken = resp.Msg.GetNextPageToken(); r.PageToken == "" {
				return all, pages
			}
		}
	}
	var never time.Time
	if got, _ := had(first, time.Unix(1, 0), never, 0); !slices.Equal(got, []string{fmt.Sprint(true, "moves", "s", 1, "lost")}) {
		t.Errorf("the worker that was killed had %q", got)
	}
	got, pages := had(second, time.Unix(1, 0), never, 2)
	if len(got) != 6 || got[5] != fmt.Sprint(true, "moves", "s", 2, "succeeded") || pages < 3 {
		t.Errorf("the other one had %q, in %d pages", got, pages)
	}
	if got, _ := had(second, time.Unix(1, 0), time.Unix(2, 0), 0); len(got) != 0 {
		t.Errorf("before there was anything it had %q", got)
	}
	answer, err := service.GetWorker(t.Context(), connect.NewRequest(&api.GetWorkerRequest{WorkerId: first}))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range answer.Msg.GetEvents() {
		kinds = append(kinds, e.GetKind())
	}
	if len(kinds) < 2 || kinds[0] != "joined" || kinds[1] != "gone" {
		t.Errorf("of the worker that was killed is kept: %q", kinds)
	}
	view, err := run.Get(t.Context())
	if want := "The run has succeeded, last on " + second + ", where it moved from " + first + ": worker lost."; err != nil || view.GetRun().GetSentence() != want {
		t.Errorf("it says %q, want %q, %v", view.GetRun().GetSentence(), want, err)
	}
}

// A watch of the cluster has runs and workers in one stream, goes on at a position without
// leaving anything out, and says where that is too old.
func TestWatchOfTheCluster(t *testing.T) {
	w := sdk.NewWorkflow[int]("seen", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(w, "s", func(_ sdk.Context, in int) (int, error) { return in, nil })
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	var run *sdk.Run
	position := ""
	var got []string
	for item, err := range e.Client().Watch(t.Context()) {
		switch {
		case err != nil:
			t.Fatal(err)
		case item.GetKind() == "begins":
			if run, err = w.Start(t.Context(), e.Client(), 1); err != nil {
				t.Fatal(err)
			}
		case item.GetTopic() == api.TopicRuns && item.GetRunId() == run.ID():
			got = append(got, item.GetKind()+" "+item.GetStatus().String())
		}
		if position = item.GetPosition(); len(got) == 1 {
			break // the rest is for who goes on
		}
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.KillWorker("w1"); err != nil {
		t.Fatal(err)
	}
	for item, err := range e.Client().Watch(t.Context(), &sdk.WatchOptions{Position: position}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, item.GetKind()+" "+item.GetWorkerId())
		if item.GetTopic() == api.TopicWorkers && item.GetKind() == "gone" {
			break
		}
	}
	if want := []string{"started RUN_STATUS_RUNNING", "begins ", "bound " + workerOf(t, run), "ended " + workerOf(t, run), "gone w1"}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
	other := base64.RawURLEncoding.EncodeToString([]byte("server-9~01k 12\n"))
	for item, err := range e.Client().Watch(t.Context(), &sdk.WatchOptions{Position: other, Topics: []string{"workers"}}) {
		if err != nil || item.GetKind() != "gap" || item.GetServer() != "server-9~01k" {
			t.Errorf("after a place at a server that is gone: %v, %v", item, err)
		}
		break
	}
}

func workerOf(t *testing.T, run *sdk.Run) string {
	t.Helper()
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got.GetRun().GetWorkerId()
}
