package sdk

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// lineHandler passes records on to the program's own handler, and to the log of the run.
type lineHandler struct {
	base  slog.Handler
	calls attempt.Calls
	// with are the attributes and groups of the logger, for a handler of the line.
	with []func(slog.Handler) slog.Handler
}

// Enabled implements slog.Handler. The log of the run has INFO and above, and what the
// program's handler is for.
func (h *lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.base.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	h.calls.Log(func() *messages.LogLine { return h.line(ctx, r) })
	if !h.base.Enabled(ctx, r.Level) {
		return nil
	}
	return h.base.Handle(ctx, r)
}

// noMessage is how a text handler begins the line of a record without time and message.
const noMessage = `level=INFO msg=""`

func (h *lineHandler) line(ctx context.Context, r slog.Record) *messages.LogLine {
	var text bytes.Buffer
	var handler slog.Handler = slog.NewTextHandler(&text, nil)
	for _, with := range h.with {
		handler = with(handler)
	}
	bare := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	r.Attrs(func(a slog.Attr) bool {
		bare.AddAttrs(a)
		return true
	})
	_ = handler.Handle(ctx, bare) // a buffer takes everything
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	return &messages.LogLine{
		AtWallUs: at.UnixMicro(), Level: r.Level.String(), Message: r.Message,
		Attributes: strings.TrimSpace(strings.TrimPrefix(text.String(), noMessage)),
	}
}

// WithAttrs implements slog.Handler.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(h.base.WithAttrs(attrs), func(line slog.Handler) slog.Handler { return line.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	return h.and(h.base.WithGroup(name), func(line slog.Handler) slog.Handler { return line.WithGroup(name) })
}

func (h *lineHandler) and(base slog.Handler, with func(slog.Handler) slog.Handler) slog.Handler {
	return &lineHandler{base, h.calls, append(h.with[:len(h.with):len(h.with)], with)}
}
