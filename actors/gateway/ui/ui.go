// Package ui is the dashboard: pages that work without JavaScript, and two short
// scripts that keep them as they are on the server.
//
// Data flow: GET of a page → cookie, if the cluster has a secret → calls of the API,
// the same that `limpet` makes → html/template → answer. A command: link → page that
// says what is to be done → POST with its token → call of the API. Live: a browser's
// one stream names the pages that it shows → each is made again, once for all who see
// it → what has changed is pushed → the script changes the page in place.
//
// Rules:
//
//	D1: what a page shows comes from the API, by its client; nothing is read around it.
//	D2: a page shows and does what its caller may with the API, which is asked as that
//	    caller. A browser shows who that is by a cookie, which it gets for a token or the
//	    secret and which has neither; it is good as long as these are. Without a secret
//	    the server listens on loopback, and whoever reaches it may do everything.
//	D3: nothing comes from elsewhere, and nothing runs but the two scripts: the policy
//	    allows the style sheet, these and forms to this server, and nothing inline.
//	D4: all that users wrote is escaped by html/template; no text is marked as safe.
//	D5: a page costs a bounded amount: PageRuns runs of a listing, EntriesMax entries
//	    of a history, previewBytes of a payload. For all that is pushed, rendersMax
//	    pages are made at a time, each at most once in pageEvery.
//	D6: a link changes nothing. What changes something is sent by POST from a form that
//	    this server made for this browser, after a page that says what it does.
//	D7: a browser has one stream, which its tabs share, for it has six connections. Who
//	    does not read it, or may not any more, loses it.
//
// Imports access, messages, messages/api, cluster/notify.
package ui

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// Config of the pages.
type Config struct {
	// Client is the way to the API.
	Client apiconnect.LimpetServiceClient
	// Secret of the cluster; empty if it has none.
	Secret string
	// Doors say who a browser is for. Defaults to those of the secret.
	Doors access.Doors
	// Prefix is what a proxy has put before /ui/ for browsers, such as /limpet.
	Prefix string
	// ReadOnly pages have nothing done: they show.
	ReadOnly bool
	// Logger gets what went wrong with a page. Defaults to slog.Default().
	Logger *slog.Logger

	// now is time.Now, and every is pageEvery, but for tests.
	now   func() time.Time
	every time.Duration
}

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed pages/style.css pages/icon.svg scripts/live.js scripts/shared.js
var assets embed.FS

// kinds of the assets by the ends of their names.
var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// pages serves them.
type pages struct {
	Config
	base   string // of links: the prefix and /ui
	key    []byte // seals what a browser is given to show again
	views  map[string]*template.Template
	assets map[string]asset
	routes *http.ServeMux
	// patterns of the routes.
	patterns []string
}

// asset is a file that pages need; its address changes with what is in it.
type asset struct {
	address, kind string
	data          []byte
}

// CheckPrefix returns INVALID_ARGUMENT for what is no prefix of a path: it begins
// with a slash, does not end with one, and has only what needs no escaping.
func CheckPrefix(prefix string) error {
	plain := strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") == ""
	if prefix != "" && (!plain || !strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") || strings.Contains(prefix, "//")) {
		return messages.Errorf(messages.CodeInvalidArgument, "prefix of the pages %q: give a path such as /limpet, without a slash at its end", prefix)
	}
	return nil
}

// New returns the handler of /ui/ and what is below it. What it streams ends with
// the context.
func New(stopping context.Context, c Config) http.Handler {
	p := newUI(stopping, c)
	return headers(p.routes)
}

func newUI(stopping context.Context, c Config) *pages {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.Doors == nil {
		c.Doors = access.NewSecretDoors(c.Secret)
	}
	c.every = cmp.Or(c.every, pageEvery)
	p := &pages{Config: c, base: c.Prefix + "/ui", key: []byte(c.Secret), views: map[string]*template.Template{}, assets: map[string]asset{}, routes: http.NewServeMux()}
	if c.Secret == "" {
		p.key = []byte(rand.Text())
	}
	for _, name := range []string{"runs", "run", "workers", "worker", "workflows", "workflow", "cluster", "confirm", "result", "login", "error"} {
		p.views[name] = template.Must(template.New("").Funcs(p.functions()).ParseFS(pageFiles, "pages/frame.html", "pages/"+name+".html"))
	}
	p.serveAssets()
	p.handle("GET /ui/login", p.login)
	p.handle("POST /ui/login", p.loggedIn)
	p.handle("POST /ui/logout", p.loggedOut)
	for path, page := range map[string]func(*http.Request) (answer, error){
		"/ui/{$}": p.runs, "/ui/runs/{id...}": p.run, "/ui/payload": p.payload, "/ui/workers": p.workers, "/ui/workers/{id...}": p.worker,
		"/ui/workflows": p.workflows, "/ui/workflows/{name...}": p.workflow, "/ui/cluster": p.cluster, "/ui/confirm": p.confirm,
	} {
		p.handle("GET "+path, p.page(page))
	}
	p.handle("POST /ui/do", p.page(p.done))
	p.handle(livePattern, newLive(stopping, p).serve)
	p.handle("GET /ui/", p.page(func(*http.Request) (answer, error) {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "there is no such page")
	}))
	return p
}

