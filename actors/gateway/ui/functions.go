package ui

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// functions are what the templates call.
func (p *pages) functions() template.FuncMap {
	return template.FuncMap{
		"at":     func(t *timestamppb.Timestamp) string { return dateText(t) },
		"iso":    func(t *timestamppb.Timestamp) string { return isoMoment(t) },
		"ago":    func(t *timestamppb.Timestamp) string { return p.ago(t) },
		"took":   func(from, to *timestamppb.Timestamp) took { return p.took(from, to) },
		"path":   url.PathEscape,
		"sum":    func(a, b int) int { return a + b },
		"span":   func(d *durationpb.Duration) string { return spanText(d.AsDuration()) },
		"list":   func(base string, choose bool, runs []*api.Run) listed { return listed{base, choose, runs} },
		"drawn":  func(base, name string, t *timeline) drawing { return drawing{base, name, t} },
		"status": func(s messages.RunStatus) string { return statusWord(s) },
		"sticky": func(s messages.Sticky) string { return strings.TrimPrefix(s.String(), "STICKY_") },
		"ran":    attemptTook,
		"clock":  func(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format("15:04:05.000") },
		"reason": func(r messages.Reason) string { return r.Words() },
		"short":  func(hash string) string { return hash[:min(len(hash), 12)] },
		"bytes":  sizeText,
		"fail":   failureText,
	}
}

// listed are runs in a table; Choose lets some be chosen.
type listed struct {
	Base   string
	Choose bool
	Runs   []*api.Run
}

// drawing is a timeline with its name.
type drawing struct {
	Base, Name string
	Timeline   *timeline
}

// dateText is a time as pages show it, in UTC.
func dateText(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format("2006-01-02 15:04:05")
}

func isoMoment(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// ago is how long ago a time was.
func (p *pages) ago(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return spanText(p.now().Sub(t.AsTime())) + " ago"
}

// took is a time that something took; one that has not ended began at Since,
// milliseconds since 1970, and the browser counts on.
type took struct {
	Since int64
	Text  string
}

// took is the time between two; to now if it has not ended.
func (p *pages) took(from, to *timestamppb.Timestamp) took {
	switch {
	case from == nil:
		return took{}
	case to == nil:
		return took{from.AsTime().UnixMilli(), spanText(p.now().Sub(from.AsTime()))}
	}
	return took{Text: spanText(to.AsTime().Sub(from.AsTime()))}
}

// spanText is a duration in at most two units.
func spanText(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// statusWord is a status as `limpet` and the labels have it.
func statusWord(s messages.RunStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATUS_"))
}

func sizeText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

func failureText(f *messages.Failure) string {
	if f == nil {
		return ""
	}
	return f.GetCode() + ": " + f.GetMessage()
}
