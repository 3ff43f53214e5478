package ui

import (
	"context"
	"crypto/hmac"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// tokenFor is how long a form may be looked at before it is sent.
	tokenFor = time.Hour
	// chosenMax is how many runs one form names: a page of the list.
	chosenMax = PageRuns
	// commandBytesMax bounds such a form, escaped as forms are.
	commandBytesMax = 4 << 20
)

// field of a command's form.
type field struct {
	Name, Label, Kind string // Kind is text, area or check
	Required          bool
	Value             string
}

// command is what a page can have done. Each is asked for by a link or a form with GET,
// confirmed on a page of its own, and done by POST: so it needs no script, and nothing
// is done by a link.
type command struct {
	// procedure of the API that it calls.
	procedure   string
	Title, Says string
	// Target is what it is done to: run, worker, workflow, or nothing.
	Target string
	Fields []field
	// Done is said when it was.
	Done string
	do   func(ctx context.Context, p *pages, target string, form url.Values) (result, error)
}

// result of a command.
type result struct {
	Target, Link string
	// Text is what came of it, if there is more to say than that it was done.
	Text string
	// Error is empty if it was done.
	Error, Hint string
}

// commands by their names in forms. Each is a call of the API; an id that is drawn with
// the form lets it be sent twice and done once.
var commands = map[string]command{
	"cancel": {procedure: "CancelRun", Title: "Cancel", Target: "run", Says: "The run is asked to end: what it executes is canceled, and its end step runs unless it is left out.", Done: "The run was asked to end.",
		Fields: []field{{Name: "reason", Label: "Reason, kept in the history", Kind: "text"}, {Name: "without_end", Label: "Without its end step", Kind: "check"}},
		do: func(ctx context.Context, p *pages, run string, form url.Values) (result, error) {
			_, err := p.Client.CancelRun(ctx, connect.NewRequest(&api.CancelRunRequest{RunId: run, Reason: form.Get("reason"), WithoutEndStep: form.Get("without_end") != ""}))
			return result{}, err
		}},
	"replay": {procedure: "ReplayRun", Title: "Replay", Target: "run", Says: "Steps of the run that has ended are executed again, with all that follow from them.", Done: "The run goes on.",
		Fields: []field{{Name: "steps", Label: "Steps, with blanks between; none means all", Kind: "text"}},
		do: func(ctx context.Context, p *pages, run string, form url.Values) (result, error) {
			_, err := p.Client.ReplayRun(ctx, connect.NewRequest(&api.ReplayRunRequest{RunId: run, Steps: strings.Fields(form.Get("steps")), RequestId: form.Get("id")}))
			return result{}, err
		}},
	"signal": {procedure: "SignalRun", Title: "Send a signal", Target: "run", Says: "The message goes into the run's mailbox, where a step receives it.", Done: "The message is in the run's mailbox.",
		Fields: []field{{Name: "name", Label: "Name of the signal", Kind: "text", Required: true}, {Name: "payload", Label: "Payload, in JSON", Kind: "area"}},
		do: func(ctx context.Context, p *pages, run string, form url.Values) (result, error) {
			_, err := p.Client.SignalRun(ctx, connect.NewRequest(&api.SignalRunRequest{RunId: run, Name: form.Get("name"), Payload: payloadOf(form), MessageId: form.Get("id")}))
			return result{}, err
		}},
	"ask": {procedure: "AskRun", Title: "Ask", Target: "run", Says: "The live state of the run is asked on the worker that the run is bound to. It changes nothing.", Done: "The worker has answered.",
		Fields: []field{{Name: "query", Label: "Name of the query", Kind: "text", Required: true}, {Name: "payload", Label: "Argument, in JSON", Kind: "area"}},
		do: func(ctx context.Context, p *pages, run string, form url.Values) (result, error) {
			resp, err := p.Client.AskRun(ctx, connect.NewRequest(&api.AskRunRequest{RunId: run, Query: form.Get("query"), Arg: payloadOf(form)}))
			if err != nil {
				return result{}, err
			}
			return result{Text: fmt.Sprintf("%s, epoch %d, says: %s", resp.Msg.GetWorkerId(), resp.Msg.GetEpoch(), previewOf(resp.Msg.GetAnswer()).Text)}, nil
		}},
	"start": {procedure: "StartRun", Title: "Start a run", Target: "workflow", Says: "A run of the workflow's current version is started.", Done: "The run was started.",
		Fields: []field{{Name: "payload", Label: "Input, in JSON", Kind: "area"}, {Name: "key", Label: "Idempotency key", Kind: "text"}},
		do: func(ctx context.Context, p *pages, workflow string, form url.Values) (result, error) {
			request := &api.StartRunRequest{Workflow: workflow, Input: payloadOf(form), IdempotencyKey: form.Get("key")}
			if request.IdempotencyKey == "" {
				request.RunId = form.Get("id")
			}
			resp, err := p.Client.StartRun(ctx, connect.NewRequest(request))
			if err != nil {
				return result{}, err
			}
			return result{Target: resp.Msg.GetRunId(), Link: p.link("run", resp.Msg.GetRunId())}, nil
		}},
	"event": {procedure: "PushEvent", Title: "Push an event", Says: "Workflows that the event triggers start a run each, and calls that wait for it go on.", Done: "The event was pushed.",
		Fields: []field{{Name: "key", Label: "Key", Kind: "text", Required: true}, {Name: "payload", Label: "Payload, in JSON", Kind: "area"}},
		do:     pushEvent},
	"drain": {procedure: "DrainWorker", Title: "Drain", Target: "worker", Says: "The worker takes on nothing new. SOFT runs leave it, HARD runs are served until the deadline; then what still runs is canceled.", Done: "The worker drains.",
		Fields: []field{{Name: "deadline", Label: "Deadline, such as 10m; none is the worker's own", Kind: "text"}},
		do:     drainWorker},
	"undrain": {procedure: "UndrainWorker", Title: "Undrain", Target: "worker", Says: "The worker takes on new runs again.", Done: "The worker takes on new runs again.",
		do: func(ctx context.Context, p *pages, worker string, _ url.Values) (result, error) {
			_, err := p.Client.UndrainWorker(ctx, connect.NewRequest(&api.UndrainWorkerRequest{WorkerId: worker}))
			return result{}, err
		}},
	"retire": {procedure: "RetireWorkflow", Title: "Retire", Target: "workflow", Says: "The workflow starts no new runs; those that there are go on.", Done: "The workflow is retired.",
		do: func(ctx context.Context, p *pages, workflow string, _ url.Values) (result, error) {
			_, err := p.Client.RetireWorkflow(ctx, connect.NewRequest(&api.RetireWorkflowRequest{Workflow: workflow}))
			return result{}, err
		}},
	"restore": {procedure: "RestoreWorkflow", Title: "Restore", Target: "workflow", Says: "The workflow starts new runs again.", Done: "The workflow starts new runs again.",
		do: func(ctx context.Context, p *pages, workflow string, _ url.Values) (result, error) {
			_, err := p.Client.RestoreWorkflow(ctx, connect.NewRequest(&api.RestoreWorkflowRequest{Workflow: workflow}))
			return result{}, err
		}},
	"use": {procedure: "UseWorkflowVersion", Title: "Use a version", Target: "workflow", Says: "New runs start with this version, until another one is registered that was never there before.", Done: "New runs start with that version.",
		Fields: []field{{Name: "hash", Label: "Hash of the version, or how it begins", Kind: "text", Required: true}},
		do: func(ctx context.Context, p *pages, workflow string, form url.Values) (result, error) {
			_, err := p.Client.UseWorkflowVersion(ctx, connect.NewRequest(&api.UseWorkflowVersionRequest{Workflow: workflow, Hash: form.Get("hash")}))
			return result{}, err
		}},
}

