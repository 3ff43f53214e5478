package ground

import (
	"os/exec"
	"syscall"
)

// bindToParent keeps the terminal's Ctrl-C from a child, which is ended in
// order, and has the kernel kill it when its parent dies.
func bindToParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
