package server_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// A server is killed before or after each of the entries that a run makes until it waits,
// or at half of the wait's time. The wait is over at the time that was recorded first, as
// if nothing had happened, whether the worker keeps the step or has let go of it.
func TestAWaitEndsAtItsTimeWhateverIsKilled(t *testing.T) {
	const lasts = 10 * time.Minute
	calls := map[string]*messages.AwaitCall{
		"a sleep": {Kind: messages.CallKind_CALL_KIND_SLEEP, TimeoutMs: 2 * lasts.Milliseconds(), Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_SLEEP, SleepMs: lasts.Milliseconds()}}},
		"a timeout": {Kind: messages.CallKind_CALL_KIND_RECEIVE, TimeoutMs: lasts.Milliseconds(),
			Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: "ok"}}},
	}
	for what, call := range calls {
		for _, method := range []string{"Append", "Appended"} {
			for entry, more := 1, true; more; entry++ {
				more = false
				t.Run(fmt.Sprintf("%s, %s %d", what, method, entry), func(t *testing.T) {
					more = waitOverAKill(t, call, lasts, method, entry)
				})
			}
		}
	}
}

// waitOverAKill says whether the run has made so many entries before it waited.
func waitOverAKill(t *testing.T, call *messages.AwaitCall, lasts time.Duration, method string, entry int) (made bool) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			recorded, err := a.Calls.RecordedCall(ctx, "wait", "#0")
			if recorded == nil && err == nil {
				wait := proto.CloneOf(call)
				wait.Name, wait.Key = "wait", "#0"
				recorded, err = a.Calls.AwaitCall(ctx, wait)
			}
			if err == nil && recorded.GetFailure() != nil && recorded.GetFailure().GetCode() != string(messages.CodeWaitTimeout) {
				err = messages.FromFailure(recorded.GetFailure())
			}
			return []byte("1"), err
		})
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.First = s2
		w.Settled(s1, s2)
		w.Worker("w1", def)
		time.Sleep(time.Second)
		id := w.ownedBy(s1)
		var mu sync.Mutex
		n := 0
		s1.Store.Before(func(m, run string) error {
			mu.Lock()
			defer mu.Unlock()
			if m != method || run != id {
				return nil
			}
			if n++; n < entry {
				return nil
			}
			if n == entry {
				made = true
				go s1.Kill()
			}
			return actorstest.ErrJournalDown
		})
		began := time.Now()
		w.Start(s2, id, def)
		time.Sleep(lasts / 2)
		s1.Kill()
		w.Ends(s2, id, lasts, succeeded)
		// Until another server has taken the run up, it may not have begun to wait.
		if took := time.Since(began); took < lasts || took > lasts+10*time.Second {
			t.Errorf("the run took %v", took)
		}
	})
	return made
}
