package postgres_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/postgres"
)

// What a cutter does with the next thing that a client sends.
const (
	pass = iota
	cutRequest
	cutAnswer
)

// cutter stands between a client and the database and cuts connections.
type cutter struct {
	database string
	listener net.Listener
	next     atomic.Int32
	// cuts counts what was cut.
	cuts atomic.Int32
}

func startCutter(t *testing.T, database string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cutter{database: database, listener: listener}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(client)
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return c
}

// cancels says that a packet asks the database to cancel what another connection
// does: pgx sends that, some time after a cut, on a connection of its own.
func cancels(packet []byte) bool {
	const cancelRequest = 80877102
	return len(packet) == 16 && binary.BigEndian.Uint32(packet[4:]) == cancelRequest
}

// serve passes on what either side sends, until the next order but pass.
func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.database)
	if err != nil {
		return
	}
	defer server.Close()
	var deaf atomic.Bool
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || deaf.Load() {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		order := int32(pass)
		if !cancels(buf[:n]) {
			order = c.next.Swap(pass)
		}
		if order != pass {
			c.cuts.Add(1)
		}
		if order == cutRequest {
			return
		}
		deaf.Store(order == cutAnswer)
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if order == cutAnswer {
			// The other direction ends with the answer, which nobody hears.
			_, _ = io.Copy(io.Discard, client)
			return
		}
	}
}

// TestConnectionCut cuts the connection before a commit gets to the database,
// and before its answer gets back: either way the append is stored once, and
// told to be.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	direct := database(t, server)
	u, err := url.Parse(direct)
	must(t, err)
	c := startCutter(t, u.Host)
	u.Host = c.listener.Addr().String()
	store := open(t, postgres.Config{URL: u.String(), Commits: 2})
	tries := 0
	committer := journal.NewCommitter(store, journal.CommitterConfig{InFlight: 1, Hooks: journal.CommitterHooks{
		Retrying: func(error, int, time.Duration) { tries++ },
	}})
	number := uint64(0)
	appendOne := func() {
		t.Helper()
		number++
		done := make(chan error, 1)
		committer.Append(journaltest.ChainAppend("run", number, []byte{byte(number)}), func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatalf("entry %d: %v", number, err)
		}
	}
	for range 5 {
		for _, order := range []int32{pass, cutRequest, cutAnswer} {
			c.next.Store(order)
			appendOne()
		}
	}
	must(t, committer.Close(t.Context()))
	if c.cuts.Load() != 10 || tries < 10 {
		t.Errorf("%d connections were cut and %d commits tried again, want 10", c.cuts.Load(), tries)
	}
	rec, err := store.Load(t.Context(), "run")
	must(t, err)
	if len(rec.Entries) != int(number) {
		t.Fatalf("%d entries are stored, want %d", len(rec.Entries), number)
	}
	for i, entry := range rec.Entries {
		if len(entry) != 1 || entry[0] != byte(i+1) {
			t.Errorf("entry %d: %v", i+1, entry)
		}
	}
}
