package ui

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Limits of what is live.
const (
	// StreamsMax is how many browsers a server pushes to.
	StreamsMax = 2000
	// TopicsMax is how many pages one browser has pushed to it.
	TopicsMax = 20
	// addressBytesMax bounds the address of such a page.
	addressBytesMax = 2 << 10
	// rendersMax is how many pages are made for all of them at a time: many viewers
	// see changes later, and runs go on as fast.
	rendersMax = 2
	// pageEvery is the shortest time between two versions of a page, and as much more for
	// each streamsPerPause browsers.
	pageEvery       = time.Second
	streamsPerPause = 100
	// runEvery is after what time the page of a run is made anew though nothing new is
	// in the history: the picture grows.
	runEvery = 5 * time.Second
	// aliveEvery is how often a stream says something, and is asked whether its
	// browser may still see the pages.
	aliveEvery = 15 * time.Second
	// writeMax is how long a browser may take to read an event.
	writeMax = 10 * time.Second
	// renderMax is how long a page may take.
	renderMax = 15 * time.Second
)

// live pushes pages that have changed to the browsers that show them. A topic is the
// address of a page for those who may see the same; while somebody sees it, it is made
// again and again, once for all who do, and told when it has changed.
type live struct {
	pages    *pages
	stopping context.Context
	renders  chan struct{} // holds one element for each page that is being made

	mu      sync.Mutex
	topics  map[topicKey]*topic
	streams int
}

// version of a page: its content, and what tells it from others.
type version struct {
	See  string    `json:"see"`
	Mark string    `json:"mark"`
	At   time.Time `json:"at"`
	HTML string    `json:"html"`
	// data is the version as it is sent: made once for all who get it.
	data string
}

// topicKey: callers who may see the same are shown the same.
type topicKey struct {
	view    access.View
	address string
}

type topic struct {
	topicKey
	viewers int // under the lock of live
	stop    context.CancelFunc
	changed notify.Hooks[struct{}]

	mu     sync.Mutex
	newest version
}

func (t *topic) now() version {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest
}

func newLive(stopping context.Context, p *pages) *live {
	return &live{pages: p, stopping: stopping, renders: make(chan struct{}, rendersMax), topics: map[topicKey]*topic{}}
}

// seen are the pages that a browser asks for, with the marks of the versions that it
// has: of its last event, if it comes back.
func seen(r *http.Request) (addresses, marks []string, err error) {
	q := r.URL.Query()
	addresses = q["see"]
	if n := len(addresses); n == 0 || n > TopicsMax {
		return nil, nil, messages.Errorf(messages.CodeInvalidArgument, "the stream is asked for %d pages, not 1 to TopicsMax = %d", n, TopicsMax)
	}
	marks = q["has"]
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		marks = strings.Split(last, ",")
	}
	if len(marks) != len(addresses) {
		marks = make([]string, len(addresses))
	}
	for _, a := range addresses {
		if u, err := url.Parse(a); err != nil || len(a) > addressBytesMax || !liveView(u.Path) || u.Host != "" {
			return nil, nil, messages.Errorf(messages.CodeInvalidArgument, "%.200q is no page that is pushed", a)
		}
	}
	return addresses, marks, nil
}

// liveView says whether the page at a path below /ui is pushed.
func liveView(path string) bool {
	for _, part := range []string{"/runs/", "/workers/", "/workflows/"} {
		if strings.HasPrefix(path, part) {
			return true
		}
	}
	return path == "/" || path == "/workers" || path == "/workflows" || path == "/cluster"
}

// serve streams to a browser until it goes, may not see the pages any more, does not
// read, or the server stops.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	addresses, marks, err := seen(r)
	caller, _ := access.From(r.Context())
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case !l.enter():
		http.Error(w, fmt.Sprintf("%d browsers are pushed to, which is StreamsMax", StreamsMax), http.StatusServiceUnavailable)
		return
	}
	defer l.leave()
	wake := make(chan struct{}, 1)
	topics := make([]*topic, len(addresses))
	for i, a := range addresses {
		t, done := l.see(topicKey{caller.View, a}, wake)
		topics[i] = t
		defer done()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	out := stream{w, http.NewResponseController(w)}
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for err := out.say(": here\n\n"); err == nil && l.mayStill(r, caller); {
		if err = out.tell(topics, marks); err != nil {
			return
		}
		select {
		case <-wake:
		case <-alive.C:
			err = out.say(": still here\n\n")
		case <-r.Context().Done():
			return
		case <-l.stopping.Done():
			return
		}
	}
}

// mayStill asks anew for a caller whose pass may be over. That a token is, ends the
// request's context.
func (l *live) mayStill(r *http.Request, caller access.Caller) bool {
	now, err := l.pages.caller(r.WithContext(access.Without(r.Context())))
	return err == nil && now.View == caller.View
}

