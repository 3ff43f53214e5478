package ui

import (
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/gateway/ui/uitest"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

var (
	now = uitest.Now
	at  = uitest.At
)

const hostile = uitest.Hostile

type service = uitest.Service

func everywhere() *service { return uitest.Everywhere() }

// pagesConfig is of pages over a service.
func pagesConfig(t *testing.T, s *service) Config {
	t.Helper()
	_, handler := apiconnect.NewLimpetServiceHandler(s)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return Config{Client: apiconnect.NewLimpetServiceClient(server.Client(), server.URL), Logger: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
}

// newPages serves pages over a service.
func newPages(t *testing.T, s *service, change func(*Config)) http.Handler {
	t.Helper()
	c := pagesConfig(t, s)
	if change != nil {
		change(&c)
	}
	return New(t.Context(), c)
}

// ask returns the answer to a request, and its body.
func ask(t *testing.T, h http.Handler, method, path, form string, cookies ...*http.Cookie) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form))
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// ownScript is the one that pages have.
var ownScript = regexp.MustCompile(`<script type="module" src="/ui/live.js\?v=[0-9a-f]+"></script>`)

// Whatever is stored stays text on every page, and no page may run anything.
func TestWhatUsersWroteStaysText(t *testing.T) {
	h := newPages(t, everywhere(), nil)
	for _, path := range []string{"/ui/", "/ui/?workflow=" + url.QueryEscape(hostile) + "&status=failed", "/ui/runs/r1", "/ui/workers", "/ui/workflows", "/ui/cluster",
		"/ui/workers/" + url.PathEscape(hostile), "/ui/workflows/" + url.PathEscape(hostile), "/ui/confirm?do=cancel&run=" + url.QueryEscape(hostile) + "&reason=" + url.QueryEscape(hostile),
		"/ui/confirm?do=" + url.QueryEscape(hostile), "/ui/runs/r1?done=" + url.QueryEscape(hostile),
		"/ui/login?to=" + url.QueryEscape(hostile), "/ui/runs/" + url.PathEscape(hostile), "/ui/?status=" + url.QueryEscape(hostile)} {
		resp, body := ask(t, h, http.MethodGet, path, "")
		body = ownScript.ReplaceAllString(body, "script")
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") || !strings.Contains(body, "script") {
			t.Errorf("%s shows what runs, or does not show it at all:\n%s", path, body)
		}
		if strings.Contains(body, " style=") || strings.Contains(body, "onerror=\"") || strings.Contains(body, "javascript:") {
			t.Errorf("%s has something inline", path)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		for rule := range strings.SplitSeq(policy, "; ") {
			if !strings.HasSuffix(rule, "-src 'none'") && !strings.HasSuffix(rule, " 'self'") && rule != "base-uri 'none'" && rule != "frame-ancestors 'none'" {
				t.Errorf("%s: the policy allows %q", path, rule)
			}
		}
		if !strings.HasPrefix(policy, "default-src 'none'; ") || !strings.Contains(policy, "script-src 'self'") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	resp, body := ask(t, h, http.MethodGet, "/ui/payload?run=r1", "")
	if body != hostile || resp.Header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("a payload: %q %v", body, resp.Header)
	}
}

