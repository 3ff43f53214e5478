package ui

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/messages/api"
)

// Sizes of the timeline, in units of its own; it is scaled to the page.
const (
	timelineWidth = 1000
	rowHeight     = 18
	rowGap        = 4
	laneHead      = 18 // the name of the worker
	laneGap       = 8
	axisHeight    = 22
	// rowsMax, lanesMax and barsMax bound what is drawn.
	rowsMax  = 12
	lanesMax = 50
	barsMax  = 2000
	marksMax = 500
	// waitsDrawn of one attempt are drawn, the last ones.
	waitsDrawn = 50
	// narrow bars at one place are drawn as one.
	narrow = 3
	ticks  = 5
)

// timeline is a picture of a run: a lane for each process of a worker.
type timeline struct {
	Width, Height int
	Lanes         []drawnLane
	Arrows        []arrow
	Marks         []mark
	Ticks         []tick
	Folds         []box
	Controls      []control
	// Left is how many attempts are not drawn.
	Left int
}

type drawnLane struct {
	of     lane
	Name   string
	Y      int
	Height int
	// Bands are the bindings, behind the attempts; away ones are hatched.
	Bands []box
	Bars  []box
	// narrows are the bars that more may be drawn as, by their place.
	narrows map[int]int
}

// mark is a moment: a line through its lane with a sign at its foot.
type mark struct {
	X, Y1, Y2    int
	Class, Title string
	// Sign is what stands at the head of the line.
	Sign string
}

// signs of marks by their class.
var signs = map[string]string{"lost": "✕", "handoff": "⇄", "rebuild": "↻", "drain": "▽", "joined": "▲", "left": "▼"}

// box is drawn; its title is what a pointer, or a screen reader, is told.
type box struct {
	X, Y, W, H   int
	Class, Title string
	Label        string
	// Run is whose attempt it is, where several runs are drawn.
	Run   string
	count int
}

type arrow struct {
	X, Y1, Y2 int
	// Head is the tip, as points of a polygon; Label is why, where there is room.
	Head, Title, Label string
	// Left says that the label stands left of the line.
	Left bool
}

type tick struct {
	X     int
	Label string
}

// draw makes the picture of a part of a story; nil if there is nothing to see.
func draw(s story, w window) *timeline {
	lanes := s.lanes()
	if len(lanes) == 0 {
		return nil
	}
	from, to := s.from, s.to
	if w.To > 0 {
		from, to = s.from.Add(seconds(w.From)), s.from.Add(seconds(w.To))
	}
	if !to.After(from) {
		to = from.Add(windowMin)
	}
	sc := scaleOf(from, to, w.Fold, s.busy())
	t := &timeline{Width: timelineWidth, Controls: w.controls(max(s.to.Sub(s.from), windowMin).Seconds())}
	y := axisHeight
	heads := map[lane]int{}
	for i, l := range lanes[max(0, len(lanes)-lanesMax):] {
		d := drawnLane{of: l, Name: l.worker + " (" + l.incarnation + ")", Y: y, narrows: map[int]int{}}
		heads[l] = y
		rows := t.bars(&d, s, l, s.waitsIn(l, i == len(lanes)-1), sc)
		d.Height = laneHead + max(1, rows)*(rowHeight+rowGap)
		d.bands(s, l, sc)
		t.Lanes = append(t.Lanes, d)
		y += d.Height + laneGap
	}
	t.Height = y
	t.arrows(s, heads, sc)
	t.marks(s, sc)
	t.ticks(s, from, to, w.Fold)
	for _, p := range sc {
		if p.folded {
			t.Folds = append(t.Folds, box{X: int(p.x0), Y: 0, W: foldedWidth, H: y, Title: "folded: " + spanText(p.to.Sub(p.from)) + ", from +" + spanText(p.from.Sub(s.from))})
		}
	}
	return t
}

