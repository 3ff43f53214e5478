package main

import (
	"context"
	"log/slog"

	"github.com/limpetrun/limpet/messages"
)

// startServer opens the store and starts a server on it.
func startServer(context.Context, serverFlags, *slog.Logger) (runningServer, error) {
	return nil, messages.Errorf(messages.CodeInternal, "not assembled")
}