// A browser sees the pages with a pass that it gets for the secret, and only so.
func TestLogin(t *testing.T) {
	const secret = "the secret of this cluster"
	s := everywhere()
	h := newPages(t, s, func(c *Config) { c.Secret, c.Prefix = secret, "/limpet" })
	for _, path := range []string{"/ui/", "/ui/runs/r1", "/ui/workers", "/ui/payload?run=r1"} {
		resp, body := ask(t, h, http.MethodGet, path, "")
		if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || to != "/limpet/ui/login?to="+url.QueryEscape(path) || strings.Contains(body, "r1<") {
			t.Errorf("%s without a pass: %d to %s", path, resp.StatusCode, to)
		}
	}
	if resp, body := ask(t, h, http.MethodPost, "/ui/login", "secret=wrong"); resp.StatusCode != http.StatusUnauthorized || len(resp.Cookies()) > 0 || !strings.Contains(body, "not the secret") {
		t.Errorf("with another secret: %d %v", resp.StatusCode, resp.Cookies())
	}
	resp, _ := ask(t, h, http.MethodPost, "/ui/login", url.Values{"secret": {secret}, "to": {"/ui/runs/r1"}}.Encode())
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/limpet/ui/runs/r1" || len(cookies) != 1 {
		t.Fatalf("with the secret: %d to %s, %v", resp.StatusCode, resp.Header.Get("Location"), cookies)
	}
	pass := cookies[0]
	if !pass.HttpOnly || pass.SameSite != http.SameSiteStrictMode || pass.Path != "/limpet/ui/" || pass.MaxAge != 12*60*60 || strings.Contains(pass.Value, secret) {
		t.Errorf("the pass is %+v", pass)
	}
	if resp, _ := ask(t, h, http.MethodGet, "/ui/runs/r1", "", pass); resp.StatusCode != http.StatusOK {
		t.Errorf("with the pass: %d", resp.StatusCode)
	}
	end, seal, _ := strings.Cut(pass.Value, ".")
	for what, value := range map[string]string{"a later end": "9" + end + "." + seal, "no seal": end, "another seal": end + "." + seal[1:] + "x", "nothing": "", "the secret": secret} {
		if resp, _ := ask(t, h, http.MethodGet, "/ui/", "", &http.Cookie{Name: pass.Name, Value: value}); resp.StatusCode != http.StatusSeeOther {
			t.Errorf("with %s: %d", what, resp.StatusCode)
		}
	}
	later := newPages(t, s, func(c *Config) {
		c.Secret = secret
		c.now = func() time.Time { return now.Add(12*time.Hour + time.Second) }
	})
	if resp, _ := ask(t, later, http.MethodGet, "/ui/", "", pass); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("with a pass that is over: %d", resp.StatusCode)
	}
	for _, to := range []string{"//evil.example/", "https://evil.example/", "/ui//evil.example", "/elsewhere", `/ui/\evil`, ""} {
		resp, _ := ask(t, h, http.MethodPost, "/ui/login", url.Values{"secret": {secret}, "to": {to}}.Encode())
		if resp.Header.Get("Location") != "/limpet/ui/" {
			t.Errorf("to %q leads to %s", to, resp.Header.Get("Location"))
		}
	}
	resp, _ = ask(t, h, http.MethodPost, "/ui/logout", "", pass)
	if c := resp.Cookies(); len(c) != 1 || c[0].Value != "" || c[0].MaxAge >= 0 {
		t.Errorf("logged out: %v", c)
	}
}

// The list asks the API for what the address says, and its links keep that.
func TestListOfRuns(t *testing.T) {
	s := everywhere()
	s.List = &api.ListRunsResponse{Runs: []*api.Run{{RunId: "r1", Workflow: "build", Status: messages.RunStatus_RUN_STATUS_RUNNING, CreatedAt: at(0), WaitingFor: "worker w1 is away"}}, NextPageToken: "p2"}
	h := newPages(t, s, nil)
	_, body := ask(t, h, http.MethodGet, "/ui/?workflow=build&worker=w1&status=running&status=failed&q=tenant%3D7&page=p1", "")
	if a := s.Asked; a.GetWorkflow() != "build" || a.GetWorkerId() != "w1" || len(a.GetStatuses()) != 2 || a.GetMetadata()["tenant"] != "7" || a.GetPageToken() != "p1" || a.GetPageSize() != PageRuns {
		t.Errorf("asked for %v", a)
	}
	for _, want := range []string{"worker w1 is away", `href="/ui/runs/r1"`, "page=p2&amp;q=tenant%3D7&amp;status=running&amp;status=failed&amp;worker=w1&amp;workflow=build",
		`class="chip on" href="/ui/?q=tenant%3D7&amp;status=failed&amp;worker=w1&amp;workflow=build"`, "First page", "took", "1 min 0 s",
		`>running <span class="count">10 000&#43;</span>`, `>set_aside <span class="count">0</span>`, `>canceled</a>`} {
		if want != "took" && !strings.Contains(body, want) {
			t.Errorf("the list lacks %s:\n%s", want, body)
		}
	}
	if resp, _ := ask(t, h, http.MethodGet, "/ui/?q=01abc", ""); resp.Header.Get("Location") != "/ui/runs/01abc" {
		t.Errorf("an id leads to %s", resp.Header.Get("Location"))
	}
	if resp, body := ask(t, h, http.MethodGet, "/ui/runs/none", ""); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "UNKNOWN_RUN") {
		t.Errorf("a run that there is not: %d", resp.StatusCode)
	}
}