// ticks are times since the beginning, or those of the clock for a worker.
func (t *timeline) ticks(s story, from, to time.Time, fold bool) {
	if fold {
		return
	}
	for i := range ticks + 1 {
		at := from.Add(to.Sub(from) * time.Duration(i) / ticks)
		label := "+" + spanText(at.Sub(s.from))
		if s.runs {
			label = at.UTC().Format("15:04:05")
		}
		t.Ticks = append(t.Ticks, tick{timelineWidth * i / ticks, label})
	}
}

// marks draws moments in their lanes.
func (t *timeline) marks(s story, sc scale) {
	at := map[lane]int{}
	for i, l := range t.Lanes {
		at[l.of] = i
	}
	for _, m := range s.marks {
		i, there := at[m.lane]
		if !there || !sc.shows(m.at, m.at) || len(t.Marks) == marksMax {
			continue
		}
		l := t.Lanes[i]
		t.Marks = append(t.Marks, mark{X: sc.x(m.at), Y1: l.Y, Y2: l.Y + l.Height, Class: m.class, Title: m.title + ", at " + m.at.UTC().Format("15:04:05.000"), Sign: signs[m.class]})
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e9) * float64(time.Second))
}

// busy are the times in which an attempt was somewhere.
func (s *story) busy() []busy {
	var all []busy
	for _, a := range s.attempts {
		all = append(all, busy{a.GetSentAt().AsTime(), timeOr(a.GetEndedAt(), s.to)})
	}
	return all
}

func (t *timeline) arrows(s story, heads map[lane]int, sc scale) {
	for _, b := range s.bindings {
		y1, there := heads[laneFrom(b)]
		at := b.GetAt().AsTime()
		if !there || laneFrom(b) == laneTo(b) || !sc.shows(at, at) {
			continue
		}
		x, y2 := sc.x(at), heads[laneTo(b)]+laneHead
		y1 += laneHead
		tip := 8
		if y2 < y1 {
			tip = -tip
		}
		t.Arrows = append(t.Arrows, arrow{X: x, Y1: y1, Y2: y2, Head: fmt.Sprintf("%d,%d %d,%d %d,%d", x-5, y2-tip, x+5, y2-tip, x, y2), Left: x > timelineWidth*3/4,
			Title: fmt.Sprintf("moved from %s to %s: %s", b.GetFromWorker(), b.GetWorkerId(), b.GetReason().Words()), Label: b.GetReason().Words()})
	}
}

