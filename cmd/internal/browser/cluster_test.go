package browser

import (
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/limpetrun/limpet/actors/gateway/ui"
	"github.com/limpetrun/limpet/actors/gateway/ui/uitest"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

var screenshots = flag.String("screenshots", "", "write pictures of all pages into this directory")

// TestMain makes the test's executable a process of the cluster where it is started as
// one.
func TestMain(m *testing.M) {
	procs.Main(localcluster.Roles(func() procs.Child {
		return localcluster.WorkerChild(func(*ledger.Writer) []sdk.AnyWorkflow {
			return []sdk.AnyWorkflow{session("session-soft", sdk.Soft), session("session-hard", sdk.Hard)}
		})
	}))
	os.Exit(m.Run())
}

// Talk is what a session begins with.
type Talk struct {
	Topic string `json:"topic"`
	// Short ends by itself.
	Short bool `json:"short"`
}

// session loads something and then talks until it is told to stop, or its worker is
// lost.
func session(name string, sticky sdk.Sticky) *sdk.Workflow[Talk] {
	w := sdk.NewWorkflow[Talk](name, sdk.WorkflowConfig{Sticky: sticky, BusyPatience: sdk.Never})
	load := sdk.AddStep(w, "load", func(sdk.Context, Talk) (string, error) { return "loaded", nil })
	talk := sdk.AddStep(w, "talk", func(ctx sdk.Context, in Talk) (string, error) {
		if !in.Short {
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "said", nil
	}, sdk.StepConfig{Parents: sdk.Steps(load)})
	sdk.AddStep(w, "report", func(sdk.Context, Talk) (string, error) { return "reported", nil }, sdk.StepConfig{Parents: sdk.Steps(load, talk)})
	return w
}

// stage is a cluster on which a worker was killed, one drains and a HARD run waits.
type stage struct {
	cluster *localcluster.Cluster
	client  *sdk.Client
	base    string
	// hard waits for the killed worker, moved has left it, soft are all SOFT runs.
	hard, moved     string
	soft            []string
	killed, drained string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	ctx := t.Context()
	s := &stage{}
	var err error
	s.cluster, err = localcluster.Start(ctx, localcluster.Config{Dir: t.TempDir(), Store: localcluster.StoreMemory, Slots: 8}, "gpu-1", "gpu-2", "gpu-3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cluster.Close)
	if s.client, err = s.cluster.Client(); err != nil {
		t.Fatal(err)
	}
	s.base = "http://" + s.cluster.APIAddress() + "/ui"
	s.hard = s.start(t, session("session-hard", sdk.Hard), Talk{Topic: "a long one"})
	for i := range 6 {
		s.soft = append(s.soft, s.start(t, session("session-soft", sdk.Soft), Talk{Topic: fmt.Sprint("number ", i)}))
	}
	short := s.start(t, session("session-soft", sdk.Soft), Talk{Short: true, Topic: uitest.Hostile})
	if err := s.client.Run(short).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	talks := func(r *api.GetRunResponse) bool { return r.GetSteps()[1].GetPhase() == api.PhaseRunning }
	for _, id := range append([]string{s.hard}, s.soft...) {
		s.until(t, id, talks)
	}
	s.killed = s.get(t, s.hard).GetRun().GetWorkerId()
	for _, id := range s.soft {
		if s.get(t, id).GetRun().GetWorkerId() == s.killed {
			s.moved = id
		}
	}
	if s.moved == "" {
		t.Fatal("no SOFT run is where the HARD one is")
	}
	if err := s.cluster.Kill(s.killed); err != nil {
		t.Fatal(err)
	}
	s.until(t, s.moved, func(r *api.GetRunResponse) bool { return r.GetRun().GetWorkerId() != s.killed && talks(r) })
	s.until(t, s.hard, func(r *api.GetRunResponse) bool { return r.GetRun().GetDormant() })
	for _, id := range []string{"gpu-1", "gpu-2", "gpu-3"} {
		if id != s.killed && id != s.get(t, s.moved).GetRun().GetWorkerId() {
			s.drained = id
		}
	}
	return s
}

func (s *stage) start(t *testing.T, w *sdk.Workflow[Talk], in Talk) string {
	t.Helper()
	run, err := w.Start(t.Context(), s.client, in, &sdk.StartOptions{Metadata: map[string]string{"topic": in.Topic}})
	if err != nil {
		t.Fatal(err)
	}
	return run.ID()
}

func (s *stage) get(t *testing.T, id string) *api.GetRunResponse {
	t.Helper()
	r, err := s.client.Run(id).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// until waits until a run is so.
func (s *stage) until(t *testing.T, id string, so func(*api.GetRunResponse) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		r := s.get(t, id)
		if so(r) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("run %s is %v", id, r)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestInABrowser opens each page where a worker was killed, one drains and a HARD run
// waits.
func TestInABrowser(t *testing.T) {
	s := newStage(t)
	chromium := browser(t)
	t.Run("drain", func(t *testing.T) { s.drains(t, open(t, chromium, s.base)) })
	t.Run("a run that moved", func(t *testing.T) { s.showsAMove(t, open(t, chromium, s.base)) })
	t.Run("a HARD run that waits", func(t *testing.T) { s.showsAWait(t, open(t, chromium, s.base)) })
	t.Run("live", func(t *testing.T) { s.isLive(t, open(t, chromium, s.base), open(t, chromium, s.base)) })
	t.Run("by the keyboard", func(t *testing.T) { s.cancelsByKeyboard(t, open(t, chromium, s.base)) })
	t.Run("several", func(t *testing.T) { s.cancelsSeveral(t, open(t, chromium, s.base)) })
	t.Run("all pages", func(t *testing.T) { s.looksWell(t, open(t, chromium, s.base)) })
	t.Run("ten tabs", func(t *testing.T) { s.manyTabs(t, chromium) })
	t.Run("hostile", func(t *testing.T) { staysText(t, chromium) })
}

func (s *stage) drains(t *testing.T, b *tab) {
	b.goTo("/workers/" + s.drained)
	b.says("The worker is up.")
	b.do(chromedp.Click(chromedp.CSS(`a[href*="do=drain"]`)))
	b.says("takes on nothing new")
	b.do(chromedp.SetValue(chromedp.CSS(`input[name=deadline]`), "10m"), chromedp.Click(chromedp.CSS(`button.main`)))
	b.until("it was told", `document.querySelector("[role=status]")?.textContent === "The worker drains."`)
	b.says("The worker is draining")
	b.goTo("/workers")
	b.until("the killed worker is gone or left out, the drained one drains", fmt.Sprintf(
		`[...document.querySelectorAll("tbody tr")].some((r) => r.innerText.includes(%q) && r.innerText.includes("draining"))`, s.drained))
}

func (s *stage) showsAMove(t *testing.T, b *tab) {
	b.goTo("/runs/" + s.moved)
	b.says("where it moved from " + s.killed + ": worker lost")
	b.until("a lane for each process", `document.querySelectorAll("svg rect.lane").length === 2`)
	b.until("the lost attempt on the killed worker's lane", `document.querySelectorAll("svg g:nth-of-type(1) rect.bar.lost").length === 1`)
	b.until("the live one on the other lane", `document.querySelectorAll("svg g:nth-of-type(2) rect.bar.live").length === 1`)
	b.until("the binding behind, hatched once the worker is lost", `document.querySelectorAll("svg rect.band.bound").length === 2 && document.querySelectorAll("svg rect.band.away").length === 1`)
	b.until("an arrow with the reason", fmt.Sprintf(`document.querySelector("svg g.move title").textContent.startsWith("moved from %s to ") && document.querySelector("svg g.move title").textContent.endsWith(": worker lost")`, s.killed))
}

func (s *stage) showsAWait(t *testing.T, b *tab) {
	b.goTo("/runs/" + s.hard)
	b.says("bound to " + s.killed)
	b.says("It waits: ")
	b.until("one lane, hatched", `document.querySelectorAll("svg rect.lane").length === 1 && document.querySelectorAll("svg rect.band.away").length === 1`)
	b.until("its step waits for the worker", `[...document.querySelectorAll("svg rect.bar.waits title")].some((e) => e.textContent.endsWith("(worker_lost): its worker: worker lost"))`)
	b.do(chromedp.Click(chromedp.CSS(`a[href*="from="]`)))
	b.until("half of it is drawn", `location.search.startsWith("?from=") && document.querySelectorAll("svg rect.lane").length === 1`)
}

// isLive: what changes arrives in both tabs, with neither loaded again.
func (s *stage) isLive(t *testing.T, list, page *tab) {
	list.goTo("/")
	page.goTo("/runs/" + s.soft[0])
	for _, b := range []*tab{list, page} {
		eval[bool](b, `window.notReloaded = true`)
		b.until("it is live", `document.getElementById("live").textContent === "Live."`)
	}
	started := s.start(t, session("session-soft", sdk.Soft), Talk{Topic: "a new one"})
	row := fmt.Sprintf(`document.querySelector('tr[data-key="%s"]')`, started)
	list.until("the new run is in the list", row+" !== null && window.notReloaded")
	list.do(chromedp.Click(chromedp.CSS(`tr[data-key="`+started+`"] input`)), chromedp.Focus(chromedp.CSS(`tr[data-key="`+started+`"] a`)))
	for _, id := range []string{started, s.soft[0]} {
		if err := s.client.Run(id).Cancel(t.Context(), "it was enough"); err != nil {
			t.Fatal(err)
		}
	}
	list.until("the list says that it was canceled", row+`.innerText.includes("canceled") && window.notReloaded`)
	list.until("what was chosen and the focus stayed", row+`.querySelector("input").checked && `+row+`.contains(document.activeElement)`)
	page.until("the page says so", `document.querySelector(".sentence").textContent.startsWith("The run was canceled") && window.notReloaded`)
}

func (s *stage) cancelsByKeyboard(t *testing.T, b *tab) {
	b.goTo("/runs/" + s.moved)
	b.tabTo("Cancel")
	b.press(kb.Enter)
	b.says("The run is asked to end")
	b.tabTo("Cancel")
	b.press(kb.Enter)
	b.until("it was told", `document.querySelector("[role=status]")?.textContent === "The run was asked to end."`)
	b.until("the page says that it was canceled", `document.querySelector(".sentence").textContent.startsWith("The run was canceled")`)
	b.until("what was done is not in the address", `location.search === ""`)
}

func (s *stage) cancelsSeveral(t *testing.T, b *tab) {
	b.goTo("/?status=running&workflow=session-soft")
	for _, id := range s.soft[1:3] {
		if id != s.moved {
			b.do(chromedp.Click(chromedp.CSS(`tr[data-key="` + id + `"] input`)))
		}
	}
	b.do(chromedp.Click(chromedp.CSS(`button[value=cancel]`)))
	b.says("The run is asked to end")
	b.do(chromedp.Click(chromedp.CSS(`button.main`)))
	b.says("The run was asked to end.")
}

// looksWell checks each page in each size and theme, and takes its picture if asked.
func (s *stage) looksWell(t *testing.T, b *tab) {
	pages := []struct{ name, path string }{
		{"runs", "/"}, {"run-moved", "/runs/" + s.moved}, {"run-hard", "/runs/" + s.hard}, {"workers", "/workers"}, {"worker", "/workers/" + s.drained},
		{"workflows", "/workflows"}, {"workflow", "/workflows/session-soft"}, {"cluster", "/cluster"}, {"cancel", "/confirm?do=cancel&run=" + s.hard}, {"event", "/confirm?do=event"},
	}
	for _, p := range pages {
		b.goTo(p.path)
		b.until("it has come", `document.readyState === "complete"`)
		for _, theme := range []string{"light", "dark"} {
			for _, width := range []int{390, 1440} {
				b.looks(width, theme)
				name := fmt.Sprintf("%s-%d-%s", p.name, width, theme)
				b.accessible(name)
				if *screenshots == "" {
					continue
				}
				png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// manyTabs: a browser has six connections to a server, and eleven tabs load all the
// same.
func (s *stage) manyTabs(t *testing.T, chromium context.Context) {
	for range 11 {
		b := open(t, chromium, s.base)
		b.goTo("/workers")
		b.until("it is live", `document.getElementById("live").textContent === "Live."`)
	}
}

// staysText opens the pages of an API whose every text would run, if it could.
func staysText(t *testing.T, chromium context.Context) {
	_, service := apiconnect.NewLimpetServiceHandler(uitest.Everywhere())
	of := httptest.NewServer(service)
	t.Cleanup(of.Close)
	server := httptest.NewServer(ui.New(t.Context(), ui.Config{Client: apiconnect.NewLimpetServiceClient(of.Client(), of.URL)}))
	t.Cleanup(server.Close)
	b := open(t, chromium, server.URL+"/ui")
	for _, path := range []string{"/", "/runs/r1", "/workers", "/workers/" + url.PathEscape(uitest.Hostile), "/workflows", "/workflows/" + url.PathEscape(uitest.Hostile), "/cluster"} {
		b.goTo(path)
		b.until("it shows the text", fmt.Sprintf("document.body.innerText.includes(%q)", uitest.Hostile))
		b.until("nothing came of it", `document.images.length === 0 && [...document.scripts].every((s) => s.src.includes("/ui/live.js"))`)
		if strings.HasPrefix(path, "/runs") {
			b.until("what is pushed does not run either", `document.getElementById("live").textContent === "Live."`)
		}
	}
}