// attemptsOf are those of a history, as the API has them.
func attemptsOf(entries []*api.WatchRunResponse, steps ...*messages.StepDefinition) *api.ListAttemptsResponse {
	record := &journal.Record{}
	for _, e := range entries {
		data, err := messages.Marshal(&messages.Entry{AtUs: e.GetAt().AsTime().UnixMicro(), Events: e.GetEvents()})
		if err != nil {
			panic(err)
		}
		record.Entries = append(record.Entries, data)
	}
	return projection.Attempts(record, &messages.WorkflowDefinition{Steps: steps})
}

// movedRun is a SOFT run that lost its worker in its second step and goes on.
func movedRun() *service {
	w1, w2 := &messages.WorkerRef{WorkerId: "w1", Incarnation: "i1"}, &messages.WorkerRef{WorkerId: "w2", Incarnation: "i2"}
	sent := func(step string, attempt int32, w *messages.WorkerRef) *messages.Event {
		return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: step, Attempt: attempt, Worker: w}}}
	}
	us := func(seconds float64) int64 { return at(seconds).AsTime().UnixMicro() }
	started := func(step string, attempt int32, seconds float64) *messages.Event {
		return &messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: step, Attempt: attempt, StartedUs: us(seconds)}}}
	}
	s := &service{
		GoesOn: true,
		Run: &api.GetRunResponse{
			Run:   &api.Run{RunId: "r1", Workflow: "build", Status: messages.RunStatus_RUN_STATUS_RUNNING, Sticky: messages.Sticky_STICKY_SOFT, WorkerId: "w2", Epoch: 2, CreatedAt: at(0), Input: []byte(`{"a":1}`)},
			Steps: []*api.Step{{Name: "a", Phase: "succeeded", Output: []byte(`"` + strings.Repeat("ü", 4000) + `"`)}, {Name: "b", Phase: "running"}},
			Bindings: []*api.BindingRecord{
				{Epoch: 1, WorkerId: "w1", Incarnation: "i1", At: at(0), Until: at(30), LostAt: at(30), LostReason: messages.Reason_REASON_WORKER_LOST},
				{Epoch: 2, WorkerId: "w2", Incarnation: "i2", At: at(36), FromWorker: "w1", FromIncarnation: "i1", Reason: messages.Reason_REASON_WORKER_LOST}},
		},
		Entries: []*api.WatchRunResponse{
			{Entry: 1, At: at(0), Events: []*messages.Event{{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}},
				{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 1, Worker: w1, Reason: messages.Reason_REASON_FIRST}}}, sent("a", 1, w1)}},
			{Entry: 2, At: at(15), Events: []*messages.Event{{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 1, StartedUs: us(6)}}}, sent("b", 1, w1)}},
			{Entry: 3, At: at(16), Events: []*messages.Event{started("b", 1, 15)}},
			{Entry: 4, At: at(30), Events: []*messages.Event{
				{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: "b", Attempt: 1, Started: true, Reason: messages.Reason_REASON_WORKER_LOST}}},
				{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_LOST}}}}},
			{Entry: 5, At: at(36), Events: []*messages.Event{{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 2, Worker: w2, FromWorker: "w1", FromIncarnation: "i1", Reason: messages.Reason_REASON_WORKER_LOST}}}, sent("b", 2, w2)}},
			{Entry: 6, At: at(37), Events: []*messages.Event{started("b", 2, 36), {Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: "b", Attempt: 1, Reason: messages.Reason_REASON_ATTEMPT_LOST, NewestEpoch: 2}}}}},
		},
	}
	s.Attempts = attemptsOf(s.Entries, &messages.StepDefinition{Name: "a"}, &messages.StepDefinition{Name: "b", Parents: []string{"a"}})
	s.Run.Run.Sentence = projection.Sentence(s.Run)
	s.Log = []*messages.LogChunk{
		{Step: "a", Attempt: 1, WorkerId: "w1", FirstLine: 1, LeftOut: 7, Lines: []*messages.LogLine{{AtWallUs: at(7).AsTime().UnixMicro(), Level: "INFO", Message: "read", Attributes: "files=3"}}},
		{Step: "b", Attempt: 1, Lines: []*messages.LogLine{{AtWallUs: at(30).AsTime().UnixMicro(), Level: "WARN", Message: "the attempt was lost: worker lost"}}},
	}
	return s
}

