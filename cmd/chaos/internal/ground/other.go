//go:build !linux

package ground

import (
	"errors"
	"os/exec"
	"syscall"
)

// bindToParent keeps the terminal's Ctrl-C from a child, which is ended in
// order.
func bindToParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
}

var errNoNamespaces = errors.New("network namespaces are a thing of Linux")

func newNamespaces(*thread) (network, error) { return nil, errNoNamespaces }

// CanEnter says why there can be no namespaces here.
func CanEnter() error { return errNoNamespaces }

// Enter fails here.
func Enter([]string, []string) (int, error) { return 0, errNoNamespaces }

// Entered is never true here.
func Entered() bool { return false }
