package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	// browserTime bounds all that a browser does in a test; the machine may be busy.
	browserTime = 5 * time.Minute
	// conditionTime is how long a page may take to show something.
	conditionTime = time.Minute
)

// browser starts headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("no Chromium in the PATH: `make test` installs it where it can, else install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en"))
	ctx, cancel := context.WithTimeoutCause(t.Context(), browserTime, errors.New("the browser took too long"))
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("Chromium does not start: ", err)
	}
	return ctx
}

// tab is one of a browser, and what went wrong in it.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	faults []string
}

// open opens a tab for the pages at an address. What its console says of errors, of the
// policy too, and each request to elsewhere fails the test.
func open(t *testing.T, browser context.Context, base string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, base: base}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	b.do(command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}), chromedp.EmulateViewport(1440, 900))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, f := range b.faults {
			t.Error(f)
		}
	})
	return b
}

// command of the browser's protocol.
func command[P, R any](c cdp.Command[P, R], p P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, p)
		return err
	})
}

func (b *tab) hear(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.fault("exception: %+v", ev.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.ConsoleAPICalledTypeError {
			b.fault("console: %+v", ev.Args)
		}
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning {
			b.fault("%s: %s %s", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(ev.Request.URL, b.base) {
			b.fault("request to elsewhere: %s", ev.Request.URL)
		}
	}
}

func (b *tab) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("in the browser: %v\n%s", err, b.text())
	}
}

// eval returns the value of an expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", expression, err, b.text())
	}
	return v
}

// text of the page, for messages.
func (b *tab) text() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text[:min(len(text), 3000)]
}

func (b *tab) goTo(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// until waits for a condition of the page, which may be loaded meanwhile.
func (b *tab) until(what, condition string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, conditionTime)
	defer cancel()
	for {
		so, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
		if err == nil && so {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("not so: %s: %s (%v)\n%s", what, condition, err, b.text())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// says waits until the page has a text.
func (b *tab) says(text string) {
	b.t.Helper()
	b.until("the page says "+text, fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// tabTo presses the tabulator until the focus is on what has a text.
func (b *tab) tabTo(text string) {
	b.t.Helper()
	for range 60 {
		b.press(kb.Tab)
		if eval[string](b, `document.activeElement.textContent.trim()`) == text {
			return
		}
	}
	b.t.Fatalf("the keyboard does not reach %q\n%s", text, b.text())
}

// size and theme of what is shown.
func (b *tab) looks(width int, theme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(int64(width), 900),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}}))
}

// accessible checks names, roles, contrast and width of what is shown.
func (b *tab) accessible(what string) {
	b.t.Helper()
	for _, f := range eval[[]string](b, checkPage) {
		b.t.Errorf("%s: %s", what, f)
	}
}

// checkPage returns what somebody who cannot see, or has a small window, would miss.
const checkPage = `(() => {
const faults = [];
const say = (what, e) => faults.push(what + ": " + e.outerHTML.slice(0, 160));
if (!document.documentElement.lang) faults.push("no language");
if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
let level = 1;
for (const h of document.querySelectorAll("h1,h2,h3,h4")) { const n = Number(h.tagName[1]); if (n > level + 1) say("a level of headings is left out", h); level = n; }
const ids = new Set();
for (const e of document.querySelectorAll("[id]")) { if (ids.has(e.id)) say("an id twice", e); ids.add(e.id); }
for (const e of document.querySelectorAll("[aria-labelledby]")) for (const id of e.getAttribute("aria-labelledby").split(" ")) if (!document.getElementById(id)) say("named by nothing", e);
for (const e of document.querySelectorAll("a, button, summary")) if (!(e.textContent.trim() || e.getAttribute("aria-label"))) say("no name", e);
for (const e of document.querySelectorAll("input:not([type=hidden]), textarea, select")) if (!(e.labels?.length || e.getAttribute("aria-label"))) say("no label", e);
for (const e of document.querySelectorAll("svg")) if (e.getAttribute("role") !== "img" || !e.getAttribute("aria-label")) say("a picture without a name", e);
for (const e of document.querySelectorAll("th")) if (!e.textContent.trim()) say("a column without a name", e);
if (document.scrollingElement.scrollWidth > innerWidth + 1) {
  faults.push("wider than the window: " + document.scrollingElement.scrollWidth + " of " + innerWidth);
  for (const e of document.querySelectorAll("main *")) if (e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".wide, pre")) say("sticks out", e);
}
const rgb = (text) => { const m = text.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
const light = (c) => { const f = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
for (const e of document.querySelectorAll("body *")) {
  if (e.closest("svg") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim())) continue;
  const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) say("contrast " + ratio.toFixed(1), e);
}
return [...new Set(faults)].slice(0, 20);
})()`
