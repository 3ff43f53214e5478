package pool

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// Whatever is scheduled runs, in turn, on no more goroutines than may be.
func TestPooledRunsAllOnFewGoroutines(t *testing.T) {
	d := NewLimited(3)
	var now, most, all atomic.Int64
	var done sync.WaitGroup
	const mailboxes, turns = 2000, 5
	done.Add(mailboxes * turns)
	for range mailboxes {
		left := turns
		var turn func()
		turn = func() {
			defer done.Done()
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			runtime.Gosched()
			all.Add(1)
			now.Add(-1)
			if left--; left > 0 {
				d.Schedule(turn)
			}
		}
		d.Schedule(turn)
	}
	done.Wait()
	if all.Load() != mailboxes*turns || most.Load() > 3 {
		t.Errorf("%d turns, at most %d at once", all.Load(), most.Load())
	}
}

func TestPooledKeepsTheOrder(t *testing.T) {
	d := NewLimited(1)
	var got []int
	done := make(chan struct{})
	begin := make(chan struct{})
	d.Schedule(func() { <-begin })
	for i := range 10_000 {
		d.Schedule(func() { got = append(got, i) })
	}
	d.Schedule(func() { close(done) })
	close(begin)
	<-done
	for i := range 10_000 {
		if got[i] != i {
			t.Fatalf("turn %d came as number %d", got[i], i)
		}
	}
}

func TestElasticDoesNotWaitForWhatWaits(t *testing.T) {
	d := NewElastic()
	open := make(chan struct{})
	var waiting, done sync.WaitGroup
	for range 500 {
		waiting.Add(1)
		done.Add(1)
		d.Schedule(func() {
			waiting.Done()
			<-open
			done.Done()
		})
	}
	waiting.Wait()
	close(open)
	done.Wait()
}

func TestPooledGoesOnAfterAGoroutineThatEnded(t *testing.T) {
	d := NewLimited(1)
	begin, done := make(chan struct{}), make(chan struct{})
	d.Schedule(func() {
		<-begin
		runtime.Goexit()
	})
	d.Schedule(runtime.Goexit)
	d.Schedule(func() { close(done) })
	close(begin)
	<-done
}

func TestIdleGoroutinesEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := NewLimited(4)
		var done sync.WaitGroup
		for range 100 {
			done.Add(1)
			p.Schedule(func() {
				time.Sleep(time.Millisecond)
				done.Done()
			})
		}
		done.Wait()
		synctest.Wait()
		counts := func() (parked, running, waiting int) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.parked), p.running, len(p.queue) - p.head
		}
		if parked, running, _ := counts(); parked != 4 || running != 4 {
			t.Errorf("%d of %d goroutines are parked, want 4 of 4", parked, running)
		}
		time.Sleep(idleFor / 2)
		synctest.Wait()
		again := make(chan struct{})
		p.Schedule(func() { close(again) })
		<-again
		time.Sleep(idleFor*3/4 + time.Second)
		synctest.Wait()
		if _, running, _ := counts(); running != 1 {
			t.Errorf("%d goroutines are left, want the one that had something to do", running)
		}
		time.Sleep(idleFor)
		synctest.Wait()
		if parked, running, waiting := counts(); parked != 0 || running != 0 || waiting != 0 {
			t.Errorf("%d parked, %d running, %d waiting, want none", parked, running, waiting)
		}
	})
}

// BenchmarkPooled is to hand over one mailbox and run it.
func BenchmarkPooled(b *testing.B) {
	p := New()
	var done sync.WaitGroup
	done.Add(b.N)
	for range b.N {
		p.Schedule(done.Done)
	}
	done.Wait()
}
