package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"plain, längst 日本語　x":          "plain, längst 日本語　x",
		"\x1b[31mred\x1b[0m":           `\x1b[31mred\x1b[0m`,
		"over\rwritten\n\tby\x00\x07":  `over\rwritten\n\tby\x00\a`,
		"\u202etxt.exe\u2066\u200b":    `\u202etxt.exe\u2066\u200b`,
		"\u009b2J":                     `\u009b2J`,
		"cut \xff\xe2\x82 and \ufffd.": `cut \xff\xe2\x82 and �.`,
		`a "quoted" back\slash`:        `a "quoted" back\slash`,
		"\U000e0041":                   `\U000e0041`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// nasty is text that would steer a terminal, in each way that we know of.
const nasty = "\x1b[31m\x1b]0;owned\x07over\rwritten\nnext\t\x00\x7f\u009b2J\u202egnp\u2066\u200b"

// nastyAPI answers every call with messages whose every text is nasty, or with a
// nasty error.
type nastyAPI struct {
	enum protoreflect.EnumNumber
	fail bool
}

func (n *nastyAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n.fail {
		detail, _ := proto.Marshal(&api.ErrorDetail{Code: "NASTY" + nasty, Hint: nasty})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": "invalid_argument", "message": nasty, "details": []map[string]string{
			{"type": "limpet.api.v1.ErrorDetail", "value": base64.RawStdEncoding.EncodeToString(detail)}}})
		return
	}
	service, _ := protoregistry.GlobalFiles.FindDescriptorByName(apiconnect.LimpetServiceName)
	method := service.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]))
	kind, _ := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	message := kind.New()
	n.fill(message, 0)
	data, err := proto.Marshal(message.Interface())
	if err != nil {
		panic(err)
	}
	if !method.IsStreamingServer() {
		w.Header().Set("Content-Type", "application/proto")
		_, _ = w.Write(data)
		return
	}
	w.Header().Set("Content-Type", "application/connect+proto")
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data))), data...))
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{2}, 2), "{}"...))
}

// fill sets all fields; a list of messages with one-ofs gets one for each choice.
func (n *nastyAPI) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.ContainingOneof() != nil && m.WhichOneof(field.ContainingOneof()) != nil || field.Message() != nil && depth > 6 {
			continue
		}
		switch {
		case field.IsMap():
			value := m.NewField(field).Map()
			if field.MapValue().Message() == nil {
				value.Set(n.scalar(field.MapKey()).MapKey(), n.scalar(field.MapValue()))
			}
			m.Set(field, protoreflect.ValueOfMap(value))
		case field.IsList():
			n.fillList(m.Mutable(field).List(), field, depth)
		case field.Message() != nil:
			n.fill(m.Mutable(field).Message(), depth+1)
		default:
			m.Set(field, n.scalar(field))
		}
	}
}

func (n *nastyAPI) fillList(list protoreflect.List, field protoreflect.FieldDescriptor, depth int) {
	if field.Message() == nil {
		list.Append(n.scalar(field))
		return
	}
	element := list.NewElement()
	n.fill(element.Message(), depth+1)
	list.Append(element)
	for i := range field.Message().Oneofs().Len() {
		choices := field.Message().Oneofs().Get(i).Fields()
		for j := range choices.Len() {
			one := list.NewElement()
			n.fill(one.Message().Mutable(choices.Get(j)).Message(), depth+1)
			list.Append(one)
		}
	}
}

func (n *nastyAPI) scalar(field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		// A page has no next one, or the listing would not end.
		if field.Name() == "next_page_token" {
			return protoreflect.ValueOfString("")
		}
		return protoreflect.ValueOfString(nasty)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("\"" + nasty + "\xff\xfe\""))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(n.enum)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	}
	panic("no value for " + string(field.FullName()))
}

// nastyServer has addresses that no server has.
type nastyServer struct{ fakeServer }

func (s *nastyServer) APIAddress() string    { return nasty }
func (s *nastyServer) GossipAddress() string { return nasty }

// ours are the escapes that the commands themselves send to a terminal.
var ours = regexp.MustCompile(`\x1b\[(31|32|33|36|2|1|0)m|\r\x1b\[K`)

