package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
)

// The measurement behind the figures at the presets:
//
//	go test ./cluster -run TestDetection -v -timeout 3h -detect 5m [-detect.preset lan] [-detect.trials 20]
//
// Eight processes, three servers and five workers, on this machine. First they
// share it with what saturates it, in each of several ways for the time of
// -detect: none may be declared gone. Then some are killed or stopped, one and
// three at a time, idle and saturated: how long until all others know.
var (
	detectFor    = flag.Duration("detect", 0, "measure failure detection, with each kind of load for this time; 0 looks only whether it works")
	detectTrials = flag.Int("detect.trials", 20, "with -detect: how often each failure is tried")
	detectPreset = flag.String("detect.preset", "local", "with -detect: local, lan or wan")
)

const (
	detectVariable = "LIMPET_CLUSTER_TEST_DETECT"
	burnVariable   = "LIMPET_CLUSTER_TEST_BURN"
)

func presetNamed(name string) cluster.Preset {
	return map[string]cluster.Preset{"local": cluster.LocalConfig(), "lan": cluster.LANConfig(), "wan": cluster.WANConfig()}[name]
}

// detectConfig is what a process of the measurement is told.
type detectConfig struct {
	Role   cluster.Role
	ID     string
	Join   []string
	Preset string
	// Garbage has the process itself allocate without end.
	Garbage bool
}

// detectProcess is a member that says what it sees of others, until its input
// ends.
func detectProcess(config string) error {
	var c detectConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	n, err := cluster.Start(context.Background(), cluster.Config{
		Role: c.Role, ID: c.ID, Join: c.Join, State: cluster.StateReady, Preset: presetNamed(c.Preset), Logger: slog.New(suspicionLog{}),
	})
	if err != nil {
		return err
	}
	w := &witness{node: n, role: c.Role, there: map[string]bool{}}
	if _, err := n.System().Root.SpawnNamed(actor.PropsFromFunc(func(actor.Context) {}), "watched"); err != nil {
		return err
	}
	w.watcher = n.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if pid, ok := ctx.Message().(*actor.PID); ok {
			ctx.Watch(pid)
		}
	}))
	say("up", n.Self().Name+" "+n.Self().GossipAddress)
	n.Subscribe(w.seen)
	over := make(chan struct{})
	go pauses(over)
	if c.Garbage {
		for range 2 {
			go allocate(over)
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(over)
	return n.Stop(context.Background())
}

// witness says what a member sees.
type witness struct {
	node    *cluster.Node
	role    cluster.Role
	watcher *actor.PID
	there   map[string]bool
}

var saying sync.Mutex

func say(what, whom string) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Println(what, time.Now().UnixMicro(), whom)
}

// suspicionLog says when memberlist, whose only sign of it is a line of its
// log, suspects somebody, or is suspected.
type suspicionLog struct{}

func (suspicionLog) Enabled(context.Context, slog.Level) bool { return true }
func (l suspicionLog) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l suspicionLog) WithGroup(string) slog.Handler          { return l }
func (suspicionLog) Handle(_ context.Context, r slog.Record) error {
	switch {
	case strings.Contains(r.Message, "memberlist: Suspect "):
		say("suspects", "")
	case strings.Contains(r.Message, "memberlist: Refuting a suspect"):
		say("refutes", "")
	}
	return nil
}

func (w *witness) seen(v *cluster.View) {
	now := map[string]bool{}
	for _, m := range v.Members {
		now[m.Name] = true
		if !w.there[m.Name] {
			say("sees", m.Name)
			// As in a real cluster, servers watch everybody, and workers servers.
			if m.Name != w.node.Self().Name && (w.role == cluster.RoleServer || m.Role == cluster.RoleServer) {
				w.node.System().Root.Send(w.watcher, actor.NewPID(m.Address, "watched"))
			}
		}
	}
	for name := range w.there {
		if !now[name] {
			say("lost", name)
		}
	}
	w.there = now
}

// pauses says when this process got no processor for a while.
func pauses(over chan struct{}) {
	for last, t := time.Now(), time.NewTicker(10*time.Millisecond); ; {
		select {
		case <-over:
			return
		case <-t.C:
		}
		now := time.Now()
		if d := now.Sub(last); d > pauseShown {
			say("pauses", d.String())
		}
		last = now
	}
}

const pauseShown = 200 * time.Millisecond

var garbage [64][]byte

// allocate keeps the collector busy.
func allocate(over chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-over:
			return
		default:
			garbage[i%len(garbage)] = make([]byte, 256<<10)
		}
	}
}

// burnProcess takes a processor, until its input ends.
func burnProcess(kind string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for n := 0; ; n++ {
		if kind == "forks" && exec.Command("/bin/true").Run() != nil {
			return fmt.Errorf("no process can be started")
		}
	}
}

// rig is the cluster of a measurement.
type rig struct {
	t       *testing.T
	preset  string
	garbage bool
	members []*member
	sights  chan sight
}

