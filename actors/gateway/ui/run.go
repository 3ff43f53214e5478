package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// previewBytes of a payload are shown; the rest can be had as a file.
	previewBytes = 4 << 10
	// shownAttempts are listed, the last ones.
	shownAttempts = 200
)

type runPage struct {
	*api.GetRunResponse
	Told  string
	Graph *graph
	// Waits says that a call of a step waits.
	Waits    bool
	Progress []progressLine
	Input    preview
	Outputs  map[string]preview
	Timeline *timeline
	Attempts []*api.Attempt
	// Left is how many attempts come before those that are listed.
	Left    int
	History *history
	Log     runLog
}

// progressLine is what a step has told of how far it is.
type progressLine struct {
	*api.Step
	Told preview
}

// preview is the beginning of a payload.
type preview struct {
	Text string
	Size int
	// More says that there is more than the preview.
	More bool
}

func previewOf(payload []byte) preview {
	p := preview{Size: len(payload)}
	if e, ok := messages.ParseEncoded(payload); ok {
		p.Text = fmt.Sprintf("%d bytes, encoded: the command line decodes them, with --codec", len(e.Data))
		return p
	}
	shown := payload
	var indented bytes.Buffer
	if len(payload) <= previewBytes && json.Indent(&indented, payload, "", "  ") == nil && indented.Len() <= previewBytes {
		shown = indented.Bytes()
	}
	if len(shown) > previewBytes {
		shown, p.More = shown[:previewBytes], true
		for len(shown) > 0 && !utf8.Valid(shown[max(0, len(shown)-utf8.UTFMax):]) {
			shown = shown[:len(shown)-1] // not within a character
		}
	}
	p.Text = string(shown)
	return p
}

func (p *pages) run(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	resp, err := p.Client.GetRun(r.Context(), connect.NewRequest(&api.GetRunRequest{RunId: id}))
	if err != nil {
		return nil, err
	}
	run := resp.Msg
	attempts, err := p.Client.ListAttempts(r.Context(), connect.NewRequest(&api.ListAttemptsRequest{RunId: id}))
	if err != nil {
		return nil, err
	}
	h, err := p.history(r.Context(), run)
	if err != nil {
		return nil, err
	}
	page := runPage{GetRunResponse: run, Told: told(r), Graph: drawGraph(nodesOfRun(run.GetSteps())), Input: previewOf(run.GetRun().GetInput()), Outputs: map[string]preview{}, History: h, Log: p.log(r.Context(), id)}
	for _, s := range run.GetSteps() {
		if len(s.GetOutput()) > 0 {
			page.Outputs[s.GetName()] = previewOf(s.GetOutput())
		}
		if len(s.GetProgress()) > 0 {
			page.Progress = append(page.Progress, progressLine{s, previewOf(s.GetProgress())})
		}
		page.Waits = page.Waits || len(s.GetWaits()) > 0
	}
	story := tell(run, attempts.Msg, p.now())
	page.Timeline = draw(story, windowOf(r.URL.Query()))
	more := max(0, len(story.attempts)-shownAttempts)
	page.Attempts, page.Left = story.attempts[more:], more+int(attempts.Msg.GetLeftOut())
	return p.show(r, "run", "Run "+id, "runs", page)
}

// payload is the input of a run, or the output of a step, as a file.
func (p *pages) payload(r *http.Request) (answer, error) {
	id, step := r.URL.Query().Get("run"), r.URL.Query().Get("step")
	resp, err := p.Client.GetRun(r.Context(), connect.NewRequest(&api.GetRunRequest{RunId: id}))
	if err != nil {
		return nil, err
	}
	data, found := resp.Msg.GetRun().GetInput(), step == ""
	for _, s := range resp.Msg.GetSteps() {
		if s.GetName() == step {
			data, found = s.GetOutput(), true
		}
	}
	if !found {
		return nil, messages.Errorf(messages.CodeUnknownStep, "run %s has no step %q", id, step)
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", `attachment; filename="payload.json"`)
		_, _ = w.Write(data) // the browser has gone
	}, nil
}
