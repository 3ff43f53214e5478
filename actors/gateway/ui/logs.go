package ui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Limits of the logs that a page shows.
const (
	// logBytes of a log are read, from its beginning.
	logBytes = 4 << 20
	// logLines of an attempt are shown, its last ones, and logAttempts of them, the newest.
	logLines    = 100
	logAttempts = 20
)

// attemptLog is what was logged in an attempt, or about it.
type attemptLog struct {
	Step    string
	Attempt int32
	Worker  string
	Lines   []logLine
	// Before is how many lines of it come before those that are shown.
	Before int
	// LeftOut is what the worker did not keep, for the lines were too many.
	LeftOut int64
	// Open is the newest.
	Open bool
}

type logLine struct{ At, Level, Class, Text string }

// runLog is what a page shows of the log of a run.
type runLog struct {
	Attempts []*attemptLog
	// Left are attempts that are not shown; Cut says that the log is longer than what
	// was read.
	Left int
	Cut  bool
}

// log reads the log of a run by attempts, the newest first. What cannot be read is not
// shown: the rest of the page is.
func (p *pages) log(ctx context.Context, runID string) runLog {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := runLog{}
	stream, err := p.Client.ReadLog(ctx, connect.NewRequest(&api.ReadLogRequest{RunId: runID}))
	if err != nil {
		return l
	}
	defer func() { _ = stream.Close() }()
	known := map[attemptKey]*attemptLog{}
	for bytes := 0; stream.Receive(); {
		c := stream.Msg().GetChunk()
		if c == nil {
			continue
		}
		if bytes += chunkBytes(c); bytes > logBytes {
			l.Cut = true
			break
		}
		key := attemptKey{c.GetStep(), c.GetAttempt()}
		a := known[key]
		if a == nil {
			a = &attemptLog{Step: key.step, Attempt: key.number}
			known[key] = a
			l.Attempts = append([]*attemptLog{a}, l.Attempts...)
		}
		a.add(c)
	}
	if n := len(l.Attempts); n > 0 {
		l.Attempts[0].Open = true
		l.Left = max(0, n-logAttempts)
		l.Attempts = l.Attempts[:n-l.Left]
	}
	return l
}

func chunkBytes(c *messages.LogChunk) (bytes int) {
	for _, line := range c.GetLines() {
		bytes += len(line.GetMessage()) + len(line.GetAttributes())
	}
	return bytes
}

func (a *attemptLog) add(c *messages.LogChunk) {
	if w := c.GetWorkerId(); w != "" {
		a.Worker = w
	}
	a.LeftOut = max(a.LeftOut, c.GetLeftOut())
	for _, line := range c.GetLines() {
		text := line.GetMessage()
		if attributes := line.GetAttributes(); attributes != "" {
			text += "  " + attributes
		}
		if line.GetCut() {
			text += " … (cut)"
		}
		level := line.GetLevel()
		class := strings.ToLower(strings.SplitN(level, "+", 2)[0])
		a.Lines = append(a.Lines, logLine{time.UnixMicro(line.GetAtWallUs()).UTC().Format("15:04:05.000"), fmt.Sprintf("%-5s", level), "level-" + class, text})
	}
	if more := len(a.Lines) - logLines; more > 0 {
		a.Before += more
		a.Lines = a.Lines[more:]
	}
}