// TestNothingSteersTheTerminal runs every command with servers, arguments and
// errors whose every text is nasty.
func TestNothingSteersTheTerminal(t *testing.T) {
	arguments := map[string][]string{
		"limpet run start": {nasty, "--input", "{}", "--wait"}, "limpet run get": {nasty}, "limpet run attempts": {nasty}, "limpet run watch": {nasty}, "limpet run stream": {nasty, nasty, "--follow"}, "limpet run logs": {nasty},
		"limpet run cancel": {nasty}, "limpet run ask": {nasty, nasty, "--arg", "{}"}, "limpet run signal": {nasty, nasty, "--payload", "{}"}, "limpet run replay": {nasty, "--step", nasty}, "limpet run list": {}, "limpet run count": {"--by-workflow"},
		"limpet watch": {}, "limpet event push": {nasty}, "limpet event list": {}, "limpet worker list": {}, "limpet worker get": {nasty}, "limpet worker attempts": {nasty}, "limpet worker drain": {nasty},
		"limpet worker undrain": {nasty}, "limpet member list": {}, "limpet workflow list": {}, "limpet workflow versions": {nasty}, "limpet workflow use": {nasty, nasty},
		"limpet workflow retire": {nasty}, "limpet workflow restore": {nasty}, "limpet config": {"--id", nasty},
		"limpet ca init": {"--dir", nasty}, "limpet ca issue": {nasty, "--out", nasty}, "limpet server": {}, "limpet dev": {}, "limpet version": {},
		"limpet token create": {nasty, "--role", "run"}, "limpet token list": {}, "limpet audit": {}, "limpet token revoke": {nasty},
	}
	for _, n := range []*nastyAPI{{enum: 1}, {enum: 2}, {enum: 3}, {enum: 4}, {enum: 99}, {fail: true}} {
		server := httptest.NewServer(n)
		t.Cleanup(server.Close)
		c, _, _ := testCLI(nil)
		visitLeaves(c.rootCommand(), func(cmd *cobra.Command) {
			args, ok := arguments[cmd.CommandPath()]
			if !ok {
				t.Errorf("no arguments for %q", cmd.CommandPath())
				return
			}
			for _, wrong := range [][]string{nil, {nasty, nasty, nasty}, {"--" + nasty}, {"--color", nasty}} {
				for _, terminal := range []bool{false, true} {
					line := append(append(strings.Fields(cmd.CommandPath())[1:], args...), wrong...)
					checkScreen(t, n, server.URL, terminal, line)
				}
			}
		})
	}
}

func visitLeaves(cmd *cobra.Command, each func(*cobra.Command)) {
	if !cmd.HasSubCommands() {
		each(cmd)
	}
	for _, sub := range cmd.Commands() {
		visitLeaves(sub, each)
	}
}

func checkScreen(t *testing.T, n *nastyAPI, address string, terminal bool, line []string) {
	t.Helper()
	c, stdout, stderr := testCLI(map[string]string{"LIMPET_ADDRESS": address})
	c.out.terminal, c.err.terminal = terminal, terminal
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.start = func(context.Context, config.Values, *slog.Logger) (runningServer, error) {
		cancel()
		return &nastyServer{fakeServer{done: make(chan error)}}, nil
	}
	c.execute(ctx, line)
	text := stdout.String() + stderr.String()
	if text == "" {
		t.Errorf("%q (%+v): prints nothing", line, n)
	}
	if terminal {
		text = ours.ReplaceAllString(text, "")
	}
	for i, r := range text {
		if r != '\n' && hidden(r) {
			t.Errorf("%q (%+v, terminal %v): %q reaches the terminal: %q", line, n, terminal, r, text[max(0, i-40):min(len(text), i+40)])
			return
		}
	}
}

// What people see of nasty text is what it is made of.
func TestNastyTextIsShown(t *testing.T) {
	server := httptest.NewServer(&nastyAPI{enum: 3})
	t.Cleanup(server.Close)
	for _, args := range [][]string{{"run", "get", "r"}, {"run", "list"}, {"run", "watch", "r"}, {"run", "logs", "r"}, {"worker", "list"}, {"worker", "get", "w"}, {"worker", "attempts", "w"}, {"member", "list"}, {"workflow", "list"}} {
		r := execute(t.Context(), map[string]string{"LIMPET_ADDRESS": server.URL}, args...)
		if !strings.Contains(r.out, `\x1b[31m\x1b]0;owned\aover\rwritten\nnext`) {
			t.Errorf("%v: %s%s", args, r.out, r.err)
		}
	}
	// Programs get what there is.
	r := execute(t.Context(), map[string]string{"LIMPET_ADDRESS": server.URL}, "run", "list", "--json")
	var list struct{ Runs []struct{ RunID string } }
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || list.Runs[0].RunID != nasty {
		t.Errorf("%v: %q", err, list)
	}
}