// member is a process, under an id that its successors have too.
type member struct {
	id, name, gossip string
	role             cluster.Role
	cmd              *exec.Cmd
	in               io.Closer
	read             chan struct{}
}

// knows: workers know servers and themselves.
func (m *member) knows(other *member) bool {
	return m == other || m.role == cluster.RoleServer || other.role == cluster.RoleServer
}

// sight is what one member said of another.
type sight struct {
	by   *member
	what string
	at   time.Time
	whom string
}

func newDetection(t *testing.T, preset string, garbage bool) *rig {
	r := &rig{t: t, preset: preset, garbage: garbage, sights: make(chan sight, 10_000)}
	for i := range 8 {
		m := &member{id: fmt.Sprintf("m%d", i), role: cluster.RoleWorker}
		if i < 3 {
			m.role = cluster.RoleServer
		}
		r.members = append(r.members, m)
		r.start(m)
	}
	t.Cleanup(func() {
		for _, m := range r.members {
			r.end(m)
		}
	})
	r.complete()
	return r
}

func (r *rig) start(m *member) {
	r.t.Helper()
	c := detectConfig{Role: m.role, ID: m.id, Preset: r.preset, Garbage: r.garbage}
	for _, other := range r.members {
		if other != m && other.role == cluster.RoleServer && other.gossip != "" {
			c.Join = append(c.Join, other.gossip)
		}
	}
	config, err := json.Marshal(c)
	if err != nil {
		r.t.Fatal(err)
	}
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), detectVariable+"="+string(config))
	m.cmd.Stderr = os.Stderr
	out := startPiped(r.t, m)
	up := make(chan string, 1)
	m.read = make(chan struct{})
	go func() {
		defer close(m.read)
		for s := bufio.NewScanner(out); s.Scan(); {
			what, rest, _ := strings.Cut(s.Text(), " ")
			at, whom, _ := strings.Cut(rest, " ")
			us, _ := strconv.ParseInt(at, 10, 64)
			if what == "up" {
				up <- whom
				continue
			}
			r.sights <- sight{m, what, time.UnixMicro(us), whom}
		}
	}()
	select {
	case said := <-up:
		m.name, m.gossip, _ = strings.Cut(said, " ")
	case <-time.After(time.Minute):
		r.t.Fatal(m.id, "does not start")
	}
}

func startPiped(t *testing.T, m *member) io.Reader {
	t.Helper()
	in, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.in = in
	return out
}

func (r *rig) end(m *member) {
	_ = m.cmd.Process.Kill()
	_ = m.in.Close()
	<-m.read
	_ = m.cmd.Wait()
}

// complete waits until every member sees all others, and for a while longer, so
// that one failure does not meet the traces of the last one.
func (r *rig) complete() {
	r.t.Helper()
	missing := map[[2]string]bool{}
	for _, a := range r.members {
		for _, b := range r.members {
			if a.knows(b) {
				missing[[2]string{a.name, b.name}] = true
			}
		}
	}
	for late := time.After(2 * time.Minute); len(missing) > 0; {
		select {
		case s := <-r.sights:
			if s.what == "sees" {
				delete(missing, [2]string{s.by.name, s.whom})
			}
		case <-late:
			r.t.Fatalf("not seen: %v", missing)
		}
	}
	r.pass(4*presetNamed(r.preset).ProbeInterval, nil)
}

// pass lets time pass and tells what is said meanwhile.
func (r *rig) pass(d time.Duration, tell func(sight)) {
	for over := time.After(d); ; {
		select {
		case s := <-r.sights:
			if tell != nil {
				tell(s)
			}
		case <-over:
			return
		}
	}
}

// fail sends the signal to members and waits until all others have lost them:
// for each pair of a server and a victim it returns how long that took, for
// servers act on it. Then it starts the
// victims anew.
func (r *rig) fail(signal syscall.Signal, victims []*member) (took []time.Duration) {
	r.t.Helper()
	began := time.Now()
	waiting := map[[2]string]bool{}
	var wrong verdicts
	for _, v := range victims {
		if err := v.cmd.Process.Signal(signal); err != nil {
			r.t.Fatal(err)
		}
		for _, m := range r.members {
			if !slices.Contains(victims, m) && m.knows(v) {
				waiting[[2]string{m.name, v.name}] = true
			}
		}
	}
	for late := time.After(2 * time.Minute); len(waiting) > 0; {
		select {
		case s := <-r.sights:
			pair := [2]string{s.by.name, s.whom}
			switch {
			case s.what == "lost" && waiting[pair]:
				if s.by.role == cluster.RoleServer {
					took = append(took, s.at.Sub(began))
				}
				delete(waiting, pair)
			case s.what == "lost" && !slices.ContainsFunc(victims, func(v *member) bool { return v.name == s.whom }):
				wrong.note(s)
			case s.what == "pauses":
				wrong.note(s)
			}
		case <-late:
			r.t.Fatalf("not noticed after 2 min: %v", waiting)
		}
	}
	wrong.report(r.t)
	for _, v := range victims {
		r.end(v)
	}
	for _, v := range victims {
		r.start(v)
	}
	missing := map[[2]string]bool{}
	for _, v := range victims {
		for _, m := range r.members {
			if m.knows(v) {
				missing[[2]string{m.name, v.name}] = true
			}
		}
	}
	for late := time.After(2 * time.Minute); len(missing) > 0; {
		select {
		case s := <-r.sights:
			if s.what == "sees" {
				delete(missing, [2]string{s.by.name, s.whom})
			}
		case <-late:
			r.t.Fatalf("not seen after the restart: %v", missing)
		}
	}
	r.pass(4*presetNamed(r.preset).ProbeInterval, nil)
	return took
}

