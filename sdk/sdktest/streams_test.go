package sdktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// writing is a workflow of one step that writes.
func writing(config sdk.StepConfig, write func(ctx sdk.Context) error) *sdk.Workflow[int] {
	w := sdk.NewWorkflow[int]("write", sdk.WorkflowConfig{Sticky: sdk.Soft})
	config.Backoff = time.Millisecond
	sdk.AddStep(w, "write", func(ctx sdk.Context, _ int) (int, error) { return 1, write(ctx) }, config)
	return w
}

// read is what a stream has, as "1.1:text …", and why it ended.
func read(t *testing.T, run *sdk.Run, name string, options *sdk.ReadStreamOptions) (string, error) {
	t.Helper()
	var out []string
	for piece, err := range run.ReadStream(t.Context(), name, options) {
		if err != nil {
			return strings.Join(out, " "), err
		}
		out = append(out, fmt.Sprintf("%s:%s", piece.StreamPlace, piece.Data))
	}
	return strings.Join(out, " "), nil
}

func wantStream(t *testing.T, run *sdk.Run, options *sdk.ReadStreamOptions, want string) {
	t.Helper()
	if got, err := read(t, run, "tokens", options); err != nil || got != want {
		t.Errorf("%+v: %q, %v, want %q", options, got, err, want)
	}
}

// TestAStreamIsReadWhileItIsWritten, from any place, and afterwards; a retry begins a
// section of its own.
func TestAStreamIsReadWhileItIsWritten(t *testing.T) {
	said := make(chan string)
	w := writing(sdk.StepConfig{Retries: 1}, func(ctx sdk.Context) error {
		for text := range said {
			if text == "fail" {
				return errors.New("again")
			}
			if _, err := fmt.Fprint(ctx.Stream("tokens"), text); err != nil {
				return err
			}
			if _, err := ctx.Stream("tokens").Write(nil); err != nil { // which is no piece
				return err
			}
		}
		return nil
	})
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 1)
	said <- "Hel"
	n := 0
	for piece, err := range run.ReadStream(t.Context(), "tokens", &sdk.ReadStreamOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; piece.Step != "write" || piece.Attempt != piece.Section {
			t.Errorf("piece %s is of %s, attempt %d", piece.StreamPlace, piece.Step, piece.Attempt)
		}
		switch n { // each is read before the next is written
		case 1:
			said <- "lo\x00\xff"
		case 2:
			said <- "fail"
			said <- "Hello"
		case 3:
			close(said)
		}
	}
	const all = "1.1:Hel 1.2:lo\x00\xff 2.1:Hello"
	if n != 3 {
		t.Errorf("%d pieces came", n)
	}
	wantStream(t, run, nil, all)
	wantStream(t, run, &sdk.ReadStreamOptions{Follow: true}, all)
	wantStream(t, run, &sdk.ReadStreamOptions{From: sdk.StreamPlace{Section: 1, Number: 2}}, "1.2:lo\x00\xff 2.1:Hello")
	wantStream(t, run, &sdk.ReadStreamOptions{From: sdk.StreamPlace{Section: 1, Number: 3}}, "2.1:Hello")
	wantStream(t, run, &sdk.ReadStreamOptions{From: sdk.StreamPlace{Section: 2, Number: 2}}, "")
	for _, ahead := range []sdk.StreamPlace{{Section: 1, Number: 4}, {Section: 2, Number: 3}, {Section: 3, Number: 1}, {Section: -1}} {
		if got, err := read(t, run, "tokens", &sdk.ReadStreamOptions{From: ahead}); !errors.Is(err, sdk.ErrInvalidArgument) || got != "" {
			t.Errorf("from %s: %q, %v", ahead, got, err)
		}
	}
	if _, err := read(t, run, "token", nil); !errors.Is(err, sdk.ErrUnknownStream) || !strings.Contains(err.Error(), `did you mean "tokens"?`) {
		t.Errorf("another stream: %v", err)
	}
	if _, err := read(t, e.Client().Run("none"), "tokens", &sdk.ReadStreamOptions{Follow: true}); !errors.Is(err, sdk.ErrUnknownRun) {
		t.Errorf("another run: %v", err)
	}
	got, err := run.Get(t.Context())
	if err != nil || len(got.GetStreams()) != 1 {
		t.Fatal(got, err)
	}
	if s := got.GetStreams()[0]; s.GetName() != "tokens" || s.GetSections() != 2 || s.GetPieces() != 3 || s.GetBytes() != 12 || s.GetOpen() || s.GetAttempt() != 2 {
		t.Errorf("the run shows %v", s)
	}
}

// TestWhatAStepWroteIsThereWhenItHasEnded, failed or waits.
func TestWhatAStepWroteIsThereWhenItHasEnded(t *testing.T) {
	w := writing(sdk.StepConfig{Retries: 1}, func(ctx sdk.Context) error {
		if ctx.Attempt() == 1 {
			_, _ = ctx.Stream("tokens").WriteString("a")
			return errors.New("again")
		}
		_, err := sdk.Do(ctx, "once", func(ctx sdk.Context) (int, error) {
			return ctx.Stream("tokens").WriteString("b")
		})
		if err != nil {
			return err
		}
		if _, err := ctx.Stream("tokens").WriteString("c"); err != nil {
			return err
		}
		_, err = sdk.Receive[int](ctx, "go")
		return err
	})
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 1)
	untilEvent(t, run, func(ev *messages.Event) bool { return ev.GetCallWaits() != nil })
	wantStream(t, run, nil, "1.1:a 2.1:b 2.2:c")
	if err := run.Signal(t.Context(), "go", 1); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	wantStream(t, run, nil, "1.1:a 2.1:b 2.2:c")
}

