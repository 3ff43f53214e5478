package quorum

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is servers with their filters, workers, a network that may be cut into
// groups, and a store that all servers reach.
type world struct {
	dice    *rand.Rand
	now     time.Time
	servers []*server
	workers []string
	// group of each member: two reach each other if theirs is the same.
	group map[string]int
	// skew is what the store's clock is off by.
	skew  time.Duration
	beats map[string]Heartbeat
	at    map[string]time.Time
	// storeless are servers that do not reach the store.
	storeless map[string]bool
}

type server struct {
	w      *world
	name   string
	alive  bool
	filter *Filter
	// view are the members that the server counts; missedAt is when memberlist
	// declares a member gone that it does not reach.
	view     map[string]bool
	missedAt map[string]time.Time
	next     time.Time
}

func newWorld(seed uint64, servers, workers int) *world {
	w := &world{dice: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1_000_000, 0), group: map[string]int{},
		beats: map[string]Heartbeat{}, at: map[string]time.Time{}, storeless: map[string]bool{}}
	for i := range servers {
		w.servers = append(w.servers, &server{w: w, name: fmt.Sprintf("s%d", i), alive: true, view: map[string]bool{}, missedAt: map[string]time.Time{}})
	}
	for i := range workers {
		w.workers = append(w.workers, fmt.Sprintf("w%d", i))
	}
	for _, s := range w.servers {
		s.filter = New(s.name)
		for _, o := range w.servers {
			s.view[o.name] = true
		}
		for _, name := range w.workers {
			s.view[name] = true
		}
	}
	return w
}