// The page of a run that moved says so, and shows it in lanes.
func TestPageOfARunThatMoved(t *testing.T) {
	_, body := ask(t, newPages(t, movedRun(), nil), http.MethodGet, "/ui/runs/r1", "")
	body = html.UnescapeString(body)
	for _, want := range []string{
		"The run is running, bound to w2, where it moved from w1: worker lost.",
		"w1 (i1)", "w2 (i2)", "moved from w1 to w2: worker lost", "bound to w1, epoch 1", "w1 cannot be used: worker lost",
		"a, attempt 1: succeeded, ran 9.0 s", "a, attempt 1 waits 6.0 s (queued): a slot of its worker", "b, attempt 2 waits 6.0 s (worker_lost): a worker: worker lost", "b, attempt 1: lost, worker lost, ran 15.0 s", "b, attempt 2: live",
		"A late result was refused: attempt was lost", `a, attempt 1 <span class="dim">w1</span> <span class="status lost">7 lines left out</span>`,
		`<span class="level-info"><span class="dim">11:59:07.000</span> INFO  read  files=3`, `<span class="level-warn"><span class="dim">11:59:30.000</span> WARN  the attempt was lost: worker lost`, "step_dispatched", `"a": 1`, "The first 4 KiB of 7.8 KiB",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// drawn is the picture of a run.
func drawn(s *service, w window) *timeline { return draw(tell(s.Run, s.Attempts, now), w) }

// lines are what is drawn.
func lines(t *timeline) string {
	var got []string
	for _, l := range t.Lanes {
		for _, b := range append(slices.Clone(l.Bands), l.Bars...) {
			got = append(got, fmt.Sprint(l.Name, " ", b.Class, " ", b.X, "+", b.W))
		}
	}
	return strings.Join(got, "\n")
}

// What is drawn is where it was, in a minute that is 1000 wide.
func TestTimeline(t *testing.T) {
	picture := drawn(movedRun(), window{})
	want := strings.Join([]string{
		"w1 (i1) bound 0+500", "w1 (i1) away 500+100", "w1 (i1) succeeded 100+150", "w1 (i1) waits 0+100", "w1 (i1) lost 250+250",
		"w2 (i2) bound 600+400", "w2 (i2) live 600+400", "w2 (i2) waits 500+100",
	}, "\n")
	if got := lines(picture); got != want {
		t.Errorf("drawn\n%s\nwant\n%s", got, want)
	}
	if len(picture.Arrows) != 1 || picture.Arrows[0].X != 600 {
		t.Errorf("arrows %+v", picture.Arrows)
	}
	if empty := draw(tell(&api.GetRunResponse{}, nil, now), window{}); empty != nil {
		t.Errorf("of nothing: %+v", empty)
	}
}

// waitingRun waits in a call, is suspended, runs again when the message has come, and
// waits anew.
func waitingRun() *service {
	s := movedRun()
	w1 := &messages.WorkerRef{WorkerId: "w1", Incarnation: "i1"}
	sent := func(attempt int32) *messages.Event {
		return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "chat", Attempt: attempt, Worker: w1}}}
	}
	started := func(attempt int32, seconds float64) *messages.Event {
		return &messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: "chat", Attempt: attempt, StartedUs: at(seconds).AsTime().UnixMicro()}}}
	}
	waits := func(attempt int32, name string) *messages.Event {
		return &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "chat", Attempt: attempt, Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: name, Key: "#0"}}}
	}
	came := func(attempt int32, name string) *messages.Event {
		return &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "chat", Attempt: attempt, Name: name, Key: "#0"}}}
	}
	suspended := &messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{Step: "chat", Attempt: 1, Reason: messages.Reason_REASON_IDLE}}}
	s.Entries = []*api.WatchRunResponse{
		{Entry: 1, At: at(0), Events: []*messages.Event{{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}}, sent(1), started(1, 0)}},
		{Entry: 2, At: at(6), Events: []*messages.Event{waits(1, "hello"), waits(1, "yes")}},
		{Entry: 3, At: at(9), Events: []*messages.Event{came(1, "hello")}},
		{Entry: 4, At: at(12), Events: []*messages.Event{suspended}},
		{Entry: 5, At: at(30), Events: []*messages.Event{came(1, "yes"), sent(2), started(2, 30)}},
		{Entry: 6, At: at(36), Events: []*messages.Event{waits(2, "no")}},
	}
	s.Attempts, s.Run.Bindings = attemptsOf(s.Entries, &messages.StepDefinition{Name: "chat"}), nil
	s.Run.Steps = []*api.Step{{Name: "chat", Phase: api.PhaseRunning, Calls: 2, Waits: []*api.CallWait{
		{Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "no", Key: "#0", Since: at(36), Until: at(3600), WaitingFor: `signal "no"`}}}}
	s.Run.UnreadSignals = map[string]int32{"note": 2}
	return s
}