// TestStreamsAreBounded in bytes, and each piece is; what does not fit is refused with a
// code that names the limit, and nothing of it is kept.
func TestStreamsAreBounded(t *testing.T) {
	piece := make([]byte, 1<<20)
	w := writing(sdk.StepConfig{}, func(ctx sdk.Context) error {
		s := ctx.Stream("tokens")
		if _, err := s.Write(make([]byte, messages.StreamPieceBytesMax+1)); !errors.Is(err, sdk.ErrPayloadTooLarge) || !strings.Contains(err.Error(), "StreamPieceBytesMax") {
			return fmt.Errorf("a large piece: %w", err)
		}
		if _, err := ctx.Stream("no name").Write(piece); !errors.Is(err, sdk.ErrInvalidArgument) {
			return fmt.Errorf("a bad name: %w", err)
		}
		for range 16 {
			if _, err := s.Write(piece); err != nil {
				return err
			}
		}
		if err := s.Flush(); err != nil {
			return err
		}
		for range 2 {
			if _, err := s.WriteString("x"); !errors.Is(err, sdk.ErrLimitExceeded) || !strings.Contains(err.Error(), "StreamBytesMax") {
				return fmt.Errorf("more than there may be: %w", err)
			}
		}
		return nil
	})
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 1)
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, bytes := 0, 0
	for p, err := range run.ReadStream(t.Context(), "tokens") {
		if err != nil {
			t.Fatal(err)
		}
		n, bytes = n+1, bytes+len(p.Data)
	}
	if n != 16 || bytes != 16<<20 {
		t.Errorf("%d pieces, %d bytes", n, bytes)
	}
}

// TestOneStepAtATimeWrites: another one is refused, and fails if it was not told.
func TestOneStepAtATimeWrites(t *testing.T) {
	w := sdk.NewWorkflow[int]("write", sdk.WorkflowConfig{Sticky: sdk.Soft})
	began, over := make(chan bool), make(chan bool)
	sdk.AddStep(w, "first", func(ctx sdk.Context, _ int) (int, error) {
		_, _ = ctx.Stream("tokens").WriteString("a")
		err := ctx.Stream("tokens").Flush()
		close(began)
		<-over
		return 1, err
	})
	sdk.AddStep(w, "second", func(ctx sdk.Context, _ int) (int, error) {
		<-began
		defer close(over)
		if _, err := ctx.Stream("tokens").WriteString("b"); err != nil {
			return 0, err
		}
		if err := ctx.Stream("tokens").Flush(); !errors.Is(err, sdk.ErrStreamInUse) {
			return 0, fmt.Errorf("a stream that another step writes: %w", err)
		}
		return 1, nil
	})
	sdk.AddStep(w, "untold", func(ctx sdk.Context, _ int) (int, error) {
		<-began
		_, err := ctx.Stream("tokens").WriteString("c")
		return 1, err
	}, sdk.StepConfig{})
	e := sdktest.Start(t, sdktest.Config{}, w)
	run := startOf(t, e, w, 1)
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrStreamInUse) && !strings.Contains(fmt.Sprint(err), "STREAM_IN_USE") {
		t.Errorf("the run: %v", err)
	}
	wantStream(t, run, nil, "1.1:a")
}

// TestAStreamSurvivesItsWorker, as far as that was sent, and readers go on with the next
// attempt.
func TestAStreamSurvivesItsWorker(t *testing.T) {
	w := writing(sdk.StepConfig{}, func(ctx sdk.Context) error {
		if _, err := ctx.Stream("tokens").WriteString(ctx.WorkerID()); err != nil || ctx.Attempt() > 1 {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	run := startOf(t, e, w, 1)
	var got []string
	for piece, err := range run.ReadStream(t.Context(), "tokens", &sdk.ReadStreamOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, fmt.Sprintf("%s:%s", piece.StreamPlace, piece.Data)); len(got) == 1 {
			if err := e.KillWorker(string(piece.Data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if all := strings.Join(got, " "); all != "1.1:w1 2.1:w2" && all != "1.1:w2 2.1:w1" {
		t.Errorf("the stream is %s", all)
	}
}

// TestAContextOfATestHasStreams.
func TestAContextOfATestHasStreams(t *testing.T) {
	var wrote bytes.Buffer
	ctx, err := sdktest.Context(t.Context(), sdktest.Attempt{Streams: map[string]io.Writer{"tokens": &wrote}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokens", "other", "tokens"} {
		if _, err := io.WriteString(ctx.Stream(name), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := ctx.Stream("tokens").Flush(); err != nil || wrote.String() != "tokenstokens" {
		t.Errorf("%q, %v", wrote.String(), err)
	}
}
