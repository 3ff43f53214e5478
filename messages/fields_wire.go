package messages

import (
	"encoding/json"
	"reflect"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// What the fields of messages between nodes may be. They go by the name of the field
// alone: it means the same in each message. So what enters by another node is held
// to the rules of the API.

var wireRules = map[protoreflect.Name]FieldRule{
	"run_id":          {"run id", required(CheckName)},
	"parent_run":      {"parent_run", optional(CheckName)},
	"child_run":       {"child_run", optional(CheckName)},
	"step":            {"step", optional(CheckName)},
	"parent_step":     {"parent_step", optional(CheckName)},
	"workflow":        {"workflow", optional(CheckName)},
	"pool":            {"pool", optional(CheckName)},
	"worker_id":       {"worker id", optional(CheckName)},
	"exclude_worker":  {"exclude_worker", optional(CheckName)},
	"unbound_worker":  {"unbound_worker", optional(CheckName)},
	"idempotency_key": {"idempotency_key", optional(CheckKey)},
	"trigger":         {"trigger", optional(CheckKey)},
	"traceparent":     {"traceparent", optional(CheckTraceparent)},
	"definition_hash": {"definition_hash", optional(CheckName)},
	"identity":        {"identity", optional(CheckName)},
	"kind":            {"kind", optional(CheckName)},
	"request_id":      {"request id", optional(CheckName)},
	"reason":          {"the reason", plainText("ReasonBytesMax", ReasonBytesMax)},
	"code":            {"code", optional(CheckName)},
	"message":         {"the message", plainText("PayloadBytesMax", PayloadBytesMax)},
	"stack":           {"the stack", plainText("PayloadBytesMax", PayloadBytesMax)},
	"steps":           {"step", each(required(CheckName))},
	"input":           {"input", checkJSON},
	"payload":         {"the payload", checkJSON},
	"progress":        {"the progress", checkProgress},
	"last_progress":   {"the progress", checkProgress},
	"first_line":      {"the number of the first line", checkFirstLine},
	"level":           {"the level of a line", plainText("NameBytesMax", NameBytesMax)},
	"attributes":      {"the attributes of a line", plainText("LogLineBytesMax", LogLineBytesMax)},
	"chunk":           {"the chunk", present},
	"stream":          {"the name of a stream", required(CheckName)},
	"section":         {"the section", checkSection},
	"pieces":          {"a piece of a stream", checkPieces},
	"query":           {"the name of a query", required(CheckName)},
	"arg":             {"the argument", checkJSON},
	"answer":          {"the answer", checkJSON},
	"inputs":          {"input", each(checkJSON)},
	"output":          {"output", checkJSON},
	"metadata":        {"metadata", checkMetadata},
	"priority":        {"priority", checkPriority},
	"attempt":         {"attempt", checkAttempt},
	"shards":          {"shard", each(checkShard)},
	"start":           {"start", present},
	"worker":          {"worker", present},
	"load":            {"load", present},
	"call":            {"call", present},
}

// wireMore are the messages beside those of wire.proto that these rules are for;
// whatever else is in a message has checks of its own.
var wireMore = []protoreflect.FullName{
	"limpet.v1.RunStarted", "limpet.v1.CallRecorded", "limpet.v1.WaitBranch", "limpet.v1.CancelRequested", "limpet.v1.Failure", "limpet.v1.WorkerRef", "limpet.v1.LogChunk", "limpet.v1.LogLine",
}

// onWire says that a message is one that nodes send to each other, or a part.
func onWire(d protoreflect.MessageDescriptor) bool {
	return d.ParentFile() == File_wire_proto || slices.Contains(wireMore, d.FullName())
}

// wireRule is the rule of a field of a message between nodes. Messages whose name is
// like that of a text have none.
func wireRule(f protoreflect.FieldDescriptor) FieldRule {
	isMessage := f.Message() != nil && !f.IsMap()
	wantsMessage := f.Name() == "start" || f.Name() == "worker" || f.Name() == "load" || f.Name() == "call" || f.Name() == "chunk"
	if isMessage != wantsMessage || f.Kind() == protoreflect.EnumKind {
		return FieldRule{}
	}
	return wireRules[f.Name()]
}

// present is for a message that has to be there.
func present(words string, v reflect.Value) error {
	if v.IsNil() {
		return Errorf(CodeInvalidArgument, "%s is missing", words)
	}
	return nil
}

// checkJSON is for a payload; the empty one is the absence of one.
func checkJSON(words string, v reflect.Value) error {
	payload := v.Bytes()
	if err := CheckPayload(words, payload); err != nil {
		return err
	}
	if len(payload) > 0 && !json.Valid(payload) {
		return Errorf(CodeInvalidInput, "%s of %d bytes is not JSON", words, len(payload))
	}
	return nil
}

// checkProgress is checkJSON for what is recorded again and again.
func checkProgress(words string, v reflect.Value) error {
	if err := CheckProgress(v.Bytes()); err != nil {
		return err
	}
	return checkJSON(words, v)
}

func checkAttempt(words string, v reflect.Value) error {
	if n := v.Int(); n < 1 {
		return Errorf(CodeInvalidArgument, "%s %d: attempts count from 1", words, n)
	}
	return nil
}

func checkFirstLine(words string, v reflect.Value) error {
	if n := v.Int(); n < 1 || n > LogLinesMax+1 {
		return Errorf(CodeInvalidArgument, "%s %d: must be 1 to %d, one more than LogLinesMax", words, n, LogLinesMax+1)
	}
	return nil
}

func checkSection(words string, v reflect.Value) error {
	if n := v.Int(); n < 0 {
		return Errorf(CodeInvalidArgument, "%s %d: sections count from 1", words, n)
	}
	return nil
}

// checkPieces is for what is sent at once: no more than may wait to be, and a piece.
func checkPieces(words string, v reflect.Value) error {
	all := 0
	for _, piece := range v.Interface().([][]byte) {
		if err := CheckStreamPiece(piece); err != nil {
			return err
		}
		all += len(piece)
	}
	if most := StreamBufferBytesMax + StreamPieceBytesMax; all > most {
		return Errorf(CodePayloadTooLarge, "%s has %d bytes with those beside it, more than %d", words, all, most)
	}
	return nil
}

func checkShard(words string, v reflect.Value) error {
	if n := v.Int(); n < 0 || n >= Shards {
		return Errorf(CodeInvalidArgument, "%s %d: must be 0 to %d", words, n, Shards-1)
	}
	return nil
}