// The bar of a suspended attempt ends with it; what waits is hatched, and says for what.
func TestPageOfARunThatWaits(t *testing.T) {
	var got []string
	for _, b := range drawn(waitingRun(), window{}).Lanes[0].Bars {
		got = append(got, fmt.Sprint(b.Class, " ", b.X, "+", b.W, " row ", b.Y, ": ", b.Title))
	}
	want := []string{
		"suspended 0+200 row 40: chat, attempt 1: suspended, " + messages.Reason_REASON_IDLE.Words() + ", ran 12.0 s",
		"waits 100+100 row 40: chat, attempt 1 waits 6.0 s (call): in Receive hello #0",
		"waits 200+300 row 40: chat, attempt 1 waits 18.0 s (call): in Receive hello #0, suspended: " + messages.Reason_REASON_IDLE.Words(),
		"live 500+500 row 40: chat, attempt 2: live",
		"waits 600+400 row 40: chat, attempt 2 waits 24.0 s (call): in Receive no #0",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("drawn\n%s\nwant\n%s", a, b)
	}
	_, body := ask(t, newPages(t, waitingRun(), nil), http.MethodGet, "/ui/runs/r1", "")
	body = html.UnescapeString(body)
	for _, want := range []string{"note ×2", `<td>chat</td><td>no #0</td><td>Receive</td>`, `signal "no"`, `<span class="status suspended">`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
}

// A step that was canceled while it was suspended waits no more, and one that made very
// many calls has the last of its waits drawn.
func TestWaitsEndAndAreBounded(t *testing.T) {
	s := waitingRun()
	s.Entries[4].Events = []*messages.Event{{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{Step: "chat"}}}}
	s.Attempts = attemptsOf(s.Entries[:5], &messages.StepDefinition{Name: "chat"})
	bars := drawn(s, window{}).Lanes[0].Bars
	if last := bars[len(bars)-1]; last.X != 200 || last.W != 300 || bars[0].Class != "suspended" {
		t.Errorf("drawn %+v", bars)
	}
	s = waitingRun()
	s.Attempts.Waits = nil
	for i := range 200 {
		s.Attempts.Waits = append(s.Attempts.Waits, &api.StepWait{Step: "chat", Attempt: 1, From: at(7 + float64(i)/100), Until: at(7 + float64(i+1)/100)})
	}
	if n := len(drawn(s, window{}).Lanes[0].Bars); n != 2+waitsDrawn {
		t.Errorf("%d bars", n)
	}
}

