package gateway

import (
	"context"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// What else a process may show beside the API, each on a port of its own: the
// metrics of a worker, the profiles of a server.

// Beside is a small HTTP server beside the API.
type Beside struct {
	listener net.Listener
	http     *http.Server
}

// CheckMetrics returns what is wrong with an address for metrics: INVALID_ARGUMENT,
// or SECRET_REQUIRED as for the API.
func CheckMetrics(address, secret string) error {
	return checkListen("metrics address", address, secret)
}

// StartMetrics serves GET /metrics to who may call the API: with the secret, if
// there is one. Errors are those of CheckMetrics, and ADDRESS_IN_USE.
func StartMetrics(ctx context.Context, address, secret string, metrics http.Handler) (*Beside, error) {
	if err := CheckMetrics(address, secret); err != nil {
		return nil, err
	}
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", metrics)
	return startBeside(ctx, "metrics address", address, access.NewSecretDoors(secret), metricsRoute, routes)
}

// CheckProfiles returns INVALID_ARGUMENT for an address that others than this
// machine reach: a profile shows what is in memory, and costs time.
func CheckProfiles(address string) error {
	if err := cluster.CheckAddress("profiles address", address); err != nil {
		return err
	}
	if !cluster.IsLoopback(address) {
		return messages.Errorf(messages.CodeInvalidArgument, "profiles address %s is beyond loopback: give one of 127.0.0.1, and reach it through a tunnel", address)
	}
	return nil
}

// StartProfiles serves the profiles of this process, /debug/pprof/, to who has the
// secret, if there is one: they show what is in memory. Errors are those of
// CheckProfiles, and ADDRESS_IN_USE.
func StartProfiles(ctx context.Context, address, secret string) (*Beside, error) {
	if err := CheckProfiles(address); err != nil {
		return nil, err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /debug/pprof/", pprof.Index)
	routes.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	routes.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	routes.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	routes.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	routes.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return startBeside(ctx, "profiles address", address, access.NewSecretDoors(secret), "GET /debug/pprof/", routes)
}

func startBeside(ctx context.Context, what, address string, doors access.Doors, route string, routes http.Handler) (*Beside, error) {
	listener, err := listen(ctx, what, address)
	if err != nil {
		return nil, err
	}
	b := &Beside{listener: listener, http: &http.Server{
		Handler:           newGuard(doors, nil, route, cluster.IsLoopback(address), listener.Addr().String(), routes),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}}
	go func() { _ = b.http.Serve(listener) }() // it ends with Stop
	return b, nil
}

// Address is the host:port that it listens on.
func (b *Beside) Address() string { return b.listener.Addr().String() }

// Stop breaks off what is being answered. Of nil it does nothing.
func (b *Beside) Stop() {
	if b != nil {
		_ = b.http.Close() // the listener with it
	}
}
