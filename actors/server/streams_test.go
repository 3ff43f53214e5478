package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// A reader follows a stream at another server than the one that owns the run, which is
// killed on the way: it gets each piece, once, while others are written.
func TestAStreamIsFollowedAtAnotherServerThanItsOwner(t *testing.T) {
	const pieces = 40
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("write", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			for i := range pieces {
				if err := a.Calls.WriteStream(ctx, "tokens", fmt.Append(nil, i)); err != nil {
					return nil, err
				}
				time.Sleep(100 * time.Millisecond)
			}
			return []byte("1"), nil
		})
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.First = s2
		w.Settled(s1, s2)
		w.Worker("w1", def)
		time.Sleep(time.Second)
		id := w.ownedBy(s1)
		w.Start(s2, id, def)
		killed := w.Later(2*time.Second, s1.Kill)
		var want, got []string
		for i := range pieces {
			want = append(want, fmt.Sprintf("1.%d:%d", i+1, i))
		}
		ask := &messages.ReadStream{RunId: id, Stream: "tokens", Section: 1, Number: 1, Follow: true, WaitMs: 1000}
		replies := 0 // that had pieces: they come while they are written
		for ended := false; !ended; {
			reply, err := s2.Host.Engine().ReadStream(w.T.Context(), ask)
			if err == nil {
				err = messages.FromFailure(reply.Error)
			}
			if err != nil && !messages.CodeOf(err).Retryable() {
				t.Fatal(err)
			}
			for _, p := range reply.GetPieces() {
				for i, data := range p.Pieces {
					got = append(got, fmt.Sprintf("%d.%d:%s", p.Section, p.First+uint64(i), data))
				}
				ask.Section, ask.Number = p.Section, p.First+uint64(len(p.Pieces))
			}
			if len(reply.GetPieces()) > 0 {
				replies++
			}
			ended = reply.GetEnded()
		}
		killed()
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("read %q", got)
		}
		if replies < pieces/4 {
			t.Errorf("all pieces came in %d replies", replies)
		}
		w.Ends(s2, id, time.Second, succeeded)
	})
}
