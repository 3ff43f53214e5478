package ground

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// enteredEnv tells this command that it is in a namespace of its own.
const enteredEnv = "LIMPET_CHAOS_ENTERED"

// Entered says whether this process was started by Enter.
func Entered() bool { return os.Getenv(enteredEnv) != "" }

// CanEnter says why network namespaces cannot be had here; nil if they can.
func CanEnter() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"chaos", "--help"}
	isolate(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("network namespaces need root or user namespaces: %w", err)
	}
	return nil
}

// isolate gives a process a network namespace of its own, and, if this process
// is not root, a user namespace in which it may do what that needs. It stays the
// user it is: PostgreSQL refuses to run as root, real or not.
func isolate(cmd *exec.Cmd) {
	bindToParent(cmd)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}
	}
}

// Enter executes this command again, with the arguments and more environment, in
// a network namespace of its own, and returns its exit code. A signal to end is
// passed on; the process that gets it ends in order.
func Enter(args, env []string) (code int, err error) {
	// The child's life hangs on this thread's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(append(os.Environ(), enteredEnv+"=1"), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	isolate(cmd)
	told := make(chan os.Signal, 1)
	// The child is in a group of its own: what the terminal sends comes here
	// only, and once there.
	signal.Notify(told, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(told)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start in a network namespace: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-told:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}
