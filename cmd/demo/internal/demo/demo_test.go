package demo

import (
	"context"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
)

// TestMain makes the test's executable a process of the demo where it is
// started as one.
func TestMain(m *testing.M) {
	procs.Main(Roles())
	os.Exit(m.Run())
}

func config(t *testing.T, out *strings.Builder) Config {
	// What the demo leaves behind would fail the test's own clean-up.
	t.Setenv("TMPDIR", t.TempDir())
	return Config{
		Runs: 5, Workers: 2, Slots: 4, Pace: 200 * time.Millisecond, Out: out,
	}
}

// TestDemo plays a short demo: processes, a kill, a verdict.
func TestDemo(t *testing.T) {
	var out strings.Builder
	c := config(t, &out)
	if err := Run(t.Context(), c); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"SIGKILL to worker-", "worker lost", "worker restarted", "kept    HARD never ran on another worker"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// With Keep the cluster stays up, and its dashboard can be opened, until somebody
// interrupts.
func TestADemoThatIsKept(t *testing.T) {
	var out strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := config(t, &out)
	c.Runs, c.Pace, c.Keep = 2, 100*time.Millisecond, true
	status, address := 0, regexp.MustCompile(`http://\S+/ui/`)
	c.Out = lines(func(line string) {
		out.WriteString(line)
		if !strings.Contains(line, "stays up") {
			return
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.FindString(line), nil)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			status = resp.StatusCode
			_ = resp.Body.Close()
		}
		cancel()
	})
	if err := Run(ctx, c); err != nil || status != http.StatusOK {
		t.Errorf("%v, the dashboard answers %d\n%s", err, status, out.String())
	}
	if !strings.Contains(out.String(), "the dashboard is at http://") {
		t.Errorf("where the dashboard is is not said:\n%s", out.String())
	}
}

func TestAnInterruptedDemoLeavesNothing(t *testing.T) {
	var out strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := config(t, &out)
	c.Out = lines(func(line string) {
		if strings.Contains(line, "is bound to") {
			cancel()
		}
	})
	if err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

type lines func(string)

func (l lines) Write(p []byte) (int, error) { l(string(p)); return len(p), nil }

func TestEveryFaultyFlagIsNamed(t *testing.T) {
	err := Config{Pace: -1}.Validate()
	if messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Fatal(err)
	}
	for _, flag := range []string{"--runs", "--workers", "--slots", "--pace"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named: %v", flag, err)
		}
	}
}