// stream is the way to a browser.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// say writes and flushes; a browser that does not read gets an error in time.
func (s stream) say(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeMax)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// tell sends what the browser does not have. The id of an event is all marks that it
// has then.
func (s stream) tell(topics []*topic, marks []string) error {
	for i, t := range topics {
		v := t.now()
		if v.Mark == "" || v.Mark == marks[i] {
			continue
		}
		marks[i] = v.Mark
		if err := s.say("id: " + strings.Join(marks, ",") + "\nevent: page\ndata: " + v.data + "\n\n"); err != nil {
			return err
		}
	}
	return nil
}

func (l *live) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == StreamsMax {
		return false
	}
	l.streams++
	return true
}

func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams--
}

// see begins to follow a page: wake gets an element when it has changed. The topic ends
// with its last viewer.
func (l *live) see(key topicKey, wake chan struct{}) (t *topic, done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t = l.topics[key]
	if t == nil {
		ctx, stop := context.WithCancel(access.With(l.stopping, access.Caller{Who: access.Pages, View: key.view}))
		t = &topic{topicKey: key, stop: stop}
		l.topics[key] = t
		go l.follow(ctx, t)
	}
	t.viewers++
	drop := t.changed.Add(func(struct{}) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	return t, func() {
		drop()
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.viewers--; t.viewers == 0 {
			t.stop()
			delete(l.topics, key)
		}
	}
}

// pause is the time between two versions of a page: it grows with the browsers that are
// pushed to, so that what these cost has a bound.
func (l *live) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pages.every * time.Duration(1+l.streams/streamsPerPause)
}

// follow makes the page again and again.
func (l *live) follow(ctx context.Context, t *topic) {
	wait := func(<-chan struct{}) error { return backoff.Sleep(ctx, l.pause()) }
	news := make(chan struct{}, 1)
	if id, ok := strings.CutPrefix(pathOf(t.address), "/runs/"); ok {
		go l.watch(ctx, id, news)
		wait = func(news <-chan struct{}) error {
			if err := backoff.Sleep(ctx, l.pause()); err != nil {
				return err
			}
			select {
			case <-news:
			case <-time.After(runEvery):
			case <-ctx.Done():
			}
			return ctx.Err()
		}
	}
	for {
		if v, ok := l.render(ctx, t.address); ok && v.Mark != t.now().Mark {
			t.mu.Lock()
			t.newest = v
			t.mu.Unlock()
			t.changed.Call(struct{}{})
		}
		if wait(news) != nil {
			return
		}
	}
}

func pathOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Path
}

// watch says when there is something new in a run's history.
func (l *live) watch(ctx context.Context, runID string, news chan<- struct{}) {
	var after uint64
	for ctx.Err() == nil {
		stream, err := l.pages.Client.WatchRun(ctx, connect.NewRequest(&api.WatchRunRequest{RunId: runID, AfterEntry: after}))
		if err == nil {
			for stream.Receive() {
				after = max(after, stream.Msg().GetEntry())
				select {
				case news <- struct{}{}:
				default:
				}
			}
			_ = stream.Close()
		}
		_ = backoff.Sleep(ctx, runEvery) // it has ended, and may be replayed
	}
}

// elapsed is what a browser counts on by itself.
var elapsed = regexp.MustCompile(`data-since="[^"]*">[^<]*<`)

// render makes a page as a browser that reloads it would get it, and returns what is in
// its main element. A page that cannot be made now is none.
func (l *live) render(ctx context.Context, address string) (version, bool) {
	select {
	case l.renders <- struct{}{}:
		defer func() { <-l.renders }()
	case <-ctx.Done():
		return version{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, renderMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/ui"+address, nil)
	if err != nil {
		return version{}, false
	}
	page := &made{header: http.Header{}, status: http.StatusOK}
	l.pages.routes.ServeHTTP(page, r)
	_, rest, begins := strings.Cut(page.body.String(), `<main id="main">`)
	main, _, ends := strings.Cut(rest, "</main>")
	if page.status >= http.StatusInternalServerError || !begins || !ends {
		return version{}, false
	}
	sum := sha256.Sum256(elapsed.ReplaceAll([]byte(main), nil))
	v := version{See: address, Mark: base64.RawURLEncoding.EncodeToString(sum[:9]), At: l.pages.now().UTC(), HTML: main}
	data, err := json.Marshal(v)
	v.data = string(data)
	return v, err == nil
}

// made is a page in memory.
type made struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *made) Header() http.Header            { return m.header }
func (m *made) WriteHeader(status int)         { m.status = status }
func (m *made) Write(data []byte) (int, error) { return m.body.Write(data) }
