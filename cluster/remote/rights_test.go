package remote

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

var rewrite = flag.Bool("rewrite", false, "record the rights")

// parts are messages of the wire that only come in others, or in packets.
var parts = []string{
	"BoundRun", "FailedWait", "Heartbeat", "KeyedRun", "LocalKeys", "LocalUse", "MemberMeta", "News", "NumberedEntry", "StartRun",
	"StartRunReply", "StreamPieces", "WorkerLoad", "WriteLog",
}

// wire are the types of messages that a node could be sent.
func wire() (types []protoreflect.MessageType) {
	files := []string{messages.File_wire_proto.Path(), (&actor.PID{}).ProtoReflect().Descriptor().ParentFile().Path()}
	protoregistry.GlobalTypes.RangeMessages(func(t protoreflect.MessageType) bool {
		if d := t.Descriptor(); slices.Contains(files, d.ParentFile().Path()) && !d.IsMapEntry() {
			types = append(types, t)
		}
		return true
	})
	return types
}

var bys = []*Sender{
	{Member: identity.Member{Role: identity.Server, ID: "s1", Incarnation: "i1"}, Name: "s1~i1", Address: "10.0.0.1:7081", role: fromServer},
	{Member: identity.Member{Role: identity.Worker, ID: "w1", Incarnation: "i1"}, Name: "w1~i1", Address: "10.0.0.2:7081", role: fromWorker},
}

var actors = map[string]string{"activator": ActivatorActor, "host": HostActor, "worker": messages.WorkerActorID("w1", "i1"), "answer": AnswerPrefix + "7", "run": "$1f"}

// The table says of each type of message whether each role may send it to each kind of
// actor. What it says is recorded: a change of it is to be read.
func TestEveryMessageAndRole(t *testing.T) {
	var out strings.Builder
	for _, m := range wire() {
		name := string(m.Descriptor().FullName())
		r, listed := rights[name]
		part := slices.Contains(parts, string(m.Descriptor().Name()))
		if strings.HasPrefix(name, "limpet.") && listed == part {
			t.Errorf("%s: in the table: %v; a part of others: %v", name, listed, part)
		}
		for _, by := range bys {
			var to []string
			for what, id := range actors {
				if r.mayReach(by, placeOf(id)) {
					to = append(to, what)
				}
			}
			slices.Sort(to)
			if len(to) > 0 {
				fmt.Fprintf(&out, "%s %s: %s\n", name, by.Role, strings.Join(to, ", "))
			}
		}
		if nobody := (&Sender{}); r.mayReach(nobody, anywhere) {
			t.Errorf("%s may be sent without a role", name)
		}
	}
	lines := strings.SplitAfter(out.String(), "\n")
	slices.Sort(lines)
	got := strings.Join(lines, "")
	if *rewrite {
		if err := os.WriteFile("testdata/rights.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/rights.txt")
	if err != nil || got != string(want) {
		t.Errorf("testdata/rights.txt does not say what holds (go test ./cluster/remote -run EveryMessage -rewrite): %v\n%s", err, got)
	}
	for name := range rights {
		if _, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a worker may send that names a worker, or an actor for answers, names itself:
// in the name of another one it is refused, or the name is put right.
func TestAWorkerSpeaksForItself(t *testing.T) {
	worker := bys[1]
	bound := 0
	for _, typ := range wire() {
		r := rights[string(typ.Descriptor().FullName())]
		if r.from&fromWorker == 0 {
			continue
		}
		for _, path := range [][]protoreflect.Name{{"worker_id"}, {"worker", "worker_id"}, {"worker", "address"}, {"reply_address"}, {"name"}, {"by"}, {"from_worker"}, {"Watcher", "Address"}, {"who", "Address"}} {
			m := typ.New()
			if path[0] == "name" && typ.Descriptor().Name() != "LeaseAsk" || !claims(m, path, worker) || !set(m, path, "another") {
				continue
			}
			bound++
			err := r.takes(m.Interface(), nil, worker)
			if signed := path[0] == "from_worker"; !signed && err == nil {
				t.Errorf("%s may have %v of another one", typ.Descriptor().FullName(), path)
			} else if field := m.Descriptor().Fields().ByName("from_worker"); field != nil && signed && m.Get(field).String() != worker.ID {
				t.Errorf("%s is not signed", typ.Descriptor().FullName())
			}
		}
		m := typ.New()
		for _, path := range [][]protoreflect.Name{{"worker_id"}, {"worker", "worker_id"}, {"Watcher", "Address"}, {"who", "Address"}, {"by"}, {"name"}} {
			claims(m, path, worker)
		}
		if err := r.takes(m.Interface(), nil, worker); err != nil {
			t.Errorf("%s of its own: %v", typ.Descriptor().FullName(), err)
		}
		if err := r.takes(m.Interface(), &actor.PID{Address: bys[0].Address, Id: "x"}, worker); err == nil {
			t.Errorf("%s may have the answer sent elsewhere", typ.Descriptor().FullName())
		}
	}
	if bound < 31 {
		t.Errorf("only %d fields name the sender", bound)
	}
}

// claims fills what a message may say of its sender; false if it does not have the field.
func claims(m protoreflect.Message, path []protoreflect.Name, by *Sender) bool {
	if m.Descriptor().Fields().ByName(path[0]) == nil {
		return false
	}
	for _, f := range []struct{ name, value string }{
		{"worker_id", by.ID}, {"incarnation", by.Incarnation}, {"address", by.Address}, {"Address", by.Address}, {"reply_address", by.Address}, {"name", by.Name}, {"by", by.Name}, {"by_role", string(by.Role)},
	} {
		set(m, []protoreflect.Name{protoreflect.Name(f.name)}, f.value)
		for _, in := range []protoreflect.Name{"worker", "Watcher", "who"} {
			set(m, []protoreflect.Name{in, protoreflect.Name(f.name)}, f.value)
		}
	}
	if field := m.Descriptor().Fields().ByName("worker"); field != nil && field.Kind() == protoreflect.BoolKind {
		m.Set(field, protoreflect.ValueOfBool(true))
	}
	return true
}

// set gives a field of text its value, if it is there.
func set(m protoreflect.Message, path []protoreflect.Name, value string) bool {
	field := m.Descriptor().Fields().ByName(path[0])
	switch {
	case field == nil:
		return false
	case len(path) > 1 && field.Kind() == protoreflect.MessageKind && !field.IsList():
		return set(m.Mutable(field).Message(), path[1:], value)
	case len(path) > 1 || field.Kind() != protoreflect.StringKind:
		return false
	}
	m.Set(field, protoreflect.ValueOfString(value))
	return true
}
