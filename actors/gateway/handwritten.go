package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// readableJSON is the name of the codec for people who write requests by hand, with
// curl for example, and ask for it by the content type: inputs, payloads and outputs are
// the JSON that they are, in the request and in the answer. Programs are answered with
// them in base64, as Connect has it.
const readableJSON = "json; payloads=json"

// handwritten stands before the service.
type handwritten struct {
	service http.Handler
	// prefix of the paths of procedures.
	prefix string
}

func (h handwritten) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	asJSON := err == nil && kind == "application/json"
	name := strings.TrimPrefix(r.URL.Path, h.prefix)
	procedures := api.File_api_api_proto.Services().ByName("LimpetService").Methods()
	switch {
	case procedures.ByName(protoreflect.Name(name)) == nil:
		refuseByHand(w, http.StatusNotFound, noProcedure(name, procedures))
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuseByHand(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is called by POST, not by %.20q", name, r.Method))
		return
	case kind == "" || kind == "application/x-www-form-urlencoded" || kind == "text/plain":
		w.Header().Set("Accept-Post", "application/json")
		refuseByHand(w, http.StatusUnsupportedMediaType, fmt.Sprintf("the content type is %q: say Content-Type: application/json, and send a %s as JSON", kind, procedures.ByName(protoreflect.Name(name)).Input().Name()))
		return
	case asJSON && params["payloads"] == "json":
		r.Header.Set("Content-Type", "application/"+readableJSON)
	}
	h.service.ServeHTTP(w, r)
}

// refuseByHand answers in the form of Connect's errors.
func refuseByHand(w http.ResponseWriter, status int, message string) {
	code := map[int]string{http.StatusNotFound: "unimplemented"}[status]
	if code == "" {
		code = "invalid_argument"
	}
	writeJSON(w, status, map[string]string{"code": code, "message": message})
}

func noProcedure(name string, of protoreflect.MethodDescriptors) string {
	names := make([]string, of.Len())
	for i := range names {
		names[i] = string(of.Get(i).Name())
	}
	what := fmt.Sprintf("LimpetService has no procedure %.128q", name)
	if best := messages.Nearest(name, names); best != "" {
		return fmt.Sprintf("%s: did you mean %q?", what, best)
	}
	return what + ": it has " + strings.Join(names, ", ")
}

// readable is an answer in JSON with its payloads as the JSON that they are.
func readable(answer []byte, of protoreflect.MessageDescriptor) []byte {
	r := &shapeReader{shape: &shape{data: answer}}
	var out []byte
	from := 0
	r.payload = func(protoreflect.FieldDescriptor, string) error {
		start := r.at
		r.skip()
		var text []byte
		if raw, err := base64.StdEncoding.DecodeString(strings.Trim(string(answer[start:r.at]), `"`)); err == nil && json.Valid(raw) {
			text = raw
		}
		if text != nil {
			out = append(append(out, answer[from:start]...), text...)
			from = r.at
		}
		return nil
	}
	if r.message(of, "") != nil || from == 0 {
		return answer
	}
	return append(out, answer[from:]...)
}
