package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// methods of the service, by name.
func methods() map[string]protoreflect.MessageDescriptor {
	all := map[string]protoreflect.MessageDescriptor{}
	services := api.File_api_api_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			m := services.Get(i).Methods().Get(j)
			all[string(m.Name())] = m.Input()
		}
	}
	return all
}

// Every list and every map of a request has a limit.
func TestEveryListOfARequestHasALimit(t *testing.T) {
	var visit func(m protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if _, ok := messages.CountMaxOf(string(f.FullName())); !ok && f.Cardinality() == protoreflect.Repeated {
				t.Errorf("%s has no limit in messages/fields.go", f.FullName())
			}
			if f.Message() != nil && !f.IsMap() {
				visit(f.Message())
			}
		}
	}
	for _, m := range methods() {
		visit(m)
	}
}

func TestUnknownFieldsAreRefusedByEveryMethod(t *testing.T) {
	s := serve(t, newFakeBackend(ask), Config{})
	for name := range methods() {
		if name == "WatchRun" {
			continue // is framed
		}
		status, body := post(t, s, name, `{"unheardOf":1}`, nil)
		if status != 400 || !strings.Contains(body, "INVALID_ARGUMENT") || !strings.Contains(body, `has no field \"unheardOf\"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, c := range [][3]string{
		{"StartRun", `{"workflow":"ask","inptu":{"dir":"x"}}`, `StartRunRequest has no field \"inptu\": did you mean \"input\"?`},
		{"StartRun", `{"workflow":"ask","idempotency-key":"a"}`, `did you mean \"idempotency_key\"?`},
		{"StartRuns", `{"runs":[{"workflow":"ask"},{"worflow":"ask"}]}`, `runs[1] has no field \"worflow\": did you mean \"workflow\"?`},
		{"PushEvent", `{"key":"a","\u0070ayloads":1}`, `did you mean \"payload\"?`},
		{"StartRun", `{"workflow":"ask","input":1,"input":2}`, `input is given twice`},
		{"StartRun", `{"workflow":7}`, `the request is no StartRunRequest`},
		{"StartRun", `{"workflow":"a`, `the request is not JSON`},
		{"ListMembers", `{"a":1}`, `it has none`},
	} {
		if status, body := post(t, s, c[0], c[1], nil); status != 400 || !strings.Contains(body, c[2]) {
			t.Errorf("%s: %d %s", c[1], status, body)
		}
	}
	// A stream: its request is in an envelope.
	data := []byte(`{"runId":"r","afterEntri":1}`)
	frame := append([]byte{0, 0, 0, 0, byte(len(data))}, data...)
	resp, err := http.Post("http://"+s.Address()+"/limpet.api.v1.LimpetService/WatchRun", "application/connect+json", bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), `did you mean \"afterEntry\"?`) {
		t.Errorf("%s", body)
	}
}

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

// A request that stops half-way ends its connection, whoever sends it.
func TestHalfARequestEndsItsConnection(t *testing.T) {
	s := serve(t, newFakeBackend(ask), Config{Secret: "s", bodyStall: 200 * time.Millisecond})
	for name, text := range map[string]string{
		"header":         "POST /limpet.api.v1.LimpetService/StartRun HTTP/1.1\r\nHost: 127.0.0.1\r\n",
		"body":           "POST /limpet.api.v1.LimpetService/StartRun HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"without secret": "POST /limpet.api.v1.LimpetService/StartRun HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"elsewhere":      "POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", s.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(conn)
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("the connection is open: %v; it says %q", err, all)
			}
		})
	}
}
