package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// tokens is the stream that runs of StreamedRuns write: streamPieces pieces, one
	// every streamPace, the first before all begin together.
	tokens       = "tokens"
	streamPieces = 1000
	streamPace   = 2 * time.Millisecond
	// flushedEvery of them is flushed; the next one says when that was stored.
	flushedEvery = 100
)

// streamedWorkflow writes pieces that say when they were written, in microseconds since
// the Unix epoch, and when the one before was durable, or 0.
func streamedWorkflow(sticky string, l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow(StreamedRuns, sticky)
	sdk.AddStep(w, "writes", recorded(l, func(ctx sdk.Context, _ Input) error {
		out := ctx.Stream(tokens)
		var durable int64
		for n := range streamPieces {
			if _, err := fmt.Fprintf(out, "%d %d", time.Now().UnixMicro(), durable); err != nil {
				return err
			}
			if durable = 0; n%flushedEvery == 0 {
				if err := out.Flush(); err != nil {
					return err
				}
				durable = time.Now().UnixMicro()
			}
			if n > 0 {
				if err := backoff.Sleep(ctx, streamPace); err != nil {
					return err
				}
			} else if _, err := sdk.Receive[bool](ctx, goSignal); err != nil {
				return err
			}
		}
		return nil
	}))
	return w
}

// Streamed measures how far readers are behind steps that write streams.
func Streamed(ctx context.Context, config Config) (*StreamedFigures, error) {
	var figures *StreamedFigures
	err := on(ctx, config, flushEvery, config.workerNames(), func(r *rig) error {
		c := r.config
		figures = &StreamedFigures{Workload: c.Workload, Store: c.Store, Sticky: c.Sticky, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots, Limits: r.limits}
		return r.streamed(ctx, figures)
	})
	return figures, err
}

// streamed has readers follow all runs, which go on when all of them are there.
func (r *rig) streamed(ctx context.Context, f *StreamedFigures) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runs, err := startAll(ctx, r, streamedWorkflow(r.config.Sticky, nil), make([]Input, r.config.Runs))
	if err != nil {
		return err
	}
	readers := make([]streamReader, len(runs))
	var coming, reading sync.WaitGroup
	coming.Add(len(runs))
	for i := range readers {
		reading.Go(func() {
			there := sync.OnceFunc(coming.Done)
			defer there()
			if err := readers[i].follow(ctx, r.clients[i%len(r.clients)].Run(runs[i]), there); err != nil {
				cancel(err)
			}
		})
	}
	coming.Wait()
	began := time.Now()
	for i, id := range runs {
		if err := r.clients[i%len(r.clients)].Run(id).Signal(ctx, goSignal, true); err != nil {
			cancel(err)
			break
		}
	}
	reading.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	f.PiecesPerS, f.ProcessesDied = perSecond(len(runs)*(streamPieces-1), time.Since(began)), int(r.died.Load())
	f.of(readers)
	if f.PiecesWrong != 0 || f.ProcessesDied != 0 {
		return messages.Errorf(messages.CodeInternal, "%d pieces are missing or came twice, %d processes died", f.PiecesWrong, f.ProcessesDied)
	}
	return nil
}

// streamReader is one that follows a run.
type streamReader struct {
	pieces int
	// From when a piece was written until it was read; of those that were flushed, also
	// until that was durable.
	read, flushed, durable []time.Duration
}

// follow reads until the run has ended. there is called with the first piece, of which
// nothing is measured: readers are not there yet.
func (s *streamReader) follow(ctx context.Context, run *sdk.Run, there func()) error {
	var last time.Duration
	var lastAt int64
	for piece, err := range run.ReadStream(ctx, tokens, &sdk.ReadStreamOptions{Follow: true}) {
		if err != nil {
			return err
		}
		now := time.Now().UnixMicro()
		var at, durable int64
		if _, err := fmt.Sscan(string(piece.Data), &at, &durable); err != nil {
			return messages.Errorf(messages.CodeInternal, "piece %s of run %s is %q: %w", piece.StreamPlace, run.ID(), piece.Data, err)
		}
		if s.pieces++; s.pieces == 1 {
			there()
			continue
		}
		if durable != 0 && lastAt != 0 {
			s.flushed = append(s.flushed, last)
			s.durable = append(s.durable, time.Duration(durable-lastAt)*time.Microsecond)
		}
		last, lastAt = time.Duration(now-at)*time.Microsecond, at
		s.read = append(s.read, last)
	}
	return nil
}

// StreamedFigures are the result of Streamed.
type StreamedFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Sticky   string `json:"sticky"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`

	PiecesPerS float64 `json:"pieces_per_s"`
	// From when a piece was written until its reader had it; pieces are gathered.
	P50Ms float64 `json:"p50_ms"`
	P95Ms float64 `json:"p95_ms"`
	P99Ms float64 `json:"p99_ms"`
	// Of those that were flushed, which are not gathered: until the reader had it, and
	// until the step knew that it was durable.
	Flushed      int     `json:"flushed"`
	FlushedP50Ms float64 `json:"flushed_p50_ms"`
	FlushedP99Ms float64 `json:"flushed_p99_ms"`
	DurableP50Ms float64 `json:"durable_p50_ms"`
	DurableP99Ms float64 `json:"durable_p99_ms"`
	// ReadRatio is FlushedP50Ms against DurableP50Ms.
	ReadRatio float64 `json:"read_ratio"`
	// PiecesWrong are missing or came twice.
	PiecesWrong   int `json:"pieces_wrong"`
	ProcessesDied int `json:"processes_died"`

	*Limits
}

func (f *StreamedFigures) of(readers []streamReader) {
	var read, flushed, durable []time.Duration
	for i := range readers {
		s := &readers[i]
		f.PiecesWrong += max(s.pieces-streamPieces, streamPieces-s.pieces)
		read, flushed, durable = append(read, s.read...), append(flushed, s.flushed...), append(durable, s.durable...)
	}
	for _, all := range [][]time.Duration{read, flushed, durable} {
		slices.Sort(all)
	}
	f.P50Ms, f.P95Ms, f.P99Ms = percentile(read, 50), percentile(read, 95), percentile(read, 99)
	f.Flushed, f.FlushedP50Ms, f.FlushedP99Ms = len(flushed), percentile(flushed, 50), percentile(flushed, 99)
	f.DurableP50Ms, f.DurableP99Ms = percentile(durable, 50), percentile(durable, 99)
	if f.DurableP50Ms > 0 {
		f.ReadRatio = round(f.FlushedP50Ms/f.DurableP50Ms, 3)
	}
}

// Table shows the figures to eyes.
func (f *StreamedFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d %s runs write %d pieces each, one every %s, on %s, %d servers, %d workers x %d slots", f.Runs, strings.ToUpper(f.Sticky), streamPieces, streamPace, f.Store, f.Servers, f.Workers, f.Slots)
	row("rate", "%.0f pieces /s", f.PiecesPerS)
	row("read", "p50 %.3f ms   p95 %.3f ms   p99 %.3f ms after it was written", f.P50Ms, f.P95Ms, f.P99Ms)
	row("flushed", "read p50 %.3f ms   p99 %.3f ms   durable p50 %.3f ms   p99 %.3f ms of %d   %.3f times as long until it is read", f.FlushedP50Ms, f.FlushedP99Ms, f.DurableP50Ms, f.DurableP99Ms, f.Flushed, f.ReadRatio)
	row("wrong", "pieces missing or twice: %d   processes died: %d", f.PiecesWrong, f.ProcessesDied)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}