// bars draws the attempts of a lane in rows, so that none covers another one that
// was there at the same time, and says how many rows there are. Beyond rowsMax
// they share the last one.
func (t *timeline) bars(d *drawnLane, s story, l lane, waits map[attemptKey][]*api.StepWait, sc scale) int {
	var free []time.Time // by row: when its last bar ends
	place := func(from, to time.Time) int {
		row := 0
		for row < len(free) && row < rowsMax-1 && free[row].After(from) {
			row++
		}
		if row == len(free) {
			free = append(free, time.Time{})
		}
		free[row] = to
		return row
	}
	for _, a := range s.attempts {
		key := attemptKey{a.GetStep(), a.GetNumber()}
		from, to := a.GetSentAt().AsTime(), timeOr(a.GetEndedAt(), s.to)
		for _, w := range waits[key] {
			from, to = earlier(from, w.GetFrom().AsTime()), later(to, timeOr(w.GetUntil(), s.to))
		}
		if laneOf(a) != l || !sc.shows(from, to) {
			continue
		}
		if len(d.Bars) >= barsMax {
			t.Left++
			continue
		}
		if x, w := sc.x(from), sc.x(to)-sc.x(from); w < narrow && d.merge(a, x) {
			continue
		}
		row := place(from, to)
		d.bar(a, row, s.to, sc)
		d.waits(waits[key], row, s.to, sc)
	}
	for key, open := range waits {
		if key.number == 0 {
			d.waits(open, place(open[0].GetFrom().AsTime(), s.to), s.to, sc)
		}
	}
	return len(free)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// merge draws an attempt that is narrow with one that is where it would be.
func (d *drawnLane) merge(a *api.Attempt, x int) bool {
	i, there := d.narrows[x/narrow]
	if !there {
		d.narrows[x/narrow] = len(d.Bars)
		return false
	}
	b := &d.Bars[i]
	if b.count == 0 {
		b.count = 1
	}
	b.count++
	b.Run = ""
	b.Title = fmt.Sprintf("%d attempts; zoom in to tell them apart", b.count)
	if a.GetOutcome() != "succeeded" {
		b.Class = a.GetOutcome()
	}
	return true
}

// waits draws when an attempt waited, hatched, with what for.
func (d *drawnLane) waits(all []*api.StepWait, row int, now time.Time, sc scale) {
	for _, w := range all[max(0, len(all)-waitsDrawn):] {
		from, to := w.GetFrom().AsTime(), timeOr(w.GetUntil(), now)
		if !sc.shows(from, to) {
			continue
		}
		title := w.GetStep()
		if w.GetAttempt() > 0 {
			title += fmt.Sprintf(", attempt %d", w.GetAttempt())
		}
		x := sc.x(from)
		d.Bars = append(d.Bars, box{X: x, Y: d.rowY(row), W: max(sc.x(to)-x, 1), H: rowHeight, Class: "waits",
			Title: fmt.Sprintf("%s waits %s (%s): %s", title, spanText(to.Sub(from)), w.GetReason(), w.GetWaitingFor())})
	}
}

func (d *drawnLane) rowY(row int) int { return d.Y + laneHead + row*(rowHeight+rowGap) }

// bar draws an attempt from when it started, as far as that is known.
func (d *drawnLane) bar(a *api.Attempt, row int, now time.Time, sc scale) {
	title := fmt.Sprintf("%s, attempt %d: %s", a.GetStep(), a.GetNumber(), a.GetOutcome())
	if a.GetRunId() != "" {
		title = a.GetWorkflow() + " " + a.GetRunId() + ", " + title
	}
	if a.GetWhy() != "" {
		title += ", " + a.GetWhy()
	}
	if took := attemptTook(a); took != "" {
		title += ", ran " + took
	}
	class := a.GetOutcome()
	if a.GetRebuild() {
		class += " rebuild"
	}
	from := sc.x(timeOr(a.GetStartedAt(), a.GetSentAt().AsTime()))
	w := max(sc.x(timeOr(a.GetEndedAt(), now))-from, narrow)
	label := ""
	if w > 9*len(a.GetStep()) {
		label = a.GetStep()
	}
	d.Bars = append(d.Bars, box{X: min(from, timelineWidth-w), Y: d.rowY(row), W: w, H: rowHeight, Class: class, Title: title, Label: label, Run: a.GetRunId()})
}

// bands draws when the run was bound to the lane, and when its worker was away.
func (d *drawnLane) bands(s story, l lane, sc scale) {
	for i, b := range s.bindings {
		if laneTo(b) != l {
			continue
		}
		end := timeOr(b.GetUntil(), s.to)
		if b.GetLostAt() != nil { // it was the run's until the next one
			end = s.to
			if i+1 < len(s.bindings) {
				end = s.bindings[i+1].GetAt().AsTime()
			}
		}
		band := func(from, to time.Time, class, title string) {
			if sc.shows(from, to) {
				x := sc.x(from)
				d.Bands = append(d.Bands, box{X: x, Y: d.Y, W: max(sc.x(to)-x, 1), H: d.Height, Class: class, Title: title})
			}
		}
		there := timeOr(b.GetLostAt(), end)
		band(b.GetAt().AsTime(), there, "bound", fmt.Sprintf("bound to %s, epoch %d", b.GetWorkerId(), b.GetEpoch()))
		if b.GetLostAt() != nil {
			band(there, end, "away", fmt.Sprintf("%s cannot be used: %s", b.GetWorkerId(), b.GetLostReason().Words()))
		}
	}
}
