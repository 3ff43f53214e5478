package worker

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/actors/gateway"
	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/actors/tracing"
	engine "github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/messages"
)

// measured is the worker's metrics, and who serves them, nothing for a worker without
// MetricsListen; and the spans of its steps.
type measured struct {
	metrics *metrics.Worker
	server  *gateway.Beside
	serving atomic.Pointer[engine.Worker]
	// spans is nil unless the environment asks for them, tracer if there are none.
	spans  *tracing.Provider
	tracer trace.Tracer
}

// measure begins to serve the metrics, and to make spans.
func (w *Worker) measure(ctx context.Context) (*measured, error) {
	m := &measured{}
	err := m.trace(ctx, w.config)
	if err == nil && w.config.MetricsListen != "" {
		err = w.serveMetrics(ctx, m)
	}
	if err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

// trace has the spans go where the configuration says, or the environment.
func (m *measured) trace(ctx context.Context, c Config) (err error) {
	if c.TracerProvider != nil {
		m.tracer = c.TracerProvider.Tracer(tracing.Scope)
		return nil
	}
	m.spans, err = tracing.FromEnvironment(ctx, tracing.Process{Service: "limpet-worker", Instance: c.ID, Logger: c.Logger})
	m.tracer = m.spans.Tracer()
	return err
}

func (w *Worker) serveMetrics(ctx context.Context, m *measured) error {
	m.metrics = metrics.NewWorker(w.config.ID, w.config.Pool, m.load, m.spans.Figures)
	var err error
	if m.server, err = gateway.StartMetrics(ctx, w.config.MetricsListen, w.config.Secret, m.metrics.Handler()); err != nil {
		return err
	}
	at := m.server.Address()
	w.metricsAt.Store(&at)
	w.config.Logger.Info("metrics are served", "worker", w.config.ID, "at", "http://"+at+"/metrics")
	return nil
}

func (m *measured) stop() {
	m.server.Stop()
	m.spans.Stop()
}

// hooks count; nil if nothing is counted.
func (m *measured) hooks() *engine.Hooks {
	if m.metrics == nil {
		return nil
	}
	return m.metrics.Hooks()
}

// load is the worker's last report; nil before it serves.
func (m *measured) load() *messages.LoadReport {
	if w := m.serving.Load(); w != nil {
		return w.Load()
	}
	return nil
}