func (w *world) server(name string) *server {
	i := slices.IndexFunc(w.servers, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return w.servers[i]
}

func (w *world) member(name string) Member {
	return Member{Name: name, Server: w.server(name) != nil, Address: name, Loss: true}
}

func (w *world) reaches(a, b string) bool {
	s := w.server(b)
	return w.group[a] == w.group[b] && (s == nil || s.alive)
}

// heard are the members that memberlist tells of.
func (s *server) heard() (heard []Member) {
	for name := range s.view {
		if at, missed := s.missedAt[name]; !missed || s.w.now.Before(at) {
			heard = append(heard, s.w.member(name))
		}
	}
	return heard
}

// refresh makes the next view.
func (s *server) refresh() {
	w := s.w
	for _, name := range w.names() {
		_, missed := s.missedAt[name]
		switch reached := w.reaches(s.name, name); {
		case reached:
			s.view[name] = true
			delete(s.missedAt, name)
		case !missed && s.view[name]:
			s.missedAt[name] = w.now.Add(time.Duration(1200+w.dice.IntN(1200)) * time.Millisecond)
		}
	}
	var missed []Member
	others := false
	heard := s.heard()
	for name := range s.view {
		others = others || name != s.name && w.server(name) != nil
		if !slices.ContainsFunc(heard, func(m Member) bool { return m.Name == name }) {
			missed = append(missed, w.member(name))
		}
	}
	held, due := s.filter.Hold(missed, others)
	for _, m := range missed {
		if !slices.Contains(held, m.Name) {
			delete(s.view, m.Name)
			delete(s.missedAt, m.Name)
		}
	}
	if due {
		s.next = w.now
	}
}

func (w *world) names() []string {
	names := slices.Clone(w.workers)
	for _, s := range w.servers {
		names = append(names, s.name)
	}
	return names
}

func (s *server) round() {
	w := s.w
	var known []string
	for name := range s.view {
		if o := w.server(name); o != nil && !o.filter.WithoutStore() {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	r := s.filter.Begin(w.now, known, s.heard())
	if r.Asks {
		for _, m := range r.Asked(nil) {
			a := Answer{Silent: !w.reaches(s.name, m.Name)}
			if o := w.server(m.Name); o != nil && !a.Silent {
				reach := o.heard()
				hears := func(name string) bool {
					return slices.ContainsFunc(reach, func(m Member) bool { return m.Name == name })
				}
				a.HasStore = o.filter.HasStore(w.now)
				a.Known, a.Alive = hears(s.name), slices.DeleteFunc(r.Missing(), func(name string) bool { return !hears(name) })
			} else if !a.Silent {
				a.Known = true
			}
			r.Answered(m, a)
		}
		r.Judge()
	}
	if s.filter.HeartbeatDue(w.now, r) {
		serial, mine := s.filter.Beat(w.now, r)
		if w.storeless[s.name] {
			s.filter.Unread(w.now, r)
			s.next = w.now.Add(AskFor + s.filter.Conclude(r, r.Gone()))
			return
		}
		w.beats[s.name] = Heartbeat{Server: s.name, Serial: serial, Partition: mine, Address: s.name, CutOff: s.filter.CutOff()}
		w.at[s.name] = w.now.Add(w.skew)
		var read []Heartbeat
		for name, b := range w.beats {
			b.Age = max(0, w.now.Add(w.skew).Sub(w.at[name]))
			read = append(read, b)
		}
		s.filter.Read(w.now, r, read)
	}
	s.next = w.now.Add(s.filter.Conclude(r, r.Gone()))
}

func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(20 * time.Millisecond) {
		for _, s := range w.servers {
			if s.alive {
				s.refresh()
				if !w.now.Before(s.next) {
					s.round()
				}
			}
		}
	}
}

// After a partition that lasts exactly one part goes on: it has let go of whom it
// does not reach. All others are cut off and have let go of nobody who lives. When
// the partition has healed everybody goes on, with everybody in view.
func TestOnePartitionGoesOn(t *testing.T) {
	for seed := range uint64(80) {
		w := newWorld(seed, 2+int(seed%4), int(seed/4%4))
		w.pass(time.Second)
		groups := 2 + w.dice.IntN(2)
		for _, name := range w.names() {
			w.group[name] = w.dice.IntN(groups)
		}
		dies := w.servers[w.dice.IntN(len(w.servers))]
		dies.alive = w.dice.IntN(3) > 0
		w.pass(3 * time.Second)
		w.skew = time.Duration(w.dice.IntN(20)-10) * time.Second
		w.pass(20 * time.Second)
		if err := w.parted(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		clear(w.group)
		w.pass(10 * time.Second)
		for _, s := range w.servers {
			if s.alive && (s.filter.CutOff() || len(s.heard()) < len(w.workers)+len(w.servers)-1) {
				t.Fatalf("seed %d: %s does not go on after the partition: cut off: %v, in view: %v", seed, s.name, s.filter.CutOff(), s.view)
			}
		}
	}
}

// parted checks that one part of the cluster goes on, and that the views are as
// that wants.
func (w *world) parted() error {
	going := map[int]bool{}
	for _, s := range w.servers {
		if s.alive && !s.filter.CutOff() {
			going[w.group[s.name]] = true
		}
	}
	if len(going) != 1 {
		return fmt.Errorf("%d parts go on: %v", len(going), w.group)
	}
	for _, s := range w.servers {
		for _, name := range w.names() {
			if has := s.view[name]; s.alive && has != (s.filter.CutOff() || w.reaches(s.name, name)) {
				return fmt.Errorf("%s (cut off: %v) has %s in its view: %v", s.name, s.filter.CutOff(), name, has)
			}
		}
	}
	return nil
}

// However servers lose the store and get it back, one at least owns what there is.
// One that lacks it while others have it gives up, and goes on when it has it back.
func TestSomebodyOwnsWhateverBecomesOfTheStore(t *testing.T) {
	const settled = StoreSilence + 2*AskFor + Again + HeartbeatEvery
	for seed := range uint64(60) {
		w := newWorld(seed, 1+int(seed%4), 2)
		w.pass(time.Second)
		for range 20 {
			for _, s := range w.servers {
				w.storeless[s.name] = w.dice.IntN(2) == 0
			}
			for range 1 + w.dice.IntN(50) {
				w.pass(100 * time.Millisecond)
				if !slices.ContainsFunc(w.servers, func(s *server) bool { return !s.filter.CutOff() }) {
					t.Fatalf("seed %d: nobody owns anything; without the store: %v", seed, w.storeless)
				}
			}
			w.pass(settled)
			some := slices.ContainsFunc(w.servers, func(s *server) bool { return !w.storeless[s.name] })
			for _, s := range w.servers {
				if some && s.filter.WithoutStore() != w.storeless[s.name] {
					t.Fatalf("seed %d: %s is without the store: %v; without are %v", seed, s.name, s.filter.WithoutStore(), w.storeless)
				}
			}
		}
	}
}
