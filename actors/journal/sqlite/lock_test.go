package sqlite

import (
	"path/filepath"
	"syscall"
	"testing"
)

// A process that is being started has a copy of each open file until its program
// begins. The copy of a closed store's lock file does not keep the lock.
func TestLockIsGivenBackWhileACopyIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	lock, _, err := acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	dup, err := syscall.Dup(int(lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(dup) }()
	if err := release(lock); err != nil {
		t.Fatal(err)
	}
	again, _, err := acquire(path)
	if err != nil {
		t.Fatalf("the lock is held by a copy of its file: %v", err)
	}
	if err := release(again); err != nil {
		t.Fatal(err)
	}
}
