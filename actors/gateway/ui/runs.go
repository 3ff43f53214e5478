package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// PageRuns is how many runs a page of the list has.
const PageRuns = 50

// statuses that the list can be narrowed to, in the order of the chips.
var statuses = []messages.RunStatus{
	messages.RunStatus_RUN_STATUS_RUNNING, messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED,
	messages.RunStatus_RUN_STATUS_CANCELED, messages.RunStatus_RUN_STATUS_SET_ASIDE,
}

// filters of the list, as they stand in the address.
type filters struct {
	// Search is the id of a run, or an entry of metadata, key=value.
	Search, Workflow, Worker, Parent string
	Statuses                         []string
}

type runsPage struct {
	Told    string
	Filters filters
	Chips   []chip
	Runs    []*api.Run
	Next    string // the address of the next page; empty at the end
	First   string // of the first one; empty on it
}

// chip turns a status on or off.
type chip struct {
	Status, Address string
	On              bool
	// Count is how many there are; empty if they were not counted.
	Count string
}

func filtersOf(q url.Values) filters {
	return filters{Search: strings.TrimSpace(q.Get("q")), Workflow: q.Get("workflow"), Worker: q.Get("worker"), Parent: q.Get("parent"), Statuses: q["status"]}
}

// address of the list with these filters, and from a page token on.
func (f filters) address(token string) string {
	q := url.Values{}
	for key, value := range map[string]string{"q": f.Search, "workflow": f.Workflow, "worker": f.Worker, "parent": f.Parent, "page": token} {
		if value != "" {
			q.Set(key, value)
		}
	}
	for _, s := range f.Statuses {
		q.Add("status", s)
	}
	return "?" + q.Encode()
}

// request is the call of the API.
func (f filters) request(token string) (*api.ListRunsRequest, error) {
	r := &api.ListRunsRequest{Workflow: f.Workflow, WorkerId: f.Worker, ParentRun: f.Parent, PageSize: PageRuns, PageToken: token}
	for _, s := range f.Statuses {
		value, ok := messages.RunStatus_value["RUN_STATUS_"+strings.ToUpper(s)]
		if !ok || value == 0 {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "status %q is none: it is one of running, succeeded, failed, canceled, set_aside", s)
		}
		r.Statuses = append(r.Statuses, messages.RunStatus(value))
	}
	if key, value, ok := strings.Cut(f.Search, "="); ok {
		r.Metadata = map[string]string{strings.TrimSpace(key): strings.TrimSpace(value)}
	}
	return r, nil
}

func (p *pages) runs(r *http.Request) (answer, error) {
	q := r.URL.Query()
	f := filtersOf(q)
	if f.Search != "" && !strings.Contains(f.Search, "=") {
		// An id: its page says so if there is no such run.
		return p.redirect(p.base + "/runs/" + url.PathEscape(f.Search)), nil
	}
	request, err := f.request(q.Get("page"))
	if err != nil {
		return nil, err
	}
	resp, err := p.Client.ListRuns(r.Context(), connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	page := runsPage{Told: told(r), Filters: f, Runs: resp.Msg.GetRuns()}
	counted, err := p.Client.CountRuns(r.Context(), connect.NewRequest(&api.CountRunsRequest{
		Workflow: f.Workflow, WorkerId: f.Worker, ParentRun: f.Parent, Metadata: request.GetMetadata(),
	}))
	if err != nil {
		return nil, err
	}
	for _, s := range statuses {
		page.Chips = append(page.Chips, f.chip(s, counted.Msg.GetCounts()))
	}
	if token := resp.Msg.GetNextPageToken(); token != "" {
		page.Next = f.address(token)
	}
	if q.Get("page") != "" {
		page.First = f.address("")
	}
	return p.show(r, "runs", "Runs", "runs", page)
}

// chip is the list with one status more, or less.
func (f filters) chip(s messages.RunStatus, counts []*api.StatusCount) chip {
	status, count := statusWord(s), "0"
	if f.Worker != "" && s != messages.RunStatus_RUN_STATUS_RUNNING && s != messages.RunStatus_RUN_STATUS_SET_ASIDE {
		count = "" // a run that has ended is bound to no worker
	}
	for _, c := range counts {
		if c.GetStatus() == s {
			count = countText(c)
		}
	}
	on := slices.Contains(f.Statuses, status)
	other := f
	if on {
		other.Statuses = slices.DeleteFunc(slices.Clone(f.Statuses), func(s string) bool { return s == status })
	} else {
		other.Statuses = append(slices.Clone(f.Statuses), status)
	}
	return chip{status, other.address(""), on, count}
}

func countText(c *api.StatusCount) string {
	if c.GetMore() {
		return grouped(c.GetRuns()) + "+"
	}
	return grouped(c.GetRuns())
}

// grouped is a number with its thousands set apart.
func grouped(n int32) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

func (p *pages) redirect(to string) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusSeeOther)
	}
}
