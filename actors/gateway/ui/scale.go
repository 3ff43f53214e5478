package ui

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	// foldedShare of a window that nothing happens in is folded, to foldedWidth.
	foldedShare = 0.05
	foldedWidth = 14
	// windowMin is the shortest time that is zoomed into.
	windowMin = time.Millisecond
)

// window is the part of a run that is drawn, as it stands in the address: seconds since
// its start. A To of zero is the end.
type window struct {
	From, To float64
	// Fold says that times in which nothing happens are folded.
	Fold bool
}

func windowOf(q url.Values) window {
	seconds := func(name string) float64 {
		v, err := strconv.ParseFloat(q.Get(name), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return 0
		}
		return v
	}
	w := window{From: seconds("from"), To: seconds("to"), Fold: q.Get("fold") != ""}
	if w.To <= w.From {
		w.From, w.To = 0, 0
	}
	return w
}

func (w window) address() string {
	q := url.Values{}
	if w.To > 0 {
		q.Set("from", strconv.FormatFloat(w.From, 'f', 3, 64))
		q.Set("to", strconv.FormatFloat(w.To, 'f', 3, 64))
	}
	if w.Fold {
		q.Set("fold", "yes")
	}
	return "?" + q.Encode()
}

// control is a link that shows another window.
type control struct{ Text, Address string }

// controls of a picture of a run that took so many seconds.
func (w window) controls(all float64) []control {
	from, to := w.From, w.To
	if to == 0 {
		to = all
	}
	span := to - from
	at := func(from, span float64) string {
		span = max(span, windowMin.Seconds())
		if span >= all {
			return window{Fold: w.Fold}.address()
		}
		from = min(max(from, 0), all-span)
		return window{from, from + span, w.Fold}.address()
	}
	folded := window{w.From, w.To, !w.Fold}
	text := map[bool]string{false: "Fold idle time", true: "Show idle time"}[w.Fold]
	return []control{
		{"Zoom in", at(from+span/4, span/2)}, {"Zoom out", at(from-span/2, span*2)}, {"Earlier", at(from-span/2, span)}, {"Later", at(from+span/2, span)},
		{"All of it", window{Fold: w.Fold}.address()}, {text, folded.address()},
	}
}

// piece is a stretch of time and where it is drawn.
type piece struct {
	from, to time.Time
	x0, x1   float64
	folded   bool
}

// scale maps times to units. What is before or after all pieces is at an edge.
type scale []piece

func (s scale) x(t time.Time) int {
	for _, p := range s {
		if !t.After(p.to) {
			share := float64(t.Sub(p.from)) / float64(max(p.to.Sub(p.from), 1))
			return int(p.x0 + max(share, 0)*(p.x1-p.x0))
		}
	}
	return timelineWidth
}

// shows says whether any of a stretch of time is drawn.
func (s scale) shows(from, to time.Time) bool {
	return !to.Before(s[0].from) && !from.After(s[len(s)-1].to)
}

// busy is a stretch in which something happens.
type busy struct{ from, to time.Time }

// scaleOf makes the scale of a window; with folding, of times that are not busy and take
// a good part of it little is left.
func scaleOf(from, to time.Time, fold bool, all []busy) scale {
	whole := scale{{from: from, to: to, x1: timelineWidth}}
	if !fold {
		return whole
	}
	slices.SortFunc(all, func(a, b busy) int { return a.from.Compare(b.from) })
	least := time.Duration(float64(to.Sub(from)) * foldedShare)
	var s scale
	at := from
	idle := func(until time.Time) {
		if until.Sub(at) > least {
			s = append(s, piece{from: at, to: until, folded: true})
			at = until
		}
	}
	for _, b := range all {
		if b.to.Before(at) || b.from.After(to) {
			continue
		}
		if b.from.After(at) {
			idle(b.from)
		}
		end := b.to
		if end.After(to) {
			end = to
		}
		if n := len(s); n > 0 && !s[n-1].folded {
			s[n-1].to = end
		} else {
			s = append(s, piece{from: at, to: end})
		}
		at = end
	}
	idle(to)
	if n := len(s); n == 0 || n == 1 && s[0].folded {
		return whole
	} else if s[n-1].to.Before(to) {
		s[n-1].to = to
	}
	return s.placed()
}

// placed gives each piece its place: a folded one little, the others by their time.
func (s scale) placed() scale {
	room, shown := float64(timelineWidth), time.Duration(0)
	for _, p := range s {
		if p.folded {
			room -= foldedWidth
		} else {
			shown += p.to.Sub(p.from)
		}
	}
	x := 0.0
	for i := range s {
		width := float64(foldedWidth)
		if !s[i].folded {
			width = room * float64(s[i].to.Sub(s[i].from)) / float64(cmp.Or(shown, 1))
		}
		s[i].x0, s[i].x1 = x, x+width
		x += width
	}
	return s
}
