package coded

import (
	"context"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/codec"
)

// Function is a step whose payloads are encoded outside of it.
func Function(c codec.Codec, f attempt.Function) attempt.Function {
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		dispatch, err := opened(c, a.Dispatch)
		if err != nil {
			return nil, err
		}
		plain := *a
		plain.Dispatch, plain.Calls = dispatch, &calls{a.Calls, c}
		out, err := f(ctx, &plain)
		if err != nil {
			return nil, err
		}
		return codec.Seal(c, out)
	}
}

// Query is a query whose argument and answer are encoded outside of it.
func Query(c codec.Codec, f attempt.Query) attempt.Query {
	return func(ctx context.Context, q *attempt.Question) ([]byte, error) {
		ask, err := opened(c, q.Ask)
		if err != nil {
			return nil, err
		}
		plain := *q
		plain.Ask = ask
		answer, err := f(ctx, &plain)
		if err != nil {
			return nil, err
		}
		return codec.Seal(c, answer)
	}
}

// Local is local state that sees inputs decoded, and hands itself off encoded.
func Local(c codec.Codec, l *attempt.Local) *attempt.Local {
	plain := *l
	plain.Bind = func(ctx context.Context, b *attempt.Build) (any, error) {
		build := *b
		var err error
		if build.Dispatch, err = opened(c, b.Dispatch); err != nil {
			return nil, err
		}
		if b.HandedOff != nil {
			if build.HandedOff, err = opened(c, b.HandedOff); err != nil {
				return nil, err
			}
		}
		return l.Bind(ctx, &build)
	}
	if l.Key != nil {
		plain.Key = func(input []byte) (string, error) {
			input, err := codec.Open(c, input)
			if err != nil {
				return "", err
			}
			return l.Key(input)
		}
	}
	if l.Handoff != nil {
		plain.Handoff = func(ctx context.Context, value any) ([]byte, error) {
			data, err := l.Handoff(ctx, value)
			if err != nil {
				return nil, err
			}
			return codec.Seal(c, data)
		}
	}
	return &plain
}

// calls are those of an attempt with payloads encoded on their way out and decoded on
// their way in. What it does not name has no payload.
type calls struct {
	attempt.Calls
	codec codec.Codec
}

func (p *calls) SpawnChild(ctx context.Context, s *messages.SpawnChild) (string, error) {
	s, err := sealed(p.codec, s)
	if err != nil {
		return "", err
	}
	return p.Calls.SpawnChild(ctx, s)
}

func (p *calls) Outputs(ctx context.Context, end *messages.ChildEnd) (map[string][]byte, error) {
	outputs, err := p.Calls.Outputs(ctx, end)
	for name, out := range outputs {
		if outputs[name], err = codec.Open(p.codec, out); err != nil {
			return nil, err
		}
	}
	return outputs, err
}

func (p *calls) RecordedCall(ctx context.Context, name, key string) (*messages.CallRecorded, error) {
	return p.recorded(p.Calls.RecordedCall(ctx, name, key))
}

func (p *calls) RecordCall(ctx context.Context, call *messages.CallRecorded) error {
	call, err := sealed(p.codec, call)
	if err != nil {
		return err
	}
	return p.Calls.RecordCall(ctx, call)
}

func (p *calls) AwaitCall(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	return p.recorded(p.Calls.AwaitCall(ctx, wait))
}

func (p *calls) AwaitAll(ctx context.Context, all *messages.AwaitCall) (*messages.CallRecorded, []*messages.CallRecorded, error) {
	of, parts, err := p.Calls.AwaitAll(ctx, all)
	if err != nil {
		return nil, nil, err
	}
	for i := range parts {
		if parts[i], err = p.recorded(parts[i], nil); err != nil {
			return nil, nil, err
		}
	}
	of, err = p.recorded(of, nil)
	return of, parts, err
}

func (p *calls) SendSignal(ctx context.Context, send *messages.SendSignal) (*messages.CallRecorded, error) {
	send, err := sealed(p.codec, send)
	if err != nil {
		return nil, err
	}
	return p.recorded(p.Calls.SendSignal(ctx, send))
}

func (p *calls) Progress(progress []byte) error {
	progress, err := codec.Seal(p.codec, progress)
	if err != nil {
		return err
	}
	return p.Calls.Progress(progress)
}

func (p *calls) WriteStream(ctx context.Context, stream string, piece []byte) error {
	piece, err := codec.Seal(p.codec, piece)
	if err != nil {
		return err
	}
	return p.Calls.WriteStream(ctx, stream, piece)
}

func (p *calls) recorded(call *messages.CallRecorded, err error) (*messages.CallRecorded, error) {
	if call == nil || err != nil {
		return call, err
	}
	return opened(p.codec, call)
}
