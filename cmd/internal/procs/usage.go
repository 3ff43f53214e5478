package procs

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime/pprof"
	"time"

	"github.com/limpetrun/limpet/messages"
)

const (
	orderUsage      = "usage"
	orderProfile    = "profile"
	orderProfileEnd = "profile-end"
	orderHeap       = "heap"
)

// Usage is what a process has used up.
type Usage struct {
	// CPU time since its start, in user and kernel mode.
	CPU time.Duration `json:"cpu"`
	// ResidentBytes of memory now; 0 where the system does not tell.
	ResidentBytes int64 `json:"resident_bytes"`
}

// OwnUsage is the usage of the calling process.
func OwnUsage() (Usage, error) { return usage() }

func usage() (Usage, error) {
	cpu, err := cpuTime()
	if err != nil {
		return Usage{}, err
	}
	resident, err := residentBytes()
	return Usage{CPU: cpu, ResidentBytes: resident}, err
}

// Usage asks the process what it has used up.
func (p *Process) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	err := p.Ask(ctx, orderUsage, nil, &u)
	return u, err
}

// StartProfile makes the process write a CPU profile to a file until EndProfile.
func (p *Process) StartProfile(ctx context.Context, file string) error {
	return p.Ask(ctx, orderProfile, file, nil)
}

// EndProfile completes the profile.
func (p *Process) EndProfile(ctx context.Context) error {
	return p.Ask(ctx, orderProfileEnd, nil, nil)
}

// HeapProfile makes the process write what it has allocated to a file.
func (p *Process) HeapProfile(ctx context.Context, file string) error {
	return p.Ask(ctx, orderHeap, file, nil)
}

func heapProfile(body json.RawMessage) error {
	var name string
	if err := json.Unmarshal(body, &name); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "heap profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// profiles is the CPU profile that is being written.
type profiles struct{ file *os.File }

func (p *profiles) start(body json.RawMessage) error {
	var name string
	if err := json.Unmarshal(body, &name); err != nil {
		return err
	}
	if p.file != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "a CPU profile is being written to %s already", p.file.Name())
	}
	f, err := os.Create(name)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		_ = f.Close()
		return err
	}
	p.file = f
	return nil
}

func (p *profiles) stop() error {
	if p.file == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := p.file.Close()
	p.file = nil
	return err
}
