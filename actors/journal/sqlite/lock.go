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

// beginningMark is in the lock file, after the number of the process, from before
// the file of a new journal is made until the journal is complete.
const beginningMark = "beginning\n"

// acquire takes the lock that says that a Store has the file. It ends with the
// process or when the returned file is closed. The lock file stays: to remove
// it would let two processes hold locks on different files of the same name.
// beginning says that there is no journal yet, or one that was not completed.
func acquire(path string) (_ *os.File, beginning bool, err error) {
	name := path + ".lock"
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, failed(path, "open its lock file", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		if beginning, err = markBeginning(file, path); err != nil {
			return file, false, failed(path, "write its lock file", err)
		}
		return file, beginning, nil
	}
	defer file.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, failed(path, "lock "+name, err)
	}
	holder := "another process"
	switch pid := readPID(file); {
	case pid == os.Getpid():
		holder = "this process"
	case pid > 0:
		holder = fmt.Sprintf("the process %d", pid)
	}
	return nil, false, messages.Errorf(messages.CodeJournalInUse, "journal %q: %s has it", path, holder)
}

// markBeginning writes the number of this process into the lock file, with the mark
// if a new journal may be begun: durable, before the file is made.
func markBeginning(file *os.File, path string) (beginning bool, err error) {
	text, err := io.ReadAll(file)
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(path)
	beginning = strings.HasSuffix(string(text), beginningMark) || errors.Is(err, os.ErrNotExist) && !hasWAL(path)
	if err := errors.Join(file.Truncate(0), writePID(file)); err != nil || !beginning {
		return false, err
	}
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return false, err
	}
	_, err = file.WriteString(beginningMark)
	return true, errors.Join(err, file.Sync())
}

// begun takes the mark away: the journal is complete.
func begun(file *os.File) error { return errors.Join(file.Truncate(0), writePID(file)) }

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
	number, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return pid
}
