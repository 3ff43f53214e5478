//go:build !race

// The race detector keeps books of its own in the memory that is measured here,
// and delays the collector. `make test` runs this file without it.

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// What a request may hold is counted while it is read: what is refused costs
// its bytes and no more.
func TestRequestsCostNoMoreThanTheirBytes(t *testing.T) {
	const size = 60 << 20
	listed := &messages.WorkflowDefinition{Name: "listed", Steps: free.GetSteps(), InputSchema: `{"type":"array","items":{"type":"string"}}`}
	s := serve(t, newFakeBackend(ask, free, listed), Config{})
	many := func(head, entry, tail string) []byte {
		return append([]byte(head+strings.Repeat(entry, (size-len(head)-len(tail))/len(entry))), strings.TrimSuffix(tail, ",")...)
	}
	million := strings.Repeat(`"a",`, 250_000)
	for _, c := range []struct {
		name, method, kind string
		body               []byte
		want               string
	}{
		{"empty runs", "StartRuns", "json", many(`{"runs":[`, `{},`, `{}]}`), "BulkRunsMax"},
		{"empty runs", "StartRuns", "proto", bytes.Repeat([]byte{0x0a, 0}, size/2), "BulkRunsMax"},
		{"metadata", "StartRun", "proto", bytes.Repeat([]byte{0x2a, 0}, size/2), "MetadataMax"},
		{"statuses", "ListRuns", "json", many(`{"statuses":[`, `1,`, `1]}`), "StatusesMax"},
		{"statuses", "ListRuns", "proto", append([]byte{0x12, 0x80, 0x80, 0x80, 0x18}, bytes.Repeat([]byte{1}, 48<<20)...), "StatusesMax"},
		{"steps", "ReplayRun", "json", many(`{"runId":"r","steps":[`, `"",`, `""]}`), "StepsMax"},
		{"a large input", "StartRun", "json", many(`{"workflow":"free","input":[`, `[],`, `[]]}`), "PAYLOAD_TOO_LARGE"},
		{"many inputs", "StartRuns", "json", many(`{"runs":[`, `{"workflow":"free","input":[`+million[:len(million)-1]+`]},`, `{"workflow":"free"}]}`), "runId"},
		{"many inputs that are checked", "StartRuns", "json", many(`{"runs":[`, `{"workflow":"listed","input":[`+million[:len(million)-1]+`]},`, `{"workflow":"free"}]}`), "runId"},
		{"a deep input", "StartRun", "json", []byte(`{"workflow":"free","input":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`), "DocumentDepthMax"},
		{"deep beyond reading", "StartRun", "json", bytes.Repeat([]byte("["), size), "not JSON"},
		{"an unknown field", "StartRun", "json", many(`{"inptu":[`, `[],`, `[]]}`), "did you mean"},
	} {
		t.Run(c.name+" "+c.kind, func(t *testing.T) {
			most := watchHeap(t)
			resp, err := http.Post(fmt.Sprintf("http://%s/limpet.api.v1.LimpetService/%s", s.Address(), c.method), "application/"+c.kind, bytes.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !strings.Contains(string(body), c.want) {
				t.Errorf("%d %.300s, want %s", resp.StatusCode, body, c.want)
			}
			if heap := most(); heap > 4*messages.RequestBytesMax {
				t.Errorf("%d MiB of memory for a request of %d MiB", heap>>20, len(c.body)>>20)
			} else {
				t.Logf("%d MiB for %d MiB", heap>>20, len(c.body)>>20)
			}
		})
	}
}

// watchHeap returns what gives the most memory, above what is in use now, that
// was in use at once.
func watchHeap(t *testing.T) func() uint64 {
	t.Helper()
	// What is in use counts, and little of what waits for a collector that a busy
	// machine holds up.
	percent := debug.SetGCPercent(25)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				done <- most - before
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-done
	}
}
