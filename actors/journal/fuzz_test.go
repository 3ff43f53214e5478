package journal_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

// FuzzPageToken: a token that is taken is one that a listing has made.
func FuzzPageToken(f *testing.F) {
	f.Add("")
	f.Add(journal.NewPageToken(&journal.Row{RunID: "run", CreatedAt: time.UnixMicro(1)}))
	f.Fuzz(func(t *testing.T, token string) {
		at, err := journal.ParsePageToken(token)
		if err != nil || token == "" {
			return
		}
		if again := journal.NewPageToken(&journal.Row{RunID: at.RunID, CreatedAt: at.CreatedAt}); again != token {
			t.Errorf("%q is read as %+v, of which the token is %q", token, at, again)
		}
	})
}

// FuzzPieces: whatever is stored of a stream is refused, or its pieces from a place on.
func FuzzPieces(f *testing.F) {
	data, err := journal.EncodePieces([][]byte{[]byte("a"), {}, []byte("b")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint64(2))
	f.Add([]byte{1}, uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, from uint64) {
		all, err := journal.DecodePieces(data, 1, 1, journal.StreamPlace{Section: 1})
		if err != nil {
			return
		}
		rest, err := journal.DecodePieces(data, 1, 1, journal.StreamPlace{Section: 1, Number: from})
		skipped := int(min(max(from, 1)-1, uint64(len(all.Pieces))))
		if err != nil || rest.First != uint64(skipped)+1 || len(rest.Pieces) != len(all.Pieces)-skipped {
			t.Fatalf("%d pieces from %d on: %+v, %v", len(all.Pieces), from, rest, err)
		}
		for i, piece := range rest.Pieces {
			if !bytes.Equal(piece, all.Pieces[skipped+i]) {
				t.Errorf("piece %d is %q, want %q", i, piece, all.Pieces[skipped+i])
			}
		}
	})
}
