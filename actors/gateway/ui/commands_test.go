package ui

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// formOf is what a page's form sends if nothing is written into it.
func formOf(body string) url.Values {
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(body, -1) {
		form.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return form
}

// A command is asked for, confirmed and done; what it was done to says so.
func TestACommandIsConfirmedAndDone(t *testing.T) {
	s := everywhere()
	h := newPages(t, s, func(c *Config) { c.Prefix = "/limpet" })
	_, body := ask(t, h, http.MethodGet, "/ui/confirm?do=cancel&run=r1", "")
	form := formOf(body)
	if len(s.Canceled) > 0 || form.Get("do") != "cancel" || form.Get("run") != "r1" || form.Get("id") == "" || !strings.Contains(body, `<a class="button" href="/limpet/ui/runs/r1">Back</a>`) {
		t.Fatalf("to be confirmed: %v, done before: %v\n%s", form, s.Canceled, body)
	}
	form.Set("reason", "it was enough")
	form.Set("without_end", "yes")
	resp, _ := ask(t, h, http.MethodPost, "/ui/do", form.Encode())
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/limpet/ui/runs/r1?done=cancel" {
		t.Errorf("done: %d to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if len(s.Canceled) != 1 || s.Canceled[0].GetRunId() != "r1" || s.Canceled[0].GetReason() != "it was enough" || !s.Canceled[0].GetWithoutEndStep() {
		t.Errorf("the API was asked for %v", s.Canceled)
	}
	if _, body := ask(t, h, http.MethodGet, "/ui/runs/r1?done=cancel", ""); !strings.Contains(body, `role="status" data-key="told">The run was asked to end.<`) {
		t.Errorf("the page does not say so:\n%s", body)
	}
}

// Of several, each is told how it came out.
func TestACommandOnSeveral(t *testing.T) {
	s := everywhere()
	h := newPages(t, s, nil)
	_, body := ask(t, h, http.MethodGet, "/ui/confirm?do=cancel&run=a&run=ended&run=b", "")
	resp, body := ask(t, h, http.MethodPost, "/ui/do", formOf(body).Encode())
	if resp.StatusCode != http.StatusOK || len(s.Canceled) != 2 || !strings.Contains(body, "RUN_FINISHED run ended has ended") || strings.Count(body, "The run was asked to end.") != 2 {
		t.Errorf("%d, %v:\n%s", resp.StatusCode, s.Canceled, body)
	}
	many := url.Values{"do": {"cancel"}, "run": make([]string, chosenMax+1)}
	for _, q := range []string{many.Encode(), "do=cancel", "do=explode&run=a", ""} {
		if resp, _ := ask(t, h, http.MethodGet, "/ui/confirm?"+q, ""); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40s: %d", q, resp.StatusCode)
		}
	}
}

// A link does nothing, and neither does a form that was not made for this browser, or
// long ago.
func TestACommandNeedsItsForm(t *testing.T) {
	const secret = "the secret of this cluster"
	s := everywhere()
	h := newPages(t, s, func(c *Config) { c.Secret = secret })
	login := func() *http.Cookie {
		resp, _ := ask(t, h, http.MethodPost, "/ui/login", url.Values{"secret": {secret}}.Encode())
		return resp.Cookies()[0]
	}
	mine := login()
	_, body := ask(t, h, http.MethodGet, "/ui/confirm?do=cancel&run=r1", "", mine)
	form := formOf(body)
	other := *mine
	later := newPages(t, s, func(c *Config) {
		c.Secret = secret
		c.now = func() time.Time { return now.Add(tokenFor + time.Second) }
	})
	without := url.Values{"do": {"cancel"}, "run": {"r1"}}
	forged := url.Values{"do": {"cancel"}, "run": {"r1"}, "token": {"9" + form.Get("token")}}
	if resp, _ := ask(t, h, http.MethodGet, "/ui/do?"+form.Encode(), "", mine); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("by a link: %d", resp.StatusCode)
	}
	if resp, _ := ask(t, h, http.MethodPost, "/ui/do", form.Encode()); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), "/ui/login") {
		t.Errorf("without a pass: %d", resp.StatusCode)
	}
	for what, send := range map[string]func() (*http.Response, string){
		"without a token":     func() (*http.Response, string) { return ask(t, h, http.MethodPost, "/ui/do", without.Encode(), &other) },
		"with a forged token": func() (*http.Response, string) { return ask(t, h, http.MethodPost, "/ui/do", forged.Encode(), mine) },
		"with an old token":   func() (*http.Response, string) { return ask(t, later, http.MethodPost, "/ui/do", form.Encode(), mine) },
	} {
		if resp, body := send(); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "too old, or of another browser") {
			t.Errorf("%s: %d", what, resp.StatusCode)
		}
	}
	if len(s.Canceled) > 0 {
		t.Fatalf("done: %v", s.Canceled)
	}
	if resp, _ := ask(t, h, http.MethodPost, "/ui/do", form.Encode(), mine); resp.StatusCode != http.StatusSeeOther || len(s.Canceled) != 1 {
		t.Errorf("with its token: %d, %v", resp.StatusCode, s.Canceled)
	}
}

// A token of one browser is none of another one.
func TestATokenIsOfItsBrowser(t *testing.T) {
	p := &pages{Config: Config{now: func() time.Time { return now }}, key: []byte("k")}
	as := func(pass, token string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/ui/do", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: cookieName, Value: pass})
		r.PostForm = url.Values{"token": {token}}
		return r
	}
	token := p.token(as("one", ""))
	if !p.tokenHolds(as("one", token)) || p.tokenHolds(as("two", token)) {
		t.Error("a token holds for another pass")
	}
}

// Pages for reading show no commands, and do none.
func TestReadOnlyPages(t *testing.T) {
	s := everywhere()
	_, body := ask(t, newPages(t, s, nil), http.MethodGet, "/ui/confirm?do=cancel&run=r1", "")
	form := formOf(body)
	h := newPages(t, s, func(c *Config) { c.ReadOnly = true })
	for _, path := range []string{"/ui/", "/ui/runs/r1", "/ui/workers/" + url.PathEscape(hostile), "/ui/workflows/" + url.PathEscape(hostile)} {
		if resp, body := ask(t, h, http.MethodGet, path, ""); resp.StatusCode != http.StatusOK || strings.Contains(body, "/ui/confirm") {
			t.Errorf("%s shows a command, %d", path, resp.StatusCode)
		}
	}
	for _, send := range []string{"GET /ui/confirm?do=cancel&run=r1", "POST /ui/do"} {
		method, path, _ := strings.Cut(send, " ")
		if resp, _ := ask(t, h, method, path, form.Encode()); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", send, resp.StatusCode)
		}
	}
	if len(s.Canceled) > 0 {
		t.Errorf("done: %v", s.Canceled)
	}
}
