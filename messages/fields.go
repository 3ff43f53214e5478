package messages

import (
	"cmp"
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// What each field may be that a caller fills in: one table for the SDK, the API,
// the commands, spawns and events.

// rule checks the Go value of a field and returns an error of the catalogue, which
// names the field, the rule and the value.
type rule func(field string, value reflect.Value) error

// FieldRule is what a field may be; the zero one admits everything.
type FieldRule struct {
	// words are the field's name in errors.
	words string
	check rule
}

// Given says that there is a rule.
func (r FieldRule) Given() bool { return r.check != nil }

// Check returns how the value that the Go struct of a message has in the field breaks
// the rule; words name the field if they are not empty.
func (r FieldRule) Check(value reflect.Value, words string) error {
	if r.check == nil {
		return nil
	}
	return r.check(cmp.Or(words, r.words), value)
}

// fieldRules by the full name of the field.
var fieldRules = map[string]FieldRule{
	"limpet.api.v1.StartRunRequest.workflow":          {"workflow", required(CheckName)},
	"limpet.api.v1.StartRunRequest.idempotency_key":   {"idempotency_key", optional(CheckKey)},
	"limpet.api.v1.StartRunRequest.priority":          {"priority", checkPriority},
	"limpet.api.v1.StartRunRequest.metadata":          {"metadata", checkMetadata},
	"limpet.api.v1.StartRunRequest.run_id":            {"run_id", optional(func(_, id string) error { return CheckDrawnRunID(id) })},
	"limpet.api.v1.StartRunRequest.signal_name":       {"signal_name", optional(CheckName)},
	"limpet.api.v1.StartRunRequest.signal_message_id": {"signal_message_id", optional(CheckKey)},
	"limpet.api.v1.GetRunRequest.run_id":              {"run id", required(CheckName)},
	"limpet.api.v1.WaitRunRequest.run_id":             {"run id", required(CheckName)},
	"limpet.api.v1.WatchRunRequest.run_id":            {"run id", required(CheckName)},
	"limpet.api.v1.WatchRequest.topics":               {"topic", each(required(CheckName))},
	"limpet.api.v1.WatchRequest.position":             {"position", plainText("PositionBytesMax", PositionBytesMax)},
	"limpet.api.v1.ListAttemptsRequest.run_id":        {"run id", optional(CheckName)},
	"limpet.api.v1.ListAttemptsRequest.worker_id":     {"worker id", optional(CheckName)},
	"limpet.api.v1.ListAttemptsRequest.page_token":    {"page_token", plainText("PageTokenBytesMax", PageTokenBytesMax)},
	"limpet.api.v1.ReadLogRequest.run_id":             {"run id", required(CheckName)},
	"limpet.api.v1.ReadLogRequest.step":               {"step", optional(CheckName)},
	"limpet.api.v1.CancelRunRequest.run_id":           {"run id", required(CheckName)},
	"limpet.api.v1.CancelRunRequest.reason":           {"the reason", plainText("ReasonBytesMax", ReasonBytesMax)},
	"limpet.api.v1.SignalRunRequest.run_id":           {"run id", required(CheckName)},
	"limpet.api.v1.SignalRunRequest.name":             {"the name of a signal", required(CheckName)},
	"limpet.api.v1.SignalRunRequest.message_id":       {"message id", optional(CheckKey)},
	"limpet.api.v1.AskRunRequest.run_id":              {"run id", required(CheckName)},
	"limpet.api.v1.AskRunRequest.query":               {"the name of a query", required(CheckName)},
	"limpet.api.v1.ReadStreamRequest.run_id":          {"run id", required(CheckName)},
	"limpet.api.v1.ReadStreamRequest.stream":          {"the name of a stream", required(CheckName)},
	"limpet.api.v1.ReadStreamRequest.section":         {"the section", checkSection},
	"limpet.api.v1.ReplayRunRequest.run_id":           {"run id", required(CheckName)},
	"limpet.api.v1.ReplayRunRequest.steps":            {"step", each(required(CheckName))},
	"limpet.api.v1.ReplayRunRequest.request_id":       {"request id", optional(CheckName)},
	"limpet.api.v1.ListRunsRequest.workflow":          {"workflow", optional(CheckName)},
	"limpet.api.v1.ListRunsRequest.worker_id":         {"worker_id", optional(CheckName)},
	"limpet.api.v1.ListRunsRequest.parent_run":        {"parent_run", optional(CheckName)},
	"limpet.api.v1.ListRunsRequest.metadata":          {"metadata", checkMetadata},
	"limpet.api.v1.ListRunsRequest.page_token":        {"page_token", plainText("PageTokenBytesMax", PageTokenBytesMax)},
	"limpet.api.v1.CountRunsRequest.workflow":         {"workflow", optional(CheckName)},
	"limpet.api.v1.CountRunsRequest.worker_id":        {"worker_id", optional(CheckName)},
	"limpet.api.v1.CountRunsRequest.parent_run":       {"parent_run", optional(CheckName)},
	"limpet.api.v1.CountRunsRequest.metadata":         {"metadata", checkMetadata},
	"limpet.api.v1.PushEventRequest.key":              {"event key", required(CheckName)},
	"limpet.api.v1.PushEventRequest.event_id":         {"event_id", optional(CheckKey)},
	"limpet.api.v1.PushEventRequest.metadata":         {"metadata", checkMetadata},
	"limpet.api.v1.ListEventsRequest.key":             {"event key", optional(checkEventPattern)},
	"limpet.api.v1.ListEventsRequest.page_token":      {"page_token", plainText("PageTokenBytesMax", PageTokenBytesMax)},
	"limpet.api.v1.GetWorkerRequest.worker_id":        {"worker id", required(CheckName)},
	"limpet.api.v1.DrainWorkerRequest.worker_id":      {"worker id", required(CheckName)},
	"limpet.api.v1.UndrainWorkerRequest.worker_id":    {"worker id", required(CheckName)},

	"limpet.api.v1.ListWorkflowVersionsRequest.workflow": {"workflow", required(CheckName)},
	"limpet.api.v1.RetireWorkflowRequest.workflow":       {"workflow", required(CheckName)},
	"limpet.api.v1.RestoreWorkflowRequest.workflow":      {"workflow", required(CheckName)},
	"limpet.api.v1.UseWorkflowVersionRequest.workflow":   {"workflow", required(CheckName)},
	"limpet.api.v1.UseWorkflowVersionRequest.hash":       {"hash", required(CheckName)},

	"limpet.api.v1.CreateTokenRequest.name":            {"the name of a token", required(CheckName)},
	"limpet.api.v1.CreateTokenRequest.role":            {"role", checkRole},
	"limpet.api.v1.CreateTokenRequest.workflow_prefix": {"workflow_prefix", optional(CheckName)},
	"limpet.api.v1.CreateTokenRequest.pool":            {"pool", optional(CheckName)},
	"limpet.api.v1.RevokeTokenRequest.id":              {"token id", required(CheckName)},
	"limpet.api.v1.ListAuditRequest.who":               {"who", optional(CheckName)},
	"limpet.api.v1.ListAuditRequest.action":            {"action", plainText("NameBytesMax", NameBytesMax)},
	"limpet.api.v1.ListAuditRequest.target":            {"target", optional(CheckName)},
	"limpet.api.v1.ListAuditRequest.page_token":        {"page_token", plainText("PageTokenBytesMax", PageTokenBytesMax)},

	"limpet.v1.SpawnChild.key":      {"spawn key", required(CheckKey)},
	"limpet.v1.SpawnChild.workflow": {"workflow", required(CheckName)},
	"limpet.v1.SpawnChild.priority": {"priority", checkPriority},
	"limpet.v1.SpawnChild.metadata": {"metadata", checkMetadata},

	"limpet.v1.CallRecorded.kind":        {"kind of call", checkCallKind},
	"limpet.v1.CallRecorded.name":        {"the name of a call", required(CheckName)},
	"limpet.v1.CallRecorded.key":         {"the key of a call", required(CheckKey)},
	"limpet.v1.AwaitCall.kind":           {"kind of call", checkCallKind},
	"limpet.v1.AwaitCall.name":           {"the name of a call", required(CheckName)},
	"limpet.v1.AwaitCall.key":            {"the key of a call", required(CheckKey)},
	"limpet.v1.AwaitCall.timeout_ms":     {"the timeout of a wait", checkWait},
	"limpet.v1.WaitBranch.kind":          {"kind of wait", checkWaitKind},
	"limpet.v1.WaitBranch.signal":        {"the name of a signal", optional(CheckName)},
	"limpet.v1.WaitBranch.sleep_ms":      {"the time of a sleep", checkWait},
	"limpet.v1.WaitBranch.event_key":     {"event key", optional(CheckName)},
	"limpet.v1.WaitBranch.condition":     {"the condition of a wait", plainText("ConditionBytesMax", ConditionBytesMax)},
	"limpet.v1.WaitBranch.since_ms":      {"how far a wait looks back", checkWait},
	"limpet.v1.KeyedRun.idempotency_key": {"idempotency_key", required(CheckKey)},
	"limpet.v1.SendSignal.name":          {"the name of a call", required(CheckName)},
	"limpet.v1.SendSignal.key":           {"the key of a call", required(CheckKey)},
	"limpet.v1.SendSignal.to_run":        {"run id", optional(CheckName)},
	"limpet.v1.SendSignal.signal":        {"the name of a signal", required(CheckName)},
	"limpet.v1.KeyedRun.workflow":        {"workflow", required(CheckName)},
	"limpet.v1.SignalRun.name":           {"the name of a signal", required(CheckName)},
	"limpet.v1.SignalRun.message_id":     {"message id", required(CheckKey)},
	"limpet.v1.RecordedCalls.name":       {"the name of a call", required(CheckName)},
	"limpet.v1.RecordedCalls.key":        {"the key of a call", required(CheckKey)},
}

// CheckFields checks the fields of a request, or of a message between nodes, those
// of the messages in it included. The error has the code of the first fault and
// names all of one message.
func CheckFields(m proto.Message) error { return CheckFieldsAs(m, nil) }

// CheckFieldsAs is CheckFields with other names for the fields: as gives one for the
// full name of a field and the words that the table has for it.
func CheckFieldsAs(m proto.Message, as func(field, words string) string) error {
	if faults := checksOf(m).faults(reflect.ValueOf(m), as); len(faults) > 0 {
		return JoinFaults(faults)
	}
	return nil
}

// placed says of faults where they are.
func placed(place string, faults []error) []error {
	for i, fault := range faults {
		var e *Error
		if errors.As(fault, &e) {
			faults[i] = Errorf(e.Code, "%s%s", place, e.Message)
		}
	}
	return faults
}

// JoinFaults makes one error of several: the code of the first, all messages.
func JoinFaults(faults []error) error {
	if len(faults) == 1 {
		return faults[0]
	}
	texts := make([]string, len(faults))
	for i, fault := range faults {
		texts[i] = fault.Error()
		var e *Error
		if errors.As(fault, &e) {
			texts[i] = e.Message
		}
	}
	return Errorf(CodeOf(faults[0]), "%s", strings.Join(texts, "; "))
}

// required is for a text that has to be there, optional for one that may be empty.
func required(check func(words, value string) error) rule {
	return func(words string, v reflect.Value) error {
		if v.String() == "" {
			return Errorf(CodeInvalidArgument, "%s is empty", words)
		}
		return check(words, v.String())
	}
}

func optional(check func(words, value string) error) rule {
	return func(words string, v reflect.Value) error {
		if v.String() == "" {
			return nil
		}
		return check(words, v.String())
	}
}

// plainText is any UTF-8 up to a limit of bytes.
func plainText(limit string, most int) rule {
	return optional(func(words, value string) error {
		switch {
		case len(value) > most:
			return Errorf(CodeLimitExceeded, "%s has %d bytes, more than %s = %d", words, len(value), limit, most)
		case !utf8.ValidString(value):
			return Errorf(CodeInvalidArgument, "%s %q is not UTF-8", words, brief(value))
		}
		return nil
	})
}

func each(check rule) rule {
	return func(words string, v reflect.Value) error {
		for i := range v.Len() {
			if err := check(words, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func checkPriority(words string, v reflect.Value) error {
	return validatePriority(words, int32(v.Int()))
}

func checkRole(words string, v reflect.Value) error {
	if _, ok := Role_name[int32(v.Int())]; !ok || v.Int() == 0 {
		return Errorf(CodeInvalidArgument, "%s %d is none of read, run, operate and admin", words, v.Int())
	}
	return nil
}

func checkWait(words string, v reflect.Value) error {
	if ms := v.Int(); ms < 0 || ms > WaitMsMax {
		return Errorf(CodeLimitExceeded, "%s is %d ms, not 0 to WaitMsMax = %d", words, ms, WaitMsMax)
	}
	return nil
}

// checkEventPattern is CheckName for a key that may end with *.
func checkEventPattern(words, pattern string) error {
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	if isPrefix && prefix == "" {
		return nil
	}
	return CheckName(words, prefix)
}

func checkCallKind(words string, v reflect.Value) error {
	if _, ok := CallKind_name[int32(v.Int())]; !ok || v.Int() == 0 {
		return Errorf(CodeInvalidArgument, "%s %d is not one that this version knows", words, v.Int())
	}
	return nil
}

// checkWaitKind is for what can be waited for by itself.
func checkWaitKind(words string, v reflect.Value) error {
	switch CallKind(v.Int()) {
	case CallKind_CALL_KIND_RECEIVE, CallKind_CALL_KIND_SLEEP, CallKind_CALL_KIND_CHILD, CallKind_CALL_KIND_EVENT:
		return nil
	}
	return Errorf(CodeInvalidArgument, "%s %d is not one that this version knows", words, v.Int())
}

func checkMetadata(words string, v reflect.Value) error {
	return checkMetadataOf(words, v.Interface().(map[string]string))
}

// brief cuts what an error quotes of a value.
func brief(value string) string {
	if len(value) <= 64 {
		return value
	}
	return value[:64] + "…"
}

// What the lists of the API's requests may hold. They are counted while a
// request is read, before its messages are made.

// CountMax is a limit of how many entries a repeated field or a map has.
type CountMax struct {
	// Limit is the name of the constant.
	Limit string
	Max   int
}

// countMax by the full name of the field.
var countMax = map[string]CountMax{
	"limpet.api.v1.StartRunsRequest.runs":     {"BulkRunsMax", BulkRunsMax},
	"limpet.api.v1.StartRunRequest.metadata":  {"MetadataMax", MetadataMax},
	"limpet.api.v1.PushEventRequest.metadata": {"MetadataMax", MetadataMax},
	"limpet.api.v1.ReplayRunRequest.steps":    {"StepsMax", StepsMax},
	"limpet.api.v1.ListRunsRequest.metadata":  {"MetadataMax", MetadataMax},
	"limpet.api.v1.CountRunsRequest.metadata": {"MetadataMax", MetadataMax},
	"limpet.api.v1.ListRunsRequest.statuses":  {"StatusesMax", StatusesMax},
	"limpet.api.v1.WatchRequest.topics":       {"TopicsMax", TopicsMax},
}

// CountMaxOf returns the limit of a field by its full name; false if it has
// none.
func CountMaxOf(field string) (CountMax, bool) {
	c, ok := countMax[field]
	return c, ok
}

// Over is the error for more entries than there may be: LIMIT_EXCEEDED.
func (c CountMax) Over(field string) error {
	return Errorf(CodeLimitExceeded, "%s has more than %s = %d entries", field, c.Limit, c.Max)
}
