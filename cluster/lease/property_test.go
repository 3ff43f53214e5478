package lease

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/heap"
)

// world is some servers, one worker and a store, with clocks that run at
// different rates, packets that are late, links that are cut one way, processes
// that freeze, end and start again. Servers suspect the worker when they like.
type world struct {
	dice  *rand.Rand
	now   time.Duration // true time
	seq   int
	queue heap.Heap[event]
	// err is the first thing that went wrong.
	err     error
	cfg     Config
	servers []*server
	worker  *worker
	cut     map[[2]string]bool
	beats   map[string]storedBeat
	trace   []string
	// Released counts verdicts, lapsed the ends of leases.
	released, lapsed int
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

func (e event) before(f event) bool { return e.at < f.at || e.at == f.at && e.seq < f.seq }

type storedBeat struct {
	serial uint64
	at     time.Duration
}

// process has a clock and may be frozen: what comes then waits.
type process struct {
	w      *world
	name   string
	rate   float64
	frozen bool
	dead   bool
	held   []func()
}

type server struct {
	process
	id, life int
	g        *Granter
	serial   uint64
	judging  bool
}

type worker struct {
	process
	h *Holder
	// since is when the present lease began; -1 without one.
	since time.Duration
}

var origin = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func (p *process) clock() time.Time {
	return origin.Add(time.Duration(float64(p.w.now) * p.rate))
}

func (p *process) run(do func()) {
	switch {
	case p.dead:
	case p.frozen:
		p.held = append(p.held, do)
	default:
		do()
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	w.queue.Push(event{w.now + d, w.seq, do})
}

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%8.4f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) chance(percent int) bool {
	return w.dice.IntN(100) < percent
}

func (w *world) span(most time.Duration) time.Duration {
	return time.Duration(w.dice.Int64N(int64(most)))
}

// delay of a packet: seldom long.
func (w *world) delay() time.Duration {
	if w.chance(5) {
		return w.span(time.Second)
	}
	return 100*time.Microsecond + w.span(2*time.Millisecond)
}

func (w *world) send(from, to *process, do func()) {
	w.after(w.delay(), func() {
		if !w.cut[[2]string{from.name, to.name}] && !from.dead {
			to.run(do)
		}
	})
}

func (w *world) start(id, life int) *server {
	s := &server{process: process{w: w, name: fmt.Sprintf("s%d", id), rate: w.rate()}, id: id, life: life}
	s.g = NewGranter(w.cfg, s.clock())
	for len(w.servers) <= id {
		w.servers = append(w.servers, nil)
	}
	w.servers[id] = s
	for _, other := range w.servers {
		if other != nil && other != s {
			s.g.Servers(s.clock(), append(s.names(), other.full()))
			other.g.Ended(other.clock(), fmt.Sprintf("s%d~%d", id, life-1))
			other.g.Servers(other.clock(), other.names())
		}
	}
	s.g.Servers(s.clock(), s.names())
	s.loop()
	s.beat(func() { s.g.Activate(true) })
	return s
}

func (w *world) rate() float64 {
	return 1 + (w.dice.Float64()-0.5)*0.0098
}

func (s *server) full() string { return fmt.Sprintf("%s~%d", s.name, s.life) }

// names are the other servers that it knows of.
func (s *server) names() []string {
	var out []string
	for _, other := range s.w.servers {
		if other != nil && other != s {
			out = append(out, other.full())
		}
	}
	return out
}

func (s *server) loop() {
	s.w.after(s.w.cfg.Every(), func() {
		if s.dead {
			return
		}
		s.run(s.ask)
		s.loop()
	})
}

func (s *server) ask() {
	seq := s.g.Ask(s.clock())
	for _, other := range s.w.servers {
		if other == s {
			continue
		}
		s.w.send(&s.process, &other.process, func() {
			other.g.Stand(other.clock(), s.full())
			s.w.send(&other.process, &s.process, func() { s.g.Answered(other.full(), seq) })
		})
	}
	if s.serial%2 == 0 {
		s.beat(func() {})
	}
	s.serial++
}

// beat writes a heartbeat into the store and reads the others.
func (s *server) beat(then func()) {
	began, serial := s.clock(), s.serial
	s.w.after(s.w.delay(), func() {
		if s.w.cut[[2]string{s.name, "store"}] || s.dead {
			return
		}
		s.w.beats[s.full()] = storedBeat{serial, s.w.now}
		var beats []Heartbeat
		for name, beat := range s.w.beats {
			if name != s.full() && !s.replaced(name) {
				beats = append(beats, Heartbeat{Server: name, Serial: beat.serial, Age: s.w.now - beat.at})
			}
		}
		slices.SortFunc(beats, func(a, b Heartbeat) int { return int(a.Server[1]) - int(b.Server[1]) })
		s.w.after(s.w.delay(), func() {
			s.run(func() {
				s.g.HeartbeatWritten(began, s.clock(), beats)
				then()
			})
		})
	})
}

// replaced: another process of the id is there.
func (s *server) replaced(name string) bool {
	for _, other := range s.w.servers {
		if other != nil && name[:2] == other.name && name != other.full() {
			return true
		}
	}
	return false
}

func (w *world) startWorker() {
	k := &worker{process: process{w: w, name: "w", rate: w.rate()}, since: -1}
	k.h = NewHolder(w.cfg)
	w.worker = k
	k.loop()
}

func (k *worker) loop() {
	wait := k.h.NextAsk().Sub(k.clock())
	k.w.after(max(wait, time.Millisecond), func() {
		k.run(k.ask)
		k.loop()
	})
}

func (k *worker) ask() {
	k.check()
	now := k.clock()
	var there []string
	for _, s := range k.w.servers {
		there = append(there, s.full())
		if s.life > 1 {
			k.h.Replaced(fmt.Sprintf("%s~%d", s.name, s.life-1))
		}
	}
	k.h.Servers(now, there)
	seq, term := k.h.Ask(now), k.h.Term()
	for _, s := range k.w.servers {
		k.w.send(&k.process, &s.process, func() {
			if valid := s.g.Grant(s.clock(), "w", term); valid > 0 && !s.judging {
				k.w.send(&s.process, &k.process, func() {
					k.h.Granted(s.full(), seq, valid)
					k.check()
				})
			}
		})
	}
	for _, name := range k.h.Looks(now) {
		s := k.w.servers[int(name[1]-'0')]
		k.w.after(k.w.delay(), func() {
			refused := (s.dead || s.full() != name) && !k.w.cut[[2]string{"w", s.name}] && !k.w.cut[[2]string{s.name, "w"}]
			k.w.after(k.w.delay(), func() {
				k.run(func() { k.h.Looked(name, now, refused); k.check() })
			})
		})
	}
}

// check is what the process does when it runs; holds is whether it may act,
// whatever it knows.
func (k *worker) check() {
	held, changed := k.h.Check(k.clock())
	switch {
	case changed && held:
		k.since = k.w.now
	case changed:
		k.since = -1
		k.w.lapsed++
	}
}

func (k *worker) holds() bool { return k.since >= 0 && k.clock().Before(k.h.Until()) }

// suspect lets a server miss the worker until it may call it lost, or sees it
// again.
func (w *world) suspect(s *server, until time.Duration) {
	began := w.now
	s.judging = true
	var round func()
	round = func() {
		if w.now > until {
			s.judging = false
			return
		}
		missing := append(s.g.Silent(s.clock()), "w")
		var reached []string
		var left time.Duration
		for _, other := range w.servers {
			if other == s {
				continue
			}
			w.send(&s.process, &other.process, func() {
				hold := other.g.Vouch(other.clock(), missing)
				w.send(&other.process, &s.process, func() {
					reached = append(reached, other.full())
					left = max(left, hold)
				})
			})
		}
		w.after(300*time.Millisecond, func() {
			s.run(func() {
				if left > 300*time.Millisecond || s.g.Hold(s.clock(), "w", reached) > 0 {
					w.after(100*time.Millisecond, func() { s.run(round) })
					return
				}
				s.judging = false
				w.release(s, began)
			})
		})
	}
	s.run(round)
}

func (w *world) release(s *server, began time.Duration) {
	w.released++
	w.logf("%s calls the worker lost", s.full())
	if k := w.worker; k.holds() && k.since <= began {
		w.err = fmt.Errorf("%.4f: %s calls the worker lost, which has a lease since %.4f, for another %v\n%s",
			w.now.Seconds(), s.full(), k.since.Seconds(), k.h.Until().Sub(k.clock()), tail(w.trace))
	}
}

func tail(lines []string) (out string) {
	for _, l := range lines[max(0, len(lines)-60):] {
		out += l + "\n"
	}
	return out
}

func (w *world) fault() {
	pick := func() *server { return w.servers[w.dice.IntN(len(w.servers))] }
	lasts := w.span(6 * time.Second)
	switch w.dice.IntN(7) {
	case 0, 1:
		w.suspect(pick(), w.now+2*lasts)
	case 2:
		s := pick()
		w.freeze(&s.process, lasts)
	case 3:
		w.freeze(&w.worker.process, lasts)
	case 4:
		names := []string{"w", "store"}
		for _, s := range w.servers {
			names = append(names, s.name)
		}
		a, b := names[w.dice.IntN(len(names))], names[w.dice.IntN(len(names))]
		w.sever(lasts, [2]string{a, b})
	case 5:
		// A partition of the network.
		var links [][2]string
		left := map[string]bool{}
		names := []string{"w", "store"}
		for _, s := range w.servers {
			names = append(names, s.name)
		}
		for _, n := range names {
			left[n] = w.chance(50)
		}
		for _, a := range names {
			for _, b := range names {
				if left[a] != left[b] {
					links = append(links, [2]string{a, b})
				}
			}
		}
		w.sever(lasts, links...)
		w.suspect(pick(), w.now+lasts)
	case 6:
		s := pick()
		if s.dead {
			return
		}
		w.logf("%s ends", s.full())
		s.dead = true
		for _, other := range w.servers {
			if other != s {
				w.after(w.span(time.Second), func() { other.run(func() { other.g.Ended(other.clock(), s.full()) }) })
			}
		}
		w.after(lasts, func() { w.logf("%s starts", s.name); w.start(s.id, s.life+1) })
	}
}

func (w *world) freeze(p *process, d time.Duration) {
	if p.frozen {
		return
	}
	w.logf("%s freezes for %v", p.name, d)
	p.frozen = true
	w.after(d, func() {
		p.frozen = false
		if p == &w.worker.process {
			w.worker.check()
		}
		held := p.held
		p.held = nil
		for _, do := range held {
			p.run(do)
		}
	})
}

func (w *world) sever(d time.Duration, links ...[2]string) {
	w.logf("cut %v for %v", links, d)
	for _, l := range links {
		w.cut[l] = true
	}
	w.after(d, func() {
		for _, l := range links {
			delete(w.cut, l)
		}
	})
}

func runWorld(seed uint64) *world {
	w := &world{queue: heap.New(event.before, nil), dice: rand.New(rand.NewPCG(seed, 1)), cfg: Config{For: 1400 * time.Millisecond, Store: true, HeartbeatGap: 800 * time.Millisecond},
		cut: map[[2]string]bool{}, beats: map[string]storedBeat{}}
	for id := range 1 + w.dice.IntN(3) {
		w.start(id, 1)
	}
	w.startWorker()
	for range 1 + w.dice.IntN(8) {
		w.after(2*time.Second+w.span(8*time.Second), w.fault)
	}
	for w.queue.Len() > 0 && w.now < 16*time.Second && w.err == nil {
		e := w.queue.Pop()
		w.now = e.at
		e.do()
	}
	return w
}

var seedsFlag = flag.Int("lease.seeds", 150, "simulate so many small clusters")

// No server calls a worker lost that has held a lease ever since before the
// server began to think of it.
func TestNobodyIsLostThatHasALease(t *testing.T) {
	seeds := *seedsFlag
	released, lapsed := 0, 0
	for seed := range uint64(seeds) {
		w := runWorld(seed)
		if w.err != nil {
			t.Fatalf("seed %d: %v", seed, w.err)
		}
		released += w.released
		lapsed += w.lapsed
	}
	t.Logf("%d verdicts, %d leases ended", released, lapsed)
	if released < seeds/20 || lapsed < seeds/10 {
		t.Errorf("%d verdicts, %d leases ended: too little was tested", released, lapsed)
	}
}
