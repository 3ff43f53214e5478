package gateway

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// A push says how many calls of runs it has decided, and of which it could not say
// whether it fits.
func TestPushEventSaysWhoWaited(t *testing.T) {
	push := pusher(t, client(t, serve(t, newFakeBackend(free), Config{})))
	pushed, err := push("user:awaited", `1`, "")
	if err != nil || pushed.GetWaits() != 2 || len(pushed.GetFailedConditions()) != 1 || pushed.GetFailedConditions()[0].GetStep() != "s" {
		t.Errorf("%v, %v", pushed, err)
	}
	if pushed, err := push("order:new", `1`, "e1"); err != nil || pushed.GetWaits() != 0 || len(pushed.GetFailedConditions()) != 0 {
		t.Errorf("nobody waited: %v, %v", pushed, err)
	}
	if _, err := push("order:new", `2`, "e1"); codeOf(err) != messages.CodeIdempotencyMismatch {
		t.Errorf("another payload under an id that is kept: %v", err)
	}
}

func TestListEvents(t *testing.T) {
	c := client(t, serve(t, newFakeBackend(), Config{}))
	push := pusher(t, c)
	for n := range 40 {
		if _, err := push(fmt.Sprintf("k:%d", n%2), fmt.Sprint(n), fmt.Sprintf("e%02d", n)); err != nil {
			t.Fatal(err)
		}
	}
	list := func(req *api.ListEventsRequest) *api.ListEventsResponse {
		t.Helper()
		answer, err := c.ListEvents(t.Context(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Msg
	}
	// Page for page, all of them come once, in the order in which they were pushed.
	req := &api.ListEventsRequest{Key: "k:1", PageSize: 7}
	for n := 1; ; {
		page := list(req)
		for _, e := range page.GetEvents() {
			if e.GetEventId() != fmt.Sprintf("e%02d", n) || e.GetKey() != "k:1" || string(e.GetPayload()) != fmt.Sprint(n) || e.GetPushedAt() == nil {
				t.Fatalf("event %d is %v", n, e)
			}
			n += 2
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			if n != 41 {
				t.Errorf("the last is before %d", n)
			}
			break
		}
	}
	pushed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if all := list(&api.ListEventsRequest{Key: "k:*", Since: timestamppb.New(pushed)}); len(all.GetEvents()) != 40 {
		t.Errorf("%d events since they were pushed", len(all.GetEvents()))
	}
	if none := list(&api.ListEventsRequest{Since: timestamppb.New(pushed.Add(time.Second))}); len(none.GetEvents()) != 0 {
		t.Errorf("%d events after they were pushed", len(none.GetEvents()))
	}
	for _, bad := range []*api.ListEventsRequest{{PageToken: "x"}, {PageSize: -1}, {Key: "a\tb"}, {Since: &timestamppb.Timestamp{Nanos: -1}}} {
		if _, err := c.ListEvents(t.Context(), connect.NewRequest(bad)); codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// Large events end a page.
func TestAPageOfEventsIsBounded(t *testing.T) {
	c := client(t, serve(t, newFakeBackend(), Config{}))
	push := pusher(t, c)
	large := `"` + string(bytes.Repeat([]byte("x"), 900_000)) + `"`
	for range 20 {
		if _, err := push("large", large, ""); err != nil {
			t.Fatal(err)
		}
	}
	page, err := c.ListEvents(t.Context(), connect.NewRequest(&api.ListEventsRequest{}))
	if n := len(page.Msg.GetEvents()); err != nil || n != eventsRead || page.Msg.GetNextPageToken() == "" {
		t.Errorf("%d events, %v", n, err)
	}
}
