package ground

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/vishvananda/netlink"
)

// TestMain makes the test's executable a node where it is started as one, and
// runs the tests in a network namespace of their own where there can be one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "echo" {
		echo(os.Args[2])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "maker" {
		fmt.Fprintln(os.Stderr, makeAndWait())
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == "--help" {
		return
	}
	if Entered() || CanEnter() != nil {
		os.Exit(m.Run())
	}
	code, err := Enter(os.Args[1:], nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// echo is a node: it sends a packet for each line "address text" that comes on
// stdin, and says on stdout what comes in.
func echo(address string) {
	conn, err := net.ListenPacket("udp4", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			address, text, _ := strings.Cut(lines.Text(), " ")
			to, err := net.ResolveUDPAddr("udp4", address)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			_, _ = conn.WriteTo([]byte(text), to)
		}
		os.Exit(0)
	}()
	fmt.Println("up")
	buffer := make([]byte, 100)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		fmt.Println(from, string(buffer[:n]))
	}
}

// rig is nodes that send packets to each other.
type rig struct {
	t       *testing.T
	network network
	sites   map[string]site
	stdin   map[string]io.Writer
	heard   map[string]chan string
	// sends counts the calls of send.
	sends int
}

func newRig(t *testing.T, nodes ...string) *rig {
	t.Helper()
	if !Entered() {
		t.Logf("no network namespaces here: %v", CanEnter())
		return nil
	}
	thread := newThread()
	t.Cleanup(thread.close)
	n, err := newNamespaces(thread)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	r := &rig{t: t, network: n, sites: map[string]site{}, stdin: map[string]io.Writer{}, heard: map[string]chan string{}}
	for _, id := range nodes {
		r.node(id)
	}
	return r
}

func (r *rig) node(id string) {
	r.t.Helper()
	s, err := r.network.add(id)
	if err != nil {
		r.t.Fatal(err)
	}
	r.sites[id] = s
	cmd := exec.Command("/proc/self/exe", "echo", s.gossip)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.network.start(id, cmd); err != nil {
		r.t.Fatal(err)
	}
	heard := make(chan string, 10_000)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			heard <- lines.Text()
		}
	}()
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r.stdin[id], r.heard[id] = stdin, heard
	if got := <-heard; got != "up" {
		r.t.Fatal(got)
	}
}

const (
	// silence is after how long a packet that should not arrive has not.
	silence = 300 * time.Millisecond
	// patience is how long one that should is waited for: the first may need an
	// answer of the address resolution, on a machine that is busy.
	patience = 10 * time.Second
)

// send sends n packets and returns how many have arrived when no more did for
// the given time. Those of an earlier call that are late do not count.
func (r *rig) send(from, to string, n int, quiet time.Duration) int {
	r.t.Helper()
	r.sends++
	text := "packet-" + strconv.Itoa(r.sends)
	for range n {
		fmt.Fprintln(r.stdin[from], r.sites[to].gossip, text)
	}
	arrived := 0
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for arrived < n {
		select {
		case line := <-r.heard[to]:
			if strings.HasSuffix(line, " "+text) {
				arrived++
				timer.Reset(quiet)
			}
		case <-timer.C:
			return arrived
		}
	}
	return arrived
}

func (r *rig) drop(drops ...drop) {
	r.t.Helper()
	if err := r.network.drop(drops); err != nil {
		r.t.Fatal(err)
	}
}

