package procs

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/limpetrun/limpet/messages"
)

const (
	orderUsage      = "usage"
	orderProfile    = "profile"
	orderProfileEnd = "profile-end"
	orderHeap       = "heap"
	orderLiveHeap   = "live-heap"
	orderMemory     = "memory"
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

// LiveHeapProfile makes the process write what lives in its heap after a
// collection to a file.
func (p *Process) LiveHeapProfile(ctx context.Context, file string) error {
	return p.Ask(ctx, orderLiveHeap, file, nil)
}

// heapProfile writes a profile of what was allocated, or of what lives.
func heapProfile(body json.RawMessage, kind string) error {
	var name string
	if err := json.Unmarshal(body, &name); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "heap profile: %w", err)
	}
	if kind == "heap" {
		runtime.GC()
	}
	return errors.Join(pprof.Lookup(kind).WriteTo(f, 0), f.Close())
}

// Memory of a process right after a collection that gave back to the system
// what it could.
type Memory struct {
	// ResidentBytes as the system counts them; 0 where it does not tell.
	ResidentBytes int64 `json:"resident_bytes"`
	// HeapBytes are Go's live objects.
	HeapBytes int64 `json:"heap_bytes"`
	// Goroutines that live.
	Goroutines int `json:"goroutines"`
}

// Memory collects the process's garbage and asks what is left.
func (p *Process) Memory(ctx context.Context) (Memory, error) {
	var m Memory
	err := p.Ask(ctx, orderMemory, nil, &m)
	return m, err
}

func memory() (Memory, error) {
	// Twice: what a pool holds survives one collection.
	runtime.GC()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	resident, err := residentBytes()
	return Memory{ResidentBytes: resident, HeapBytes: int64(stats.HeapAlloc), Goroutines: runtime.NumGoroutine()}, err
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
