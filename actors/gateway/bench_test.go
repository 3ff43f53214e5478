package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// nullBackend stores nothing: what is left is the gateway.
type nullBackend struct{ *fakeBackend }

func (nullBackend) StartRuns(_ context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error) {
	replies := make([]*messages.StartRunReply, len(runs))
	for i := range replies {
		replies[i] = &messages.StartRunReply{}
	}
	return replies, nil
}

func benchClient(b *testing.B) apiconnect.LimpetServiceClient {
	s, err := Start(b.Context(), nullBackend{newFakeBackend(ask)}, Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	b.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Stop(context.Background()); err != nil {
			b.Log(err)
		}
	})
	return apiconnect.NewLimpetServiceClient(&http.Client{Transport: transport}, "http://"+s.Address())
}

func BenchmarkStartRun(b *testing.B) {
	c := benchClient(b)
	for b.Loop() {
		if _, err := c.StartRun(b.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "ask", Input: []byte(`{"dir":"/src"}`)})); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStartRuns10000(b *testing.B) {
	c := benchClient(b)
	req := &api.StartRunsRequest{}
	for range messages.BulkRunsMax {
		req.Runs = append(req.Runs, &api.StartRunRequest{Workflow: "ask", Input: []byte(`{"dir":"/src"}`)})
	}
	for b.Loop() {
		if _, err := c.StartRuns(b.Context(), connect.NewRequest(req)); err != nil {
			b.Fatal(err)
		}
	}
}
