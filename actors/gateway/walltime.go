package gateway

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Times tells engine time, which all that is stored has, from that of the wall
// clock, which people read. Both are nil while they are the same.
type Times interface {
	ToWall() func(engine time.Time) time.Time
	ToEngine() func(wall time.Time) time.Time
	// Steps is how often the wall clock was set since the server started.
	Steps() int
}

// wallTime is the interceptor that gives and takes the times of the wall clock.
type wallTime struct{ times Times }

func (w wallTime) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if m, ok := req.Any().(proto.Message); ok && w.times != nil {
			mapTimes(m, w.times.ToEngine())
		}
		res, err := next(ctx, req)
		if err == nil && w.times != nil {
			// It was made for this call.
			mapTimes(res.Any().(proto.Message), w.times.ToWall())
		}
		return res, err
	}
}

func (w wallTime) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if w.times == nil {
			return next(ctx, conn)
		}
		return next(ctx, wallConn{conn, w.times})
	}
}

func (w wallTime) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

type wallConn struct {
	connect.StreamingHandlerConn
	times Times
}

func (c wallConn) Send(m any) error {
	if to := c.times.ToWall(); to != nil {
		if answer, ok := m.(proto.Message); ok {
			// Its events may be shared.
			answer = proto.Clone(answer)
			mapTimes(answer, to)
			m = answer
		}
	}
	return c.StreamingHandlerConn.Send(m)
}

// microseconds are the fields of events that hold a moment of engine time as a number;
// those that end in _wall_us hold one of the wall clock.
var microseconds = map[protoreflect.Name]bool{
	"at_us": true, "away_us": true, "began_us": true, "created_us": true, "deadline_us": true, "line_since_us": true, "lost_us": true,
	"replayed_us": true, "retry_at_us": true, "since_us": true, "started_us": true, "until_us": true, "wake_at_us": true,
}

// mapTimes replaces each moment in a message; a nil function leaves it.
func mapTimes(m proto.Message, to func(time.Time) time.Time) {
	if to != nil {
		mapMessage(m.ProtoReflect(), to)
	}
}

func mapMessage(m protoreflect.Message, to func(time.Time) time.Time) {
	if at, ok := m.Interface().(*timestamppb.Timestamp); ok {
		if at.IsValid() {
			mapped := timestamppb.New(to(at.AsTime()))
			at.Seconds, at.Nanos = mapped.Seconds, mapped.Nanos
		}
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case microseconds[field.Name()]:
			m.Set(field, protoreflect.ValueOfInt64(to(time.UnixMicro(v.Int())).UnixMicro()))
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range v.List().Len() {
				mapMessage(v.List().Get(i).Message(), to)
			}
		default:
			mapMessage(v.Message(), to)
		}
		return true
	})
}
