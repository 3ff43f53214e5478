package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/limpetrun/limpet/messages"
)

// acquire takes the lock that says that a Store has the file. It ends with the
// process or when the returned file is closed. The lock file stays: to remove
// it would let two processes hold locks on different files of the same name.
func acquire(path string) (*os.File, error) {
	name := path + ".lock"
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, failed(path, "open its lock file", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err := errors.Join(file.Truncate(0), writePID(file))
		return file, failed(path, "write its lock file", err)
	}
	defer file.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, failed(path, "lock "+name, err)
	}
	holder := "another process"
	switch pid := readPID(file); {
	case pid == os.Getpid():
		holder = "this process"
	case pid > 0:
		holder = fmt.Sprintf("the process %d", pid)
	}
	return nil, messages.Errorf(messages.CodeJournalInUse, "journal %q: %s has it", path, holder)
}

// release gives the lock back. To close the file is not enough: a process that is
// being started at this moment has a copy of it until its program begins, and with
// the copy the lock.
func release(file *os.File) error {
	return errors.Join(syscall.Flock(int(file.Fd()), syscall.LOCK_UN), file.Close())
}

func writePID(file *os.File) error {
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID returns 0 if the file names no process.
func readPID(file *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