func TestDropsAreExactlyThoseAskedFor(t *testing.T) {
	r := newRig(t, "a", "b", "c")
	if r == nil {
		return
	}
	check := func(what string, want map[string]bool) {
		t.Helper()
		for _, from := range []string{"a", "b", "c"} {
			for _, to := range []string{"a", "b", "c"} {
				pair := from + to
				if from == to {
					continue
				}
				quiet := patience
				if want[pair] {
					quiet = silence
				}
				if got := r.send(from, to, 5, quiet); (got == 5) == want[pair] || got != 0 && got != 5 {
					t.Errorf("%s: %d of 5 packets from %s to %s arrived", what, got, from, to)
				}
			}
		}
	}
	check("whole", nil)
	r.drop(drop{from: "a"}, drop{to: "a"})
	check("a is cut off", map[string]bool{"ab": true, "ac": true, "ba": true, "ca": true})
	r.drop(drop{to: "a"})
	check("nothing gets to a", map[string]bool{"ba": true, "ca": true})
	r.drop(drop{from: "a", to: "b"}, drop{from: "b", to: "c"})
	check("two links one way", map[string]bool{"ab": true, "bc": true})
	r.drop()
	check("healed", nil)
}

func TestLossIsOfAboutThePercentage(t *testing.T) {
	r := newRig(t, "a", "b")
	if r == nil {
		return
	}
	r.know("a", "b")
	// So few at once that they do not overrun the receiver.
	const rounds, atOnce = 10, 100
	r.drop(drop{percent: 30})
	got := 0
	for range rounds {
		got += r.send("a", "b", atOnce, time.Second)
	}
	if sent := rounds * atOnce; got < sent*60/100 || got > sent*80/100 {
		t.Errorf("%d of %d packets arrived at a loss of 30 %%", got, sent)
	}
}

// know tells a node the other's address on the wire, so that it need not ask.
func (r *rig) know(id, other string) {
	r.t.Helper()
	links := map[string]netlink.Link{}
	handles := map[string]*netlink.Handle{}
	for _, id := range []string{id, other} {
		h, err := netlink.NewHandleAt(r.network.(*namespaces).nodes[id])
		if err != nil {
			r.t.Fatal(err)
		}
		defer h.Close()
		if links[id], err = h.LinkByName("eth0"); err != nil {
			r.t.Fatal(err)
		}
		handles[id] = h
	}
	err := handles[id].NeighSet(&netlink.Neigh{
		LinkIndex: links[id].Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.ParseIP(r.sites[other].host), HardwareAddr: links[other].Attrs().HardwareAddr,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// What this process sends gets to every node.
func TestThisProcessReachesNodes(t *testing.T) {
	r := newRig(t, "a", "b")
	if r == nil {
		return
	}
	r.drop(drop{from: "a"}, drop{to: "a"})
	conn, err := net.Dial("udp4", r.sites["a"].gossip)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("from outside")); err != nil {
		t.Fatal(err)
	}
	select {
	case line := <-r.heard["a"]:
		if !strings.Contains(line, "from outside") {
			t.Error(line)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing arrived")
	}
}

func TestWrapEntersTheNamespaceOfANode(t *testing.T) {
	r := newRig(t, "a")
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := r.network.wrap("a")("readlink", "/proc/self/ns/net")
	inside, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(inside)); got == own || !strings.HasPrefix(got, "net:[") {
		t.Errorf("inside %s, here %s", got, own)
	}
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
}

// makeAndWait is a process that makes a network with a node, says which process that is,
// and waits to be killed.
func makeAndWait() error {
	n, err := newNamespaces(newThread())
	if err != nil {
		return err
	}
	if _, err := n.add("a"); err != nil {
		return err
	}
	cmd := exec.Command("sleep", "1000")
	if err := n.start("a", cmd); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return cmd.Wait()
}

// When the process that made the network is killed, its nodes are gone.
func TestNothingOutlivesItsMaker(t *testing.T) {
	if !Entered() {
		t.Logf("no network namespaces here: %v", CanEnter())
		return
	}
	maker := exec.Command("/proc/self/exe", "maker")
	maker.Stderr = os.Stderr
	isolate(maker)
	out, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatalf("process %d does not live", pid)
	}
	if err := maker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = maker.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for again := time.NewTicker(10 * time.Millisecond); alive(pid); {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("process %d outlives its parent", pid)
		}
	}
}

// alive says whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := p.Stat()
	return err == nil && stat.State != "Z"
}
