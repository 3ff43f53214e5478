package gossip

import "testing"

// FuzzMember: whatever is heard of a member is refused, or a member that others can be
// told of in the same words.
func FuzzMember(f *testing.F) {
	data, err := encodeMeta(Member{Role: RoleServer, State: StateReady, Pool: "p", Address: "127.0.0.1:1", Store: "s"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("server/a~01", data)
	f.Add("~", []byte{})
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		m, err := decodeMember(name, 1, "127.0.0.1:2", data)
		if err != nil {
			return
		}
		again, err := encodeMeta(m)
		if err != nil {
			t.Fatal(err) // it could not have been decoded
		}
		if told, err := decodeMember(Name(m.WorkerID, m.Incarnation), 1, "127.0.0.1:2", again); err != nil || told != m {
			t.Errorf("heard as %+v, told as %+v, %v", m, told, err)
		}
	})
}
