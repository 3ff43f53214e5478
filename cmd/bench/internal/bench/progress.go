package bench

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// quiet is how long a measurement says nothing of itself.
const quiet = 2 * time.Second

// progress shows where a measurement stands, once it takes its time.
type progress struct {
	out      io.Writer
	terminal bool
	begin    time.Time

	mu    sync.Mutex
	shown bool
}

func newProgress(out io.Writer, terminal bool) *progress {
	if out == nil {
		out = io.Discard
	}
	return &progress{out: out, terminal: terminal, begin: time.Now()}
}

// show replaces the line on a terminal, and adds one elsewhere.
func (p *progress) show(format string, args ...any) {
	if time.Since(p.begin) < quiet {
		return
	}
	text := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.terminal {
		fmt.Fprintln(p.out, text)
		return
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", text)
	p.shown = true
}

// line stays.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.out, format+"\n", args...)
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}
