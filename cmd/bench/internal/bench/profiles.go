package bench

import (
	"context"
	"os"
	"runtime/pprof"

	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
)

func (b *rig) startProfiles(ctx context.Context) error {
	err := b.profiled(b.config.ServerProfile, b.config.WorkerProfile, func(p *procs.Process, file string) error {
		return p.StartProfile(ctx, file)
	})
	if err != nil || b.config.ClientProfile == "" {
		return err
	}
	f, err := os.Create(b.config.ClientProfile)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "CPU profile of the client: %w", err)
	}
	return pprof.StartCPUProfile(f)
}

func (b *rig) endProfiles(ctx context.Context) error {
	if b.config.ClientProfile != "" {
		pprof.StopCPUProfile()
	}
	err := b.profiled(b.config.ServerProfile, b.config.WorkerProfile, func(p *procs.Process, _ string) error {
		return p.EndProfile(ctx)
	})
	if err != nil {
		return err
	}
	return b.profiled(b.config.ServerAllocations, b.config.WorkerAllocations, func(p *procs.Process, file string) error {
		return p.HeapProfile(ctx, file)
	})
}

// profiled calls do with the processes for which there is a file: the server
// and the first worker.
func (b *rig) profiled(server, worker string, do func(*procs.Process, string) error) error {
	if server != "" {
		p, err := b.cluster.Server()
		if err == nil {
			err = do(p, server)
		}
		if err != nil {
			return err
		}
	}
	if worker != "" {
		p, err := b.cluster.Process("worker-1")
		if err == nil {
			err = do(p, worker)
		}
		return err
	}
	return nil
}
