package ui

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// EntriesMax is how many entries of a history a page reads, from the first on.
	EntriesMax = 2000
	// shownEvents is how many events of it are listed, the last ones.
	shownEvents = 200
	// quiet is how long a history that goes on may say nothing until it counts as
	// read: what is stored comes at once.
	quiet = 300 * time.Millisecond
	// eventBytes of an event are shown.
	eventBytes = 2 << 10
)

// history is what a page has read of one.
type history struct {
	entries []*api.WatchRunResponse
	// Cut says that there is more than EntriesMax.
	Cut bool
	// Events are the last ones, and Left how many come before them.
	Events []event
	Left   int
}

// event is one as it is stored.
type event struct {
	Entry uint64
	// Key tells it from the other events.
	Key        string
	At         time.Time
	Kind, Data string
}

// history reads a run's entries. That of a run which goes on ends where nothing
// more comes.
func (p *pages) history(ctx context.Context, run *api.GetRunResponse) (*history, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.Client.WatchRun(ctx, connect.NewRequest(&api.WatchRunRequest{RunId: run.GetRun().GetRunId()}))
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	h := &history{}
	ended := run.GetRun().GetFinishedAt() != nil
	if !ended {
		silent := time.AfterFunc(quiet, cancel)
		defer silent.Stop()
		err = h.read(stream, func() { silent.Reset(quiet) })
	} else {
		err = h.read(stream, func() {})
	}
	if err != nil && (ended || !errors.Is(ctx.Err(), context.Canceled)) {
		return nil, err
	}
	h.list()
	return h, nil
}

// read takes entries until there are no more, or too many.
func (h *history) read(stream *connect.ServerStreamForClient[api.WatchRunResponse], heard func()) error {
	for stream.Receive() {
		heard()
		if m := stream.Msg(); m.GetEntry() > 0 {
			if len(h.entries) == EntriesMax {
				h.Cut = true
				return nil
			}
			h.entries = append(h.entries, m)
		}
	}
	return stream.Err()
}

// list makes the last events readable.
func (h *history) list() {
	for _, e := range h.entries {
		for i, ev := range e.GetEvents() {
			h.Events = append(h.Events, event{Entry: e.GetEntry(), Key: fmt.Sprint(e.GetEntry(), ".", i), At: e.GetAt().AsTime().UTC(), Kind: kindOf(ev), Data: dataOf(ev)})
		}
	}
	if h.Left = max(0, len(h.Events)-shownEvents); h.Left > 0 {
		h.Events = h.Events[h.Left:]
	}
}

// kindOf is the name of the kind of an event; empty for one of a later version.
func kindOf(ev *messages.Event) string {
	if field := kindField(ev); field != nil {
		return string(field.Name())
	}
	return ""
}

func kindField(ev *messages.Event) protoreflect.FieldDescriptor {
	m := ev.ProtoReflect()
	return m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
}

// dataOf is what an event says, as JSON.
func dataOf(ev *messages.Event) string {
	field := kindField(ev)
	if field == nil {
		return ""
	}
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(ev.ProtoReflect().Get(field).Message().Interface())
	if err != nil {
		return ""
	}
	if len(data) > eventBytes {
		return string(data[:eventBytes]) + "…"
	}
	return string(data)
}