func payloadOf(form url.Values) []byte { return []byte(strings.TrimSpace(form.Get("payload"))) }

func pushEvent(ctx context.Context, p *pages, _ string, form url.Values) (result, error) {
	resp, err := p.Client.PushEvent(ctx, connect.NewRequest(&api.PushEventRequest{Key: form.Get("key"), Payload: payloadOf(form), EventId: form.Get("id")}))
	if err != nil {
		return result{}, err
	}
	text := fmt.Sprintf("It has started %d runs, and %d calls waited for it.", len(resp.Msg.GetRuns()), resp.Msg.GetWaits())
	for _, r := range resp.Msg.GetRefused() {
		text += " " + r.GetWorkflow() + " has started none: " + failureText(r.GetFailure()) + "."
	}
	return result{Text: text}, nil
}

func drainWorker(ctx context.Context, p *pages, worker string, form url.Values) (result, error) {
	request := &api.DrainWorkerRequest{WorkerId: worker}
	if text := strings.TrimSpace(form.Get("deadline")); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return result{}, messages.Errorf(messages.CodeInvalidArgument, "deadline %q is no duration: write it as 90s or 10m", text)
		}
		request.Deadline = durationpb.New(d)
	}
	_, err := p.Client.DrainWorker(ctx, connect.NewRequest(request))
	return result{}, err
}

