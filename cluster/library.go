package cluster

import (
	"context"
	"log/slog"
	"net"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"
)

func topologyMember(m Member) *protocluster.Member {
	host, port := hostPort(m.Address)
	// No kinds: the library's member strategies, which are skewed and racy,
	// stay unused.
	return &protocluster.Member{Id: m.ID, Host: host, Port: int32(port)}
}

// libraryLogger passes the library's records on as debug ones, but errors.
func libraryLogger(l *slog.Logger) func(*actor.ActorSystem) *slog.Logger {
	quiet := slog.New(lowered{l.Handler()})
	return func(*actor.ActorSystem) *slog.Logger { return quiet.With("library", "protoactor") }
}

// lowered is a handler for which everything below an error is debugging.
type lowered struct{ slog.Handler }

func (h lowered) lower(l slog.Level) slog.Level {
	if l < slog.LevelError {
		return min(l, slog.LevelDebug)
	}
	return l
}

func (h lowered) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, h.lower(l))
}

func (h lowered) Handle(ctx context.Context, r slog.Record) error {
	r.Level = h.lower(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h lowered) WithAttrs(a []slog.Attr) slog.Handler { return lowered{h.Handler.WithAttrs(a)} }
func (h lowered) WithGroup(g string) slog.Handler      { return lowered{h.Handler.WithGroup(g)} }

// hostPort splits an address for the library, which wants the parts.
func hostPort(address string) (string, int) {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	return host, number
}