// serveAssets adds a route for each.
func (p *pages) serveAssets() {
	for _, file := range []string{"pages/style.css", "pages/icon.svg", "scripts/live.js", "scripts/shared.js"} {
		data, err := assets.ReadFile(file)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(data)
		name := path.Base(file)
		a := asset{address: p.base + "/" + name + "?v=" + hex.EncodeToString(sum[:6]), kind: kinds[path.Ext(name)], data: data}
		p.assets[name] = a
		p.handle("GET /ui/"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", a.kind)
			w.Header().Set("Cache-Control", "max-age=300")
			_, _ = w.Write(a.data) // the browser has gone
		})
	}
}

// headers are of every answer: see D3.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; worker-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// answer writes what a page is.
type answer func(w http.ResponseWriter)

// frame is what every page is made of.
type frame struct {
	Title string
	// Here is the part of the dashboard that the page belongs to; it is pushed unless
	// that is empty, or commands.
	Here     string
	Base     string
	Secret   bool
	ReadOnly bool
	View     access.View
	Now      time.Time
	// Address of an asset by its name.
	Address func(name string) string
	Page    any
}

// May says whether the page has a command, by its name in forms.
func (f frame) May(do string) bool { return !f.ReadOnly && f.View.MayCall(commands[do].procedure) }

// Live says whether the page is pushed.
func (f frame) Live() bool { return f.Here != "" && f.Here != "commands" }

// handle adds a route: what stands behind gets requests of callers who may ask for it, by
// access.Routes, and their contexts say who that is.
func (p *pages) handle(pattern string, behind http.HandlerFunc) {
	wanted := access.Routes[pattern]
	p.patterns = append(p.patterns, pattern)
	p.routes.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if wanted.Public {
			behind(w, r)
			return
		}
		caller, err := p.caller(r)
		switch {
		case messages.CodeOf(err) == messages.CodeUnauthenticated && pattern == livePattern:
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		case messages.CodeOf(err) == messages.CodeUnauthenticated:
			http.Redirect(w, r, p.base+"/login?"+url.Values{"to": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
			return
		case err == nil:
			if refused := caller.Refused(pattern, wanted); refused != nil {
				err = refused
			}
		}
		ctx, done := p.Doors.Attend(access.With(r.Context(), caller), caller)
		defer done()
		if err != nil {
			p.refuse(w, r.WithContext(ctx), err)
			return
		}
		behind(w, r.WithContext(ctx))
	})
}

const livePattern = "GET /ui/live"

// page wraps what makes a page, and shows an error.
func (p *pages) page(make func(*http.Request) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, commandBytesMax)
		write, err := make(r)
		if err != nil {
			p.refuse(w, r, err)
			return
		}
		write(w)
	}
}

// show renders a view; it is whole before anything of it is sent.
func (p *pages) show(r *http.Request, view, title, here string, page any) (answer, error) {
	caller, _ := access.From(r.Context())
	var body bytes.Buffer
	err := p.views[view].ExecuteTemplate(&body, "frame", frame{
		Title: title, Here: here, Base: p.base, Secret: p.Secret != "", ReadOnly: p.ReadOnly, View: caller.View, Now: p.now().UTC(),
		Address: func(name string) string { return p.assets[name].address }, Page: page,
	})
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "page %s: %w", view, err)
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = body.WriteTo(w) // the browser has gone
	}, nil
}

// shownError is an error as the page shows it.
type shownError struct{ Code, Message, Hint string }

// shownOf is an error of a call of the API.
func shownOf(err error) shownError {
	err = api.FromConnect(err)
	code, text := messages.CodeOf(err), err.Error()
	var e *messages.Error
	if errors.As(err, &e) {
		text = e.Message
	}
	return shownError{string(code), text, code.Hint()}
}

func (p *pages) refuse(w http.ResponseWriter, r *http.Request, err error) {
	shown := shownOf(err)
	code := messages.Code(shown.Code)
	if code == messages.CodeInternal {
		p.Logger.Error("a page failed", "path", r.URL.Path, "error", err)
	}
	write, failed := p.show(r, "error", "Error", "", shown)
	if failed != nil {
		http.Error(w, shown.Message, code.HTTPStatus())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code.HTTPStatus())
	write(w)
}