// link is the page of what a command is done to.
func (p *pages) link(target, name string) string {
	switch target {
	case "run":
		return p.base + "/runs/" + url.PathEscape(name)
	case "worker":
		return p.base + "/workers/" + url.PathEscape(name)
	case "workflow":
		return p.base + "/workflows/" + url.PathEscape(name)
	}
	return p.base + "/"
}

// confirmPage is a form that is to be sent.
type confirmPage struct {
	Do string
	command
	Names       []string
	ID, Token   string
	Back, Count string
}

// asked returns the command of a form and what it is to be done to.
func (p *pages) asked(ctx context.Context, form url.Values) (string, command, []string, error) {
	name := form.Get("do")
	c, ok := commands[name]
	switch {
	case p.ReadOnly:
		return "", command{}, nil, messages.Errorf(messages.CodeUnauthenticated, "this server's pages are for reading only: use the command line, or the pages of another server")
	case !ok:
		return "", command{}, nil, messages.Errorf(messages.CodeInvalidArgument, "%.64q is no command of these pages", name)
	}
	caller, _ := access.From(ctx)
	if refused := caller.Refused(c.Title, access.Procedures[c.procedure]); refused != nil {
		return "", command{}, nil, refused
	}
	if c.Target == "" {
		return name, c, []string{""}, nil
	}
	names := form[c.Target]
	if len(names) == 0 || len(names) > chosenMax {
		return "", command{}, nil, messages.Errorf(messages.CodeInvalidArgument, "%d chosen: choose 1 to %d", len(names), chosenMax)
	}
	return name, c, names, nil
}

// confirm shows what a command is to do, and to what.
func (p *pages) confirm(r *http.Request) (answer, error) {
	q := r.URL.Query()
	name, c, names, err := p.asked(r.Context(), q)
	if err != nil {
		return nil, err
	}
	c.Fields = slices.Clone(c.Fields)
	for i := range c.Fields {
		c.Fields[i].Value = q.Get(c.Fields[i].Name)
	}
	page := confirmPage{Do: name, command: c, Names: names, ID: strings.ToLower(messages.NewRunID()), Token: p.token(r), Back: p.base + "/"}
	if len(names) == 1 {
		page.Back = p.link(c.Target, names[0])
	} else {
		page.Count = strconv.Itoa(len(names))
	}
	return p.show(r, "confirm", c.Title, "commands", page)
}

// done does a command. That the form is of this server was checked before; that it was
// made for this browser, its token says.
func (p *pages) done(r *http.Request) (answer, error) {
	if err := r.ParseForm(); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "the form cannot be read: %w", err)
	}
	if !p.tokenHolds(r) {
		return nil, messages.Errorf(messages.CodeUnauthenticated, "the form is too old, or of another browser: go back, load the page anew and send it again")
	}
	name, c, names, err := p.asked(r.Context(), r.PostForm)
	if err != nil {
		return nil, err
	}
	results := make([]result, len(names))
	failed := false
	for i, target := range names {
		res, err := c.do(r.Context(), p, target, r.PostForm)
		if res.Target == "" && target != "" {
			res.Target, res.Link = target, p.link(c.Target, target)
		}
		if err != nil {
			shown := shownOf(err)
			res.Error, res.Hint, failed = shown.Code+" "+shown.Message, shown.Hint, true
		}
		results[i] = res
	}
	if len(results) == 1 && !failed && results[0].Text == "" {
		return p.redirect(results[0].Link + "?done=" + name), nil
	}
	return p.show(r, "result", c.Title, "commands", map[string]any{"Done": c.Done, "Results": results, "Failed": failed})
}

// told is what a page says of the command that led to it.
func told(r *http.Request) string { return commands[r.URL.Query().Get("done")].Done }

// token ties a form to a browser, for a time. One without a secret has no pass: then
// the guard before the pages is what keeps forms of other web pages away, and the token
// shows that the form was made by this process.
func (p *pages) token(r *http.Request) string {
	end := strconv.FormatInt(p.now().Add(tokenFor).Unix(), 10)
	return end + "." + p.seal("form of "+passOf(r)+" until "+end)
}

func (p *pages) tokenHolds(r *http.Request) bool {
	end, seal, _ := strings.Cut(r.PostForm.Get("token"), ".")
	until, err := strconv.ParseInt(end, 10, 64)
	return err == nil && hmac.Equal([]byte(seal), []byte(p.seal("form of "+passOf(r)+" until "+end))) && p.now().Before(time.Unix(until, 0))
}

func passOf(r *http.Request) string {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return cookie.Value
}
