package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Screen prints what happens, a line each; on a terminal the last line shows
// where the demo stands.
type Screen struct {
	out      io.Writer
	terminal bool
	begin    time.Time

	mu sync.Mutex
	// shown is the status line on the terminal now.
	shown string
}

// NewScreen makes a screen; without a terminal the status line is left out.
func NewScreen(out io.Writer, terminal bool) *Screen {
	return &Screen{out: out, terminal: terminal, begin: time.Now()}
}

// Line prints a line with the time since the beginning.
func (s *Screen) Line(format string, args ...any) {
	s.print(fmt.Sprintf("%6.2fs  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...)))
}

// Text prints text as it is.
func (s *Screen) Text(text string) { s.print(text) }

func (s *Screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown != "" {
		text = "\r\x1b[K" + text + s.shown
	}
	_, _ = io.WriteString(s.out, text)
}

// Status replaces the status line; empty removes it.
func (s *Screen) Status(text string) {
	if !s.terminal {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = text
	_, _ = io.WriteString(s.out, "\r\x1b[K"+text)
}

// bar of a width, filled to done of all.
func bar(done, all, width int) string {
	filled := 0
	if all > 0 {
		filled = width * done / all
	}
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}

func statusName(s messages.RunStatus) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATUS_")), "_", " ")
}

func span(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
