package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// workerLines is a log and what it has said, without times.
func workerLines() (*workerLog, func() []string) {
	var text bytes.Buffer
	l := newWorkerLog(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), nil)
	return l, func() []string {
		l.mu.Lock()
		defer l.mu.Unlock()
		defer text.Reset()
		return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	}
}

func changeOf(id string, state run.WorkerState, reason messages.Reason) run.WorkerChanged {
	return run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: id, Incarnation: "i"}, State: state, Reason: reason}
}

func TestLogOfAWorker(t *testing.T) {
	for _, c := range []struct {
		changes []run.WorkerChanged
		want    string // of the last one; empty for nothing
		kept    string // what is kept of all
	}{
		{[]run.WorkerChanged{changeOf("w", run.WorkerUp, 0)}, "", " joined"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerUp, 0), changeOf("w", run.WorkerGone, messages.Reason_REASON_WORKER_LOST)}, `level=WARN msg="a worker is lost`, " joined gone"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerUp, 0), changeOf("w", run.WorkerGone, messages.Reason_REASON_WORKER_LEFT)}, `level=INFO msg="a worker has left"`, " joined left"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerUp, 0), changeOf("w", run.WorkerGone, messages.Reason_REASON_WORKER_SUPERSEDED)}, `level=WARN msg="a worker is superseded`, " joined superseded"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerGone, messages.Reason_REASON_WORKER_LOST), changeOf("w", run.WorkerUp, 0)}, `level=INFO msg="a worker is back"`, " gone back"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerUp, 0), changeOf("w", run.WorkerDraining, messages.Reason_REASON_WORKER_DRAINING)}, `level=INFO msg="a worker drains"`, " joined draining"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerDraining, messages.Reason_REASON_WORKER_DRAINING), changeOf("w", run.WorkerUp, 0)}, `level=INFO msg="a worker drains no more"`, " draining undrained"},
		{[]run.WorkerChanged{changeOf("w", run.WorkerGone, messages.Reason_REASON_WORKER_LOST), changeOf("w", run.WorkerGone, messages.Reason_REASON_WORKER_LEFT)}, "", " gone"},
	} {
		l, said := workerLines()
		for i, change := range c.changes {
			if i == len(c.changes)-1 {
				said()
			}
			l.changed(change)
		}
		got := said()
		kinds := ""
		for _, e := range l.kept.of("w") {
			kinds += " " + e.GetKind()
		}
		if kinds != c.kept {
			t.Errorf("%v: kept%s, want%s", c.changes, kinds, c.kept)
		}
		l.stop()
		if len(got) != 1 || (c.want == "") != (got[0] == "") || !strings.HasPrefix(got[0], c.want) || c.want != "" && !strings.Contains(got[0], "worker=w incarnation=i") {
			t.Errorf("%v: %q, want %q", c.changes, got, c.want)
		}
	}
}

// Each lease that ended is news.
func TestLogOfALapse(t *testing.T) {
	l, said := workerLines()
	defer l.stop()
	l.say(workerLapsed, "w", "i")
	l.say(workerLapsed, "w", "i")
	if got := said(); len(got) != 2 || !strings.HasPrefix(got[1], `level=WARN msg="a worker had no lease for a time`) || !strings.Contains(got[1], "worker=w incarnation=i") {
		t.Errorf("%q", got)
	}
}

// Three hundred workers that are lost at once are a few lines.
func TestLogOfManyWorkers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l, said := workerLines()
		for n := range 300 {
			l.changed(changeOf(fmt.Sprint("w", n), run.WorkerGone, messages.Reason_REASON_WORKER_LOST))
		}
		if got := said(); len(got) != workerLinesMax || !strings.Contains(got[4], "worker=w4") {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(2 * workerLinesIn)
		if got := said(); len(got) != 1 || !strings.Contains(got[0], `level=WARN msg="more workers are lost" workers=295 among="[w5 w6`) || strings.Contains(got[0], "w13") {
			t.Errorf("after a while: %q", got)
		}
		time.Sleep(3 * workerLinesIn)
		l.changed(changeOf("w0", run.WorkerUp, 0))
		if got := said(); len(got) != 1 || !strings.Contains(got[0], `msg="a worker is back" worker=w0`) {
			t.Errorf("then: %q", got)
		}
		for n := 1; n < 10; n++ {
			l.changed(changeOf(fmt.Sprint("w", n), run.WorkerUp, 0))
		}
		l.stop()
		if got := said(); len(got) != 5 || !strings.Contains(got[4], `msg="more workers are back" workers=5`) {
			t.Errorf("at the end: %q", got)
		}
		l.changed(changeOf("w0", run.WorkerGone, messages.Reason_REASON_WORKER_LOST))
		if got := said(); got[0] != "" {
			t.Errorf("after the end: %q", got)
		}
	})
}

// Of all workers the newest events are kept, in order.
func TestWorkerHistory(t *testing.T) {
	var h workerHistory
	for i := range messages.WorkerEventsMax + 3 {
		h.add(fmt.Sprint("w", i%2), &api.WorkerEvent{Text: fmt.Sprint(i)})
	}
	got := h.of("w1")
	if n := len(got); n != messages.EventsOfWorkerMax || got[n-1].GetText() != fmt.Sprint(messages.WorkerEventsMax+1) || got[n-2].GetText() != fmt.Sprint(messages.WorkerEventsMax-1) {
		t.Errorf("%d events, the newest %v", n, got[n-1])
	}
	if len(h.events) != messages.WorkerEventsMax || h.of("none") != nil {
		t.Errorf("%d events are kept, of none %v", len(h.events), h.of("none"))
	}
}