// Part of a run is drawn as if it were all; links lead nearer, further, to and fro, and
// keep within the run.
func TestZoom(t *testing.T) {
	want := strings.Join([]string{
		"w1 (i1) bound 0+500", "w1 (i1) away 500+300", "w1 (i1) lost 0+500",
		"w2 (i2) bound 800+200", "w2 (i2) live 800+200", "w2 (i2) waits 500+300",
	}, "\n")
	picture := drawn(movedRun(), windowOf(url.Values{"from": {"20"}, "to": {"40"}}))
	if got := lines(picture); got != want {
		t.Errorf("drawn\n%s\nwant\n%s", got, want)
	}
	links := map[string]string{}
	for _, c := range picture.Controls {
		links[c.Text] = c.Address
	}
	for text, want := range map[string]string{"Zoom in": "?from=25.000&to=35.000", "Zoom out": "?from=10.000&to=50.000", "Earlier": "?from=10.000&to=30.000", "Later": "?from=30.000&to=50.000",
		"All of it": "?", "Fold idle time": "?fold=yes&from=20.000&to=40.000"} {
		if links[text] != want {
			t.Errorf("%s leads to %s, want %s", text, links[text], want)
		}
	}
	for _, bad := range []url.Values{{"from": {"x"}, "to": {"y"}}, {"from": {"5"}, "to": {"4"}}, {"from": {"NaN"}, "to": {"+Inf"}}, {"from": {"-3"}}} {
		if got := windowOf(bad); got != (window{}) {
			t.Errorf("%v: %+v", bad, got)
		}
	}
	if far := drawn(movedRun(), window{From: 1e300, To: 2e300}); far == nil {
		t.Error("far outside nothing is drawn at all")
	}
}

// Times in which nothing happens are folded, and say how long they were.
func TestFolded(t *testing.T) {
	s := movedRun()
	s.Attempts.Attempts = s.Attempts.Attempts[:2] // from 0 to 15, and from 15 to 30: then nothing
	s.Attempts.Waits = nil
	picture := drawn(s, window{Fold: true})
	bars := picture.Lanes[0].Bars
	if len(picture.Folds) != 1 || picture.Folds[0].X != timelineWidth-foldedWidth || picture.Folds[0].Title != "folded: 30.0 s, from +30.0 s" || bars[len(bars)-1].X+bars[len(bars)-1].W != timelineWidth-foldedWidth {
		t.Errorf("folds %+v, bars %+v", picture.Folds, bars)
	}
}

// Of ten thousand attempts those are drawn as one that nobody could tell apart; a history
// that is too large is cut; and the page says so.
func TestLargeRuns(t *testing.T) {
	s := movedRun()
	w1 := &messages.WorkerRef{WorkerId: "w1", Incarnation: "i1"}
	for i := range EntriesMax {
		s.Entries = append(s.Entries, &api.WatchRunResponse{Entry: uint64(i + 20), At: at(40), Events: []*messages.Event{
			{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: fmt.Sprint("s", i), Attempt: 1, Worker: w1}}}}})
	}
	s.Attempts = &api.ListAttemptsResponse{LeftOut: 7}
	for i := range 10_000 {
		s.Attempts.Attempts = append(s.Attempts.Attempts, &api.Attempt{Step: "s", Number: int32(i + 1), WorkerId: "w1", Incarnation: "i1", Outcome: "succeeded",
			SentAt: at(float64(i) / 200), StartedAt: at(float64(i) / 200), EndedAt: at(float64(i+1) / 200)})
	}
	resp, body := ask(t, newPages(t, s, nil), http.MethodGet, "/ui/runs/r1", "")
	for _, want := range []string{"Only the first 2,000 entries were read", "attempts; zoom in to tell them apart", "9807 earlier attempts are left out", "earlier events are left out"} {
		if !strings.Contains(body, want) {
			t.Errorf("%d: the page lacks %q", resp.StatusCode, want)
		}
	}
	if n := strings.Count(body, `<rect class="bar`); n > 500 || len(body) > 512<<10 {
		t.Errorf("the page has %d bytes and %d bars", len(body), n)
	}
}

func TestPrefix(t *testing.T) {
	for prefix, ok := range map[string]bool{"": true, "/limpet": true, "/a/b-c": true, "limpet": false, "/limpet/": false, "//evil": false, "/a b": false, `/"x`: false, "/": false} {
		if err := CheckPrefix(prefix); (err == nil) != ok {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	_, body := ask(t, newPages(t, everywhere(), func(c *Config) { c.Prefix = "/limpet" }), http.MethodGet, "/ui/", "")
	if strings.Contains(body, `="/ui`) || !strings.Contains(body, `href="/limpet/ui/style.css?v=`) || !strings.Contains(body, `data-shared="/limpet/ui/shared.js?v=`) {
		t.Errorf("links that leave the prefix:\n%s", body)
	}
}
