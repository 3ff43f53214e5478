package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
)

// Colours of a terminal.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
	dim    = "2"
	bold   = "1"
)

// colored says whether a stream gets colours.
func (c *cli) colored(terminal bool) bool {
	switch c.color {
	case "always":
		return true
	case "never":
		return false
	}
	return terminal && c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb"
}

// cell of a table; the colour does not count for its width.
type cell struct {
	text  string
	color string
}

func plain(text string) cell { return cell{text: text} }

func number[N int32 | int64 | uint64](n N) cell { return cell{text: fmt.Sprint(n)} }

// nonZero leaves out a zero.
func nonZero[N int32 | uint64](n N) cell {
	if n == 0 {
		return cell{}
	}
	return number(n)
}

// table is printed with columns as wide as their widest cell; empty columns
// are left out.
type table struct {
	header []string
	rows   [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (c *cli) printTable(t *table) {
	width := make([]int, len(t.header))
	for _, row := range t.rows {
		for i := range row {
			row[i].text = printable(row[i].text)
			width[i] = max(width[i], utf8.RuneCountInString(row[i].text))
		}
	}
	head := make([]cell, len(t.header))
	for i, h := range t.header {
		head[i] = cell{h, bold}
		if width[i] > 0 {
			width[i] = max(width[i], len(h))
		}
	}
	for _, row := range append([][]cell{head}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if width[i] == 0 {
				continue
			}
			line.WriteString(string(c.out.paint(cell.color, cell.text)))
			line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell.text)+2))
		}
		c.out.printf("%s\n", styled(strings.TrimRight(line.String(), " ")))
	}
}

// printJSON prints a message of the API for programs, over several lines.
func (c *cli) printJSON(m proto.Message) error {
	data, err := messageJSON(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out.raw(), out.String())
	return err
}

// printJSONLine prints it on one line.
func (c *cli) printJSONLine(m proto.Message) error {
	data, err := messageJSON(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out.raw(), string(data))
	return err
}

func statusName(s messages.RunStatus) string {
	if word := enumWord(s.Descriptor().Values().ByNumber(s.Number())); word != "" {
		return word
	}
	return s.String() // of a later version, or none
}

func stickyName(s messages.Sticky) string { return strings.TrimPrefix(s.String(), "STICKY_") }

func statusCell(s messages.RunStatus) cell { return cell{statusName(s), phaseColor(statusName(s))} }

// phaseColor colours a run's status, a step's phase and a worker's state.
func phaseColor(phase string) string {
	switch phase {
	case "succeeded", "up", "ready":
		return green
	case "failed", "gone", "set-aside":
		return red
	case "canceled", "skipped", "draining", "backoff", "joining":
		return yellow
	case "running", "dispatched":
		return cyan
	}
	return ""
}

// clock shows a time by day and second; empty for none.
func (c *cli) clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().In(c.zone).Format("2006-01-02 15:04:05")
}

// moment shows a time by day and millisecond; empty for none.
func (c *cli) moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().In(c.zone).Format("2006-01-02 15:04:05.000")
}

// lasted shows the time from one moment to another, or to now.
func (c *cli) lasted(from, to *timestamppb.Timestamp) string {
	if from == nil {
		return ""
	}
	end := c.now()
	if to != nil {
		end = to.AsTime()
	}
	return span(end.Sub(from.AsTime()))
}

// span shows a duration with about three digits.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond / 10).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	case d < 24*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// failureText is a failure on one line.
func failureText(f *messages.Failure) string {
	if f == nil {
		return ""
	}
	line, _, _ := strings.Cut(f.GetMessage(), "\n")
	return f.GetCode() + ": " + line
}

// briefly cuts a payload for a table; of one that is encoded nobody wants to see the
// beginning.
func briefly(payload []byte, runes int) string {
	if e, ok := messages.ParseEncoded(payload); ok {
		return fmt.Sprintf("%d bytes, encoded (--codec decodes them)", len(e.Data))
	}
	return brief(string(payload), runes)
}

// brief cuts a text for a table.
func brief(s string, runes int) string {
	if utf8.RuneCountInString(s) <= runes {
		return s
	}
	return string([]rune(s)[:runes-1]) + "…"
}
