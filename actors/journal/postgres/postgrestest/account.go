package postgrestest

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/limpetrun/limpet/messages"
)

// account is whom the server runs as. The zero value is whoever runs this.
type account struct {
	other    bool
	uid, gid int
}

// findAccount returns an unprivileged account if this process is root's.
func findAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(found.Uid)
		if err != nil {
			continue
		}
		gid, err := strconv.Atoi(found.Gid)
		if err != nil {
			continue
		}
		return account{other: true, uid: uid, gid: gid}, nil
	}
	return account{}, messages.Errorf(messages.CodeUnavailable, "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// give makes the account the owner of a file.
func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// mayEnter checks that the account gets through all directories of a path,
// going by what everybody may.
func (a account) mayEnter(path string) error {
	if !a.other {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "directory for PostgreSQL: %w", err)
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return messages.Errorf(messages.CodeInvalidArgument, "directory for PostgreSQL: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return messages.Errorf(messages.CodeInvalidArgument,
				"directory for PostgreSQL %s: only its owner may enter %s, and the server runs as user %d because this is root", path, dir, a.uid)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// command returns a command that runs as the account. One that wrap makes may
// still need root's rights, to enter a namespace; it is therefore setpriv that
// changes the account there.
func (a account) command(wrap func(string, ...string) *exec.Cmd, name string, args ...string) *exec.Cmd {
	switch {
	case wrap == nil:
		cmd := exec.Command(name, args...)
		cmd.SysProcAttr = dieWithParent()
		if a.other {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
		}
		return cmd
	case a.other:
		// The kernel forgets the signal when the account changes.
		args = append([]string{"--reuid=" + strconv.Itoa(a.uid), "--regid=" + strconv.Itoa(a.gid), "--clear-groups",
			"--pdeathsig=QUIT", "--", name}, args...)
		name = "setpriv"
	}
	cmd := wrap(name, args...)
	attr := dieWithParent()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = attr
	}
	inheritDeath(cmd.SysProcAttr, attr)
	return cmd
}