// burn saturates the processors until the end of the test.
func burn(t *testing.T, kind string, n int) {
	t.Helper()
	for range n {
		m := &member{cmd: exec.Command(os.Args[0])}
		m.cmd.Env = append(os.Environ(), burnVariable+"="+kind)
		_ = startPiped(t, m)
		t.Cleanup(func() {
			_ = m.cmd.Process.Kill()
			_ = m.in.Close()
			_ = m.cmd.Wait()
		})
	}
}

// verdicts are those on members that live, and the longest time that a process
// got no processor.
type verdicts struct {
	on     []string
	paused time.Duration
}

func (v *verdicts) note(s sight) {
	switch s.what {
	case "lost":
		v.on = append(v.on, s.by.name+" declared "+s.whom+" gone, which lives")
	case "pauses":
		paused, _ := time.ParseDuration(s.whom)
		v.paused = max(v.paused, paused)
	}
}

// pausedMost is how long a process may get no processor for a verdict to be
// wrong where others use the machine too: the presets promise nothing beyond.
const pausedMost = time.Second

func (v *verdicts) report(t *testing.T) {
	t.Helper()
	for _, verdict := range v.on {
		if *detectFor == 0 && v.paused > pausedMost {
			t.Logf("%s; a process got no processor for %v", verdict, v.paused)
		} else {
			t.Error(verdict)
		}
	}
}

// TestDetectionFalse: nobody who lives is declared gone, whatever else the
// machine does.
func TestDetectionFalse(t *testing.T) {
	d, cores := *detectFor, runtime.NumCPU()
	if d == 0 {
		d = 3 * time.Second
	}
	loads := []struct {
		name, kind string
		n          int
		garbage    bool
	}{
		{"2 busy loops a core", "loops", 2 * cores, false},
		{"4 busy loops a core", "loops", 4 * cores, false},
		{"2 starters of processes a core", "forks", 2 * cores, false},
		{"each member collects garbage all the time", "", 0, true},
	}
	if *detectFor == 0 {
		loads = loads[1:2]
	}
	for _, load := range loads {
		t.Run(load.name, func(t *testing.T) {
			r := newDetection(t, *detectPreset, load.garbage)
			burn(t, load.kind, load.n)
			said := map[string]int{}
			var wrong verdicts
			r.pass(d, func(s sight) {
				said[s.what]++
				wrong.note(s)
			})
			wrong.report(t)
			t.Logf("%v: %d suspicions, %d refuted, %d verdicts; %d pauses of a process above %v, the longest %v",
				d, said["suspects"], said["refutes"], said["lost"], said["pauses"], pauseShown, wrong.paused.Round(time.Millisecond))
		})
	}
}

// TestDetectionTime measures how long the others take to notice a failure.
func TestDetectionTime(t *testing.T) {
	trials := *detectTrials
	if *detectFor == 0 {
		trials = 1
	}
	for _, load := range []int{0, 4 * runtime.NumCPU()} {
		for _, victims := range []int{1, 3} {
			for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
				if *detectFor == 0 && (load > 0 || victims > 1) {
					continue
				}
				t.Run(fmt.Sprintf("%v of %d under %d busy loops", how, victims, load), func(t *testing.T) {
					r := newDetection(t, *detectPreset, false)
					burn(t, "loops", load)
					r.measure(trials, victims, how)
				})
			}
		}
	}
}

func (r *rig) measure(trials, victims int, how syscall.Signal) {
	r.t.Helper()
	var all, last []time.Duration
	for i := range trials {
		var who []*member
		for v := range victims {
			// Servers and workers take turns; 3 has no common factor with 8.
			who = append(who, r.members[(i*3+v*3)%len(r.members)])
		}
		took := r.fail(how, who)
		all = append(all, took...)
		last = append(last, slices.Max(took))
	}
	slices.Sort(all)
	slices.Sort(last)
	r.t.Logf("%d trials: each observer p50 %v, max %v; the last of them p50 %v", trials,
		all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), last[len(last)/2].Round(time.Millisecond))
}
