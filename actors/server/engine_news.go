package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// places are how far the news of each server are told, by its name, which is another one
// for each process.
type places map[string]uint64

// position is the places as clients have them.
func (p places) position() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s %d\n", name, p[name])
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text.String()))
}

// placesOf reads a position. INVALID_ARGUMENT for what is none.
func placesOf(position string) (places, error) {
	wrong := messages.Errorf(messages.CodeInvalidArgument, "position %.100q is not one of a watch: give one that a response had, or none", position)
	text, err := base64.RawURLEncoding.DecodeString(position)
	if err != nil {
		return nil, wrong
	}
	p := places{}
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if p[name], err = strconv.ParseUint(number, 10, 64); err != nil {
			return nil, wrong
		}
	}
	return p, nil
}

// newsWatch follows the news of all servers for one caller.
type newsWatch struct {
	engine *Engine
	topics []string
	// places are how far each server is told of; following ends the following of one,
	// which has begun with its first answer.
	places    places
	following map[string]context.CancelFunc
	begun     map[string]bool
	news      chan newsFrom
	each      func(*api.WatchResponse) error
}

// newsFrom is an answer of a server; nil when it is gone.
type newsFrom struct {
	server string
	reply  *messages.WatchNewsReply
}

// Watch calls each with what happens in the cluster, by topics: after a position, or from
// now on. Servers are asked by long polls: runs are told of by the server that owns them,
// workers and members by this one. It ends with the context, or with the error of each.
func (e *Engine) Watch(ctx context.Context, topics []string, position string, each func(*api.WatchResponse) error) error {
	known, err := placesOf(position)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &newsWatch{engine: e, topics: topics, places: known, following: map[string]context.CancelFunc{}, begun: map[string]bool{}, news: make(chan newsFrom), each: each}
	changed := make(chan struct{}, 1)
	defer e.host.cfg.Node.Subscribe(func(*cluster.View) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	if err := w.follow(ctx, e.host.cfg.Node.View(), position == ""); err != nil {
		return err
	}
	for {
		select {
		case <-changed:
			err = w.follow(ctx, e.host.cfg.Node.View(), false)
		case n := <-w.news:
			err = w.tell(n)
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-e.host.ctx.Done():
			err = messages.Errorf(messages.CodeUnavailable, "the server is stopping")
		}
		if err != nil {
			return err
		}
	}
}

// follow follows the servers of a view, and no others: those that are not known from now
// on, or from their first news.
func (w *newsWatch) follow(ctx context.Context, v *cluster.View, now bool) error {
	there := map[string]bool{}
	for _, m := range v.Members {
		if m.Role != cluster.RoleServer {
			continue
		}
		there[m.Name] = true
		if w.following[m.Name] != nil {
			continue
		}
		topics := w.topicsOf(m)
		if len(topics) == 0 {
			continue
		}
		if _, known := w.places[m.Name]; !known {
			w.places[m.Name] = 0 // from its first news
		}
		each, stop := context.WithCancel(ctx)
		w.following[m.Name] = stop
		go w.poll(each, m, &messages.WatchNews{After: w.places[m.Name], FromNow: now, Topics: topics})
	}
	for _, name := range slices.Sorted(maps.Keys(w.places)) {
		if there[name] {
			continue
		}
		if stop := w.following[name]; stop != nil {
			stop()
		}
		delete(w.following, name)
		delete(w.begun, name)
		delete(w.places, name)
		if err := w.say("gap", name); err != nil {
			return err
		}
	}
	return nil
}

// topicsOf are those that a server is asked for. What all see this server tells.
func (w *newsWatch) topicsOf(m cluster.Member) []string {
	wanted := w.topics
	if len(wanted) == 0 {
		wanted = []string{api.TopicRuns, api.TopicWorkers, api.TopicMembers}
	}
	if m.Name == w.engine.host.cfg.Node.Self().Name {
		return wanted
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(t string) bool { return t != api.TopicRuns })
}

// poll asks a server again and again.
func (w *newsWatch) poll(ctx context.Context, m cluster.Member, ask *messages.WatchNews) {
	for ctx.Err() == nil {
		ask = &messages.WatchNews{After: ask.After, FromNow: ask.FromNow, Topics: ask.Topics, WaitMs: farWatch.Milliseconds()}
		reply, err := w.ask(ctx, m, ask)
		if err != nil {
			if !w.engine.pause(ctx) {
				return
			}
			continue
		}
		select {
		case w.news <- newsFrom{m.Name, reply}:
			ask.After, ask.FromNow = reply.Last, false
		case <-ctx.Done():
		}
	}
}

func (w *newsWatch) ask(ctx context.Context, m cluster.Member, ask *messages.WatchNews) (*messages.WatchNewsReply, error) {
	if m.Name == w.engine.host.cfg.Node.Self().Name {
		return w.engine.host.news.await(ctx, ask), ctx.Err()
	}
	return askHost[*messages.WatchNewsReply](ctx, w.engine, m, ask, hostTry+farWatch)
}

// tell passes an answer on.
func (w *newsWatch) tell(n newsFrom) error {
	if w.following[n.server] == nil {
		return nil // it is gone
	}
	if n.reply.Gap || !w.begun[n.server] {
		if len(n.reply.News) == 0 {
			w.places[n.server] = n.reply.Last
		}
		kind := "begins"
		if n.reply.Gap {
			kind = "gap"
		}
		if err := w.say(kind, n.server); err != nil {
			return err
		}
	}
	w.begun[n.server] = true
	for _, item := range n.reply.News {
		w.places[n.server] = item.Number
		r := projection.News(item)
		r.Server, r.Position = n.server, w.places.position()
		if err := w.each(r); err != nil {
			return err
		}
	}
	w.places[n.server] = n.reply.Last
	return nil
}

// say tells of the stream itself.
func (w *newsWatch) say(kind, server string) error {
	return w.each(&api.WatchResponse{Position: w.places.position(), At: api.Moment(w.engine.host.clock.Now()), Topic: api.TopicWatch, Kind: kind, Server: server})
}
