package tracing

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/limpetrun/limpet/messages"
)

// Process says whose spans they are.
type Process struct {
	// Service is the name unless OTEL_SERVICE_NAME gives another.
	Service string
	// Instance is the id of the server or the worker.
	Instance string
	// Logger is told when spans are lost. Defaults to slog.Default().
	Logger *slog.Logger
}

// FromEnvironment makes the provider that the variables of the OpenTelemetry
// specification ask for; nil for none. They are on by
//
//	OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_TRACES_EXPORTER=otlp
//
// and off by OTEL_TRACES_EXPORTER=none or OTEL_SDK_DISABLED=true. The protocol is
// http/protobuf, or grpc by OTEL_EXPORTER_OTLP_PROTOCOL. The others are as the SDK has
// them: OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_SCHEDULE_DELAY and so
// on. Errors: INVALID_ARGUMENT for a value that is not known.
func FromEnvironment(ctx context.Context, of Process) (*Provider, error) {
	on, err := wanted()
	if err != nil || !on {
		return nil, err
	}
	exporter, err := exporterOf(ctx, variable("PROTOCOL"))
	if err != nil {
		return nil, err
	}
	return New(ctx, of, exporter), nil
}

func wanted() (bool, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch name := os.Getenv("OTEL_TRACES_EXPORTER"); name {
	case "":
		return variable("ENDPOINT") != "", nil
	case "otlp":
		return true, nil
	case "none":
		return false, nil
	default:
		return false, messages.Errorf(messages.CodeInvalidArgument, "OTEL_TRACES_EXPORTER is %q: must be otlp or none", name)
	}
}

// variable of the exporter: that of traces alone goes first.
func variable(name string) string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
}

// exporterOf connects to nobody yet.
func exporterOf(ctx context.Context, protocol string) (sdktrace.SpanExporter, error) {
	switch protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, messages.Errorf(messages.CodeInvalidArgument, "OTEL_EXPORTER_OTLP_PROTOCOL is %q: must be http/protobuf or grpc", protocol)
}

// resourceOf is the process; what the environment says of it goes first.
func resourceOf(ctx context.Context, of Process) *resource.Resource {
	r, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", of.Service), attribute.String("service.instance.id", of.Instance)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		of.Logger.Warn("not all of the variables that describe the service of spans could be read", "error", err)
	}
	return r
}
