package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// What is wrong in a request is said with its place in that request, whatever
// else is in it.
func TestFaultsHaveTheirPlace(t *testing.T) {
	s := serve(t, newFakeBackend(ask), Config{})
	for _, c := range [][3]string{
		{"StartRun", `{"workflow":"ask","input":{"a":1}, "priority": "high"}`, `the request is no StartRunRequest: (line 1, column 48): invalid value for int32 field priority`},
		{"StartRun", `{"workflow":"ask","input":7, "priority": "high"}`, `(line 1, column 42)`},
		{"StartRun", "{\"workflow\":\"ask\",\"input\":{\n\"é\":\n1},\"metadata\":{\"é\":1}}", `(line 3, column 20)`},
		{"StartRuns", "{\"runs\":[{\"input\":[1,2,3]},{\"input\":[1,2,3]},\n{\"workflow\": 7}]}", `(line 2, column 14)`},
		{"StartRun", `{"workflow":"ask","input":{"a":NaN}}`, `the request is not JSON (line 1, column 32): invalid character 'N'`},
		{"StartRun", "{\"é\":1,\n\"workflow\" \"ask\"}", `the request is not JSON (line 2, column 12)`},
		{"StartRun", `{"workflow":"a`, `the request is not JSON (line 1, column 14): unexpected end`},
		{"StartRun", ``, `the request is not JSON (line 1, column 1): unexpected end`},
		{"ListRuns", `{"statuses":["RUN_STATUS_RUNNING","RUNNING"]}`, `statuses[1] is \"RUNNING\", not one of RUN_STATUS_UNSPECIFIED, RUN_STATUS_RUNNING`},
	} {
		if status, body := post(t, s, c[0], c[1], nil); status != 400 || !strings.Contains(body, c[2]) || strings.Count(body, "INVALID_ARGUMENT") != 1 {
			t.Errorf("%s: %d %s", c[1], status, body)
		}
	}
}

// An answer to a request by hand has outputs as the JSON that they are; generated
// clients get what protobuf's JSON says.
func TestAnswersByHandAreReadable(t *testing.T) {
	s := serve(t, newFakeBackend(ask), Config{})
	const id = "01k9w2c5m00000000000000000"
	if status, body := post(t, s, "StartRun", `{"workflow":"ask","runId":"`+id+`","input":{"dir":"/src"}}`, nil); status != 200 {
		t.Fatal(status, body)
	}
	const request = `{"runId":"` + id + `"}`
	for _, header := range []map[string]string{{"Content-Type": "application/json;payloads=json; charset=UTF-8"}, {"Content-Type": "application/json; payloads=json"}} {
		_, body := post(t, s, "GetRun", request, header)
		if !strings.Contains(body, `"input":{"dir":"/src"}`) {
			t.Errorf("%v: %s", header, body)
		}
	}
	_, body := post(t, s, "GetRun", request, nil)
	if !strings.Contains(body, `"input":"eyJkaXIiOiIvc3JjIn0="`) {
		t.Errorf("as programs ask: %s", body)
	}
	generated := apiconnect.NewLimpetServiceClient(http.DefaultClient, "http://"+s.Address(), connect.WithProtoJSON())
	got, err := generated.GetRun(t.Context(), connect.NewRequest(&api.GetRunRequest{RunId: id}))
	if err != nil || string(got.Msg.GetRun().GetInput()) != `{"dir":"/src"}` {
		t.Errorf("%v %v", got, err)
	}
}

