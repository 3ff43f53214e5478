package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
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
		if name == "WatchRun" || name == "Watch" || name == "ReadLog" || name == "ReadStream" {
			continue // are framed
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
