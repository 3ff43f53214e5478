package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// refused waits for the end of a server that is not to start, and checks what
// it says: code, hint, exit code, and that it took no longer than a moment.
func (p *process) refused(code messages.Code, exit int, names string) {
	p.r.t.Helper()
	got, stderr := p.exit()
	took := time.Since(p.launch)
	p.r.t.Logf("ended after %v: %s", took.Round(time.Millisecond), strings.TrimSpace(stderr))
	for _, want := range []string{"error " + string(code) + ":", "hint: " + code.Hint(), names} {
		if !strings.Contains(stderr, want) {
			p.r.t.Errorf("it does not say %q", want)
		}
	}
	if got != exit {
		p.r.t.Errorf("exit code %d, want %d", got, exit)
	}
	if took > 10*time.Second {
		p.r.t.Error("that took too long")
	}
}

// A server that cannot start says why, and leaves the others and their journal
// alone.
func TestFailureServerBesideAnother(t *testing.T) {
	r := newRig(t, "lan")
	first := r.server()
	r.worker("w1", 2)
	run := r.start(chainHard, play{Hold: []string{"b"}})
	held := r.began(run.ID(), "b", 1)
	other := func(more ...string) *process {
		return r.limpet("other", append([]string{"server", "--id", "other", "--listen", "127.0.0.1:0", "--gossip", "127.0.0.1:0",
			"--log-level", "error"}, more...)...)
	}
	fresh := "sqlite:" + filepath.Join(r.dir, "other.db")
	// The embedded store has one server, whatever its id and whether it joins.
	other("--store", r.store()).refused(messages.CodeJournalInUse, exitPrecondition, "journal.db")
	other("--store", r.store(), "--join", r.gossip).refused(messages.CodeJournalInUse, exitPrecondition, "journal.db")
	other("--store", fresh, "--listen", r.api).refused(messages.CodeAddressInUse, exitPrecondition, r.api)
	other("--store", fresh, "--gossip", r.gossip).refused(messages.CodeAddressInUse, exitPrecondition, r.gossip)
	other("--store", fresh, "--bind", r.actors).refused(messages.CodeAddressInUse, exitPrecondition, r.actors)

	// What they had opened is free again: one more comes up on it.
	last := r.limpet("last", "server", "--json", "--id", "other", "--store", fresh, "--listen", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
	awaitOr(last, last.up, "to be up", func(serverUp) bool { return true })
	last.signal(syscall.SIGTERM)
	if code, stderr := last.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	// Nobody took the refused ones for members, and the first goes on.
	members, err := r.client.ListMembers(r.ctx)
	if err != nil || len(members) != 2 {
		t.Errorf("members %v, %v", members, err)
	}
	held.release()
	r.ends(run)
	r.unharmed(run)
	first.signal(syscall.SIGTERM)
	if code, stderr := first.exit(); code != exitOK {
		t.Errorf("exit code %d after SIGTERM: %s", code, stderr)
	}
}

// A journal that this version cannot read is refused, and not changed.
func TestFailureJournalRefused(t *testing.T) {
	r := newRig(t, "local")
	server := r.server()
	w1 := r.worker("w1", 4)
	for range 50 {
		r.start(chainSoft, play{Quiet: true})
	}
	r.ends(r.start(chainSoft, play{}))
	w1.signal(syscall.SIGTERM)
	w1.ended(exitOK, "")
	server.signal(syscall.SIGTERM)
	if code, stderr := server.exit(); code != exitOK {
		t.Fatalf("exit code %d after SIGTERM: %s", code, stderr)
	}
	file := filepath.Join(r.dir, "journal.db")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		damage func([]byte) []byte
		code   messages.Code
		exit   int
	}{
		"newer version": {func(b []byte) []byte { b[63] = 99; return b }, messages.CodeJournalNewer, exitPrecondition},
		"torn":          {func(b []byte) []byte { return b[:len(b)/2] }, messages.CodeJournalCorrupt, exitFailed},
		"overwritten": {func(b []byte) []byte {
			for i := 4096; i < len(b); i++ {
				b[i] ^= 0x55
			}
			return b
		}, messages.CodeJournalCorrupt, exitFailed},
		"no journal": {func([]byte) []byte { return bytes.Repeat([]byte("not a database. "), 1000) }, messages.CodeJournalCorrupt, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			bad := tc.damage(bytes.Clone(good))
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			r.limpet("server", r.serverArgs("--log-level", "error")...).refused(tc.code, tc.exit, file)
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, bad) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
	// With its file back the server is there again.
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	r.server()
	list, err := r.client.ListRuns(r.ctx, nil)
	if err != nil || len(list.GetRuns()) < 50 {
		t.Errorf("%d runs, %v", len(list.GetRuns()), err)
	}
}

// A worker that finds nobody at the address to join says so and tries again,
// until there is a server, or its time is over.
func TestFailureJoinAddressDoesNotAnswer(t *testing.T) {
	r := newRig(t, "local")
	// Somebody who listens and never answers counts as nobody.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	early := r.launch("early", 1)
	for name, address := range map[string]string{"refusing": freeAddress(t), "silent": silent.Addr().String()} {
		given := r.launch(name, 1, func(p *part) { p.Join, p.JoinTimeout = []string{address}, 2*time.Second })
		l := given.ended(exitUnavailable, messages.CodeJoinFailed)
		t.Logf("%s: gave up after %v: %s", name, time.Since(given.launch).Round(time.Millisecond), l.Message)
		if !strings.Contains(l.Message, address) {
			t.Errorf("%q does not name the address %s", l.Message, address)
		}
	}
	r.look("the early worker to say that nobody answers", func() bool {
		log, err := os.ReadFile(early.log)
		return err == nil && bytes.Contains(log, []byte("join "+r.gossip)) && bytes.Contains(log, []byte("trying again"))
	})
	r.server()
	up := time.Now()
	early.ready()
	t.Logf("from the start of the server to the admission of the worker that waited for it: %v", time.Since(up))
	run := r.start(chainHard, play{})
	r.ends(run)

	// A server that is to join says the same, and ends in order when told.
	lonely := freeAddress(t)
	joining := r.limpet("joining", "server", "--store", "memory", "--listen", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--join", lonely)
	r.look("the joining server to say that nobody answers", func() bool {
		log, err := os.ReadFile(joining.log)
		return err == nil && bytes.Contains(log, []byte("join "+lonely)) && bytes.Contains(log, []byte("trying again"))
	})
	joining.signal(syscall.SIGTERM)
	if code, stderr := joining.exit(); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