func TestReadableAnswers(t *testing.T) {
	m := &api.GetRunResponse{Run: &api.Run{RunId: "r", Input: []byte(`{"a": [1, 2.50, "é\n"]}`), Metadata: map[string]string{"input": "e30=", "output": `"`}},
		Steps: []*api.Step{{Name: "a", Output: []byte(`7`)}, {Name: "output"}, {Name: "b", Output: []byte("no JSON")}, {Name: "c", Output: []byte(`"e30="`)}}}
	plain, err := jsonCodec{"json"}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got := string(readable(bytes.ReplaceAll(plain, []byte(": "), []byte(":")), m.ProtoReflect().Descriptor()))
	for _, part := range []string{`"input":{"a": [1, 2.50, "é\n"]}`, `"input":"e30="`, `"output":"\""`, `"output":7}`, `{"name":"output"}`, `"output":"bm8gSlNPTg=="`, `"output":"e30="`} {
		if !strings.Contains(strings.ReplaceAll(got, ", \"", ",\""), strings.ReplaceAll(part, ", \"", ",\"")) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
	for _, none := range []proto.Message{&api.GetRunResponse{}, &api.ListMembersResponse{Members: []*api.Member{{Name: "a"}}}} {
		plain, err := jsonCodec{"json"}.Marshal(none)
		if err != nil || !bytes.Equal(readable(plain, none.ProtoReflect().Descriptor()), plain) {
			t.Errorf("%s %v", plain, err)
		}
	}
}

// payloadFields are the fields of requests that hold payloads.
func payloadFields() (all []string) {
	methods := api.File_api_api_proto.Services().ByName("LimpetService").Methods()
	for i := range methods.Len() {
		fields := methods.Get(i).Input().Fields()
		for j := range fields.Len() {
			if fields.Get(j).Kind() == protoreflect.BytesKind {
				all = append(all, string(fields.Get(j).FullName()))
			}
		}
	}
	return all
}

// What is asked for in a way that nothing answers is told how to ask.
func TestRequestsThatNothingAnswers(t *testing.T) {
	s := serve(t, newFakeBackend(ask), Config{})
	for _, c := range []struct {
		method, procedure, contentType string
		status                         int
		want                           string
	}{
		{"POST", "ListRun", "application/json", 404, `LimpetService has no procedure \"ListRun\": did you mean \"ListRuns\"?`},
		{"POST", "", "application/json", 404, `it has StartRun, StartRuns, GetRun`},
		{"GET", "ListRuns", "", 405, `ListRuns is called by POST, not by \"GET\"`},
		{"POST", "ListRuns", "application/x-www-form-urlencoded", 415, `say Content-Type: application/json, and send a ListRunsRequest as JSON`},
		{"POST", "ListRuns", "", 415, `say Content-Type: application/json`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+s.Address()+"/limpet.api.v1.LimpetService/"+c.procedure, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%+v: %d %s %v", c, resp.StatusCode, body, err)
		}
	}
}

// Who asks for payloads as JSON has every JSON value mean itself, in each request that
// has one; who does not has a string as base64.
func TestPayloadsByHandMeanThemselves(t *testing.T) {
	values := map[string]string{
		`"abc"`: `"abc"`, `"YWJj"`: `"YWJj"`, `"e30="`: `"e30="`, `""`: `""`, `"é\n\u00e9"`: `"é\n\u00e9"`,
		`7`: `7`, `-1.50e3`: `-1.50e3`, `null`: `null`, `true`: `true`, `false`: `false`,
		`{"a": [1, "x y"]}`: `{"a":[1,"x y"]}`, `{}`: `{}`, `[]`: `[]`, `[ null ]`: `[null]`,
	}
	requests := map[string]struct {
		text string
		m    proto.Message
		got  func(proto.Message) []byte
	}{
		"StartRun":  {`{"workflow":"w","input":%s}`, &api.StartRunRequest{}, func(m proto.Message) []byte { return m.(*api.StartRunRequest).Input }},
		"signal":    {`{"input":7,"signalPayload":%s,"signal_name":"s"}`, &api.StartRunRequest{}, func(m proto.Message) []byte { return m.(*api.StartRunRequest).SignalPayload }},
		"StartRuns": {`{"runs":[{"input":7},{"workflow":"w","input":%s}]}`, &api.StartRunsRequest{}, func(m proto.Message) []byte { return m.(*api.StartRunsRequest).Runs[1].Input }},
		"SignalRun": {`{"payload":%s,"name":"s"}`, &api.SignalRunRequest{}, func(m proto.Message) []byte { return m.(*api.SignalRunRequest).Payload }},
		"AskRun":    {`{"arg":%s,"query":"q"}`, &api.AskRunRequest{}, func(m proto.Message) []byte { return m.(*api.AskRunRequest).Arg }},
		"PushEvent": {`{"key":"k","payload":%s}`, &api.PushEventRequest{}, func(m proto.Message) []byte { return m.(*api.PushEventRequest).Payload }},
	}
	if all := payloadFields(); len(all) != len(requests)-1 { // a run of StartRuns is a StartRunRequest
		t.Errorf("%d requests are tried, the API has payloads in %v", len(requests), all)
	}
	for name, r := range requests {
		for value, want := range values {
			for codec, meant := range map[string]bool{readableJSON: true, "json": false} {
				proto.Reset(r.m)
				if err := (jsonCodec{codec}).Unmarshal(fmt.Appendf(nil, r.text, value), r.m); err != nil {
					t.Fatal(err)
				}
				want := want
				switch {
				case !meant && value == `"YWJj"`:
					want = "abc"
				case !meant && (value[0] == '"' || value == "null"):
					continue
				}
				if err := refusal(r.m); err != nil {
					t.Errorf("%s, %s: %s: %v", name, codec, value, err)
				} else if got := string(r.got(r.m)); got != want {
					t.Errorf("%s, %s: %s is %q, want %q", name, codec, value, got, want)
				}
			}
		}
	}
	s := serve(t, newFakeBackend(ask), Config{})
	by := map[string]string{"Content-Type": "application/json; payloads=json"}
	if status, body := post(t, s, "SignalRun", `{"runId":"r","name":"n","payload":"a","payload":"b"}`, by); status != 400 || !strings.Contains(body, "payload is given twice") {
		t.Error(status, body)
	}
}
