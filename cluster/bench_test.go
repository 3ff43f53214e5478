package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// pair starts a server that activates echo actors and a worker beside it.
func pair(b *testing.B) (server, worker *cluster.Node) {
	b.Helper()
	quiet := slog.New(slog.DiscardHandler)
	activate := func(identity string) (*actor.PID, error) {
		pid, err := server.System().Root.SpawnNamed(actor.PropsFromFunc(echo(server)), "run/"+identity)
		if errors.Is(err, actor.ErrNameExists) {
			err = nil
		}
		return pid, err
	}
	_, err := cluster.Start(b.Context(), cluster.Anything(cluster.Config{
		Role: cluster.RoleServer, ID: "a", Logger: quiet,
		Prepare: func(n *cluster.Node) error { server = n; return nil },
		Kinds:   []cluster.Kind{{Name: cluster.KindRun, Activate: activate}},
	}))
	if err != nil {
		b.Fatal(err)
	}
	worker, err = cluster.Start(b.Context(), cluster.Anything(cluster.Config{Role: cluster.RoleWorker, ID: "w", Logger: quiet, Join: []string{server.Self().GossipAddress}}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = worker.Stop(context.Background())
		_ = server.Stop(context.Background())
	})
	return server, worker
}

// quantiles reports p50 and p99 of f.
func quantiles(b *testing.B, f func(i int) error) {
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if err := f(i); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkCall(b *testing.B) {
	server, worker := pair(b)
	for name, n := range map[string]*cluster.Node{"local": server, "remote": worker} {
		b.Run(name, func(b *testing.B) {
			quantiles(b, func(int) error {
				_, err := n.Call(b.Context(), cluster.KindRun, "r", &messages.Activate{})
				return err
			})
		})
	}
	b.Run("cold", func(b *testing.B) {
		quantiles(b, func(i int) error {
			_, err := worker.Call(b.Context(), cluster.KindRun, fmt.Sprint("cold", b.N, "-", i), &messages.Activate{})
			return err
		})
	})
	b.Run("128-callers", func(b *testing.B) {
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := worker.Call(b.Context(), cluster.KindRun, "r", &messages.Activate{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// One-way messages of 200 B to another node.
func BenchmarkSend(b *testing.B) {
	server, worker := pair(b)
	done := make(chan struct{})
	got := 0
	count := 200_000
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*messages.Result); ok {
			if got++; got == count {
				got = 0
				done <- struct{}{}
			}
		}
	})
	pid := remotely(server.System().Root.Spawn(props))
	m := &messages.Result{RunId: "01j00000000000000000000000", Step: "step", Attempt: 1, Outcome: &messages.Result_Output{Output: bytes.Repeat([]byte("1"), 150)}}
	b.ResetTimer()
	start := time.Now()
	rounds := 0
	for b.Loop() {
		for range count {
			worker.System().Root.Send(pid, m)
		}
		<-done
		rounds++
	}
	b.ReportMetric(float64(rounds*count)/time.Since(start).Seconds(), "messages/s")
}
