package messages

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits. Each is named, with its value, in the error that it causes.
const (
	// PayloadBytesMax limits the input of a run, the input and output of a step,
	// the result of a call, a signal, and the argument and answer of a query, each in
	// bytes of JSON.
	PayloadBytesMax = 1 << 20
	// TokensMax limits the tokens for the API.
	TokensMax = 1000
	// AuditRecordsMax limits the records of the audit log: the oldest are deleted.
	AuditRecordsMax = 1_000_000
	// StepsMax limits the steps of a workflow.
	StepsMax = 1000
	// AttemptsMax limits the attempts of a run, over all its steps.
	AttemptsMax = 10_000
	// CallsMax limits the durable calls of a step, over all its attempts.
	CallsMax = 10_000
	// BranchesMax limits what a call waits for at once.
	BranchesMax = 1000
	// ConditionBytesMax limits the condition of a call that waits for an event, in
	// bytes.
	ConditionBytesMax = 4096
	// SignalsMax limits the messages of a run that were not received.
	SignalsMax = 10_000
	// ProgressBytesMax limits a progress that a step tells, in bytes of JSON.
	ProgressBytesMax = 64 << 10
	// StreamsMax limits the streams of a run.
	StreamsMax = 100
	// StreamPieceBytesMax limits one piece of a stream, in bytes.
	StreamPieceBytesMax = 1 << 20
	// StreamBytesMax limits what all steps of a run have written to streams and was not
	// cut, in bytes, unless the server is set otherwise, and StreamPiecesMax how many
	// pieces that are.
	StreamBytesMax  = 16 << 20
	StreamPiecesMax = 1_000_000
	// StreamBufferBytesMax limits what an attempt has written to a stream and the store
	// has not yet, in bytes: beyond it the next Write waits. One piece is always taken.
	StreamBufferBytesMax = 1 << 20
	// StreamQueueBytesMax limits what a server holds of streams until it is stored, in
	// bytes. Beyond it workers send again later.
	StreamQueueBytesMax = 64 << 20
	// HeartbeatMsMin is the least heartbeat of a step, in milliseconds.
	HeartbeatMsMin int64 = 1000
	// QueriesMax limits the queries that a worker executes at once, and
	// QueriesOfRunMax those of one run among them: what does not return in time keeps
	// its place until it does. Others wait for a place: at most QueriesWaitingMax, and
	// QueriesOfRunWaitingMax of one run, those that are executed included.
	QueriesMax             = 16
	QueriesOfRunMax        = 4
	QueriesWaitingMax      = 1024
	QueriesOfRunWaitingMax = 64
	// QueriesOfWorkflowMax limits the queries that a workflow declares.
	QueriesOfWorkflowMax = 100
	// QueryTimeoutMsMax limits how long a query may take, in milliseconds;
	// DefaultQueryTimeoutMs is for one that does not say.
	QueryTimeoutMsMax     int64 = 60_000
	DefaultQueryTimeoutMs int64 = 5_000
	// LogLinesMax and LogBytesMax limit what is kept of what an attempt logs, in lines,
	// and in bytes; what is beyond that is counted. LogLineBytesMax limits one line, and
	// its attributes: what is longer is cut.
	LogLinesMax     = 1000
	LogBytesMax     = 256 << 10
	LogLineBytesMax = 8 << 10
	// LogRunBytesMax limits what is kept of what the attempts of a run log, in bytes: what
	// was stored first goes first, when another attempt begins to log.
	LogRunBytesMax = 16 << 20
	// LogQueueBytesMax limits what a worker keeps of what its steps log until it is stored,
	// and a server until the journal has it, in bytes. A worker leaves out what is beyond
	// that, and says it again where a server does.
	LogQueueBytesMax = 16 << 20
	// LogSendBytesMax limits what of this is sent at once, in bytes.
	LogSendBytesMax = 1 << 20
	// WaitMsMax limits a wait of a call: a year of 365 days, in milliseconds.
	WaitMsMax int64 = 365 * 24 * 3600 * 1000
	// NameBytesMax limits names of workflows, steps, workers, pools, labels
	// and event keys.
	NameBytesMax = 128
	// BulkRunsMax limits the runs of one StartRuns call.
	BulkRunsMax = 10_000
	// RequestBytesMax limits a request of the API, unpacked.
	RequestBytesMax = 64 << 20
	// PageSizeMax limits the runs of one page of a listing.
	PageSizeMax = 1000
	// NewsMax is how much of what happens a server keeps for who watches the cluster, the
	// newest, and PositionBytesMax limits a place in that.
	NewsMax          = 10_000
	PositionBytesMax = 16 << 10
	// WorkerEventsMax is how many events of workers a server keeps, the newest, and
	// EventsOfWorkerMax how many of one worker it shows.
	WorkerEventsMax   = 20_000
	EventsOfWorkerMax = 200
	// RunsCountedMax is how many runs of one kind are counted: of more it is said that there
	// are.
	RunsCountedMax = 10_000
	// PageTokenBytesMax limits the token of a page.
	PageTokenBytesMax = 1024
	// StepInputBytesMax limits what a step is given: the input of its run and the
	// outputs of its parents together.
	StepInputBytesMax = 16 * PayloadBytesMax
	// RunDispatchBytesMax limits what a run has on the way to workers: what they
	// have not answered yet, and one attempt. The rest of what is ready is sent
	// later. A worker answers at once, so that this bounds memory, not speed.
	RunDispatchBytesMax = 4 << 20
	// RunQuestionsMax limits the questions of a run that placement has not answered
	// yet.
	RunQuestionsMax = 64
	// RunQueueBytesMax limits what a run that cannot go on, because the journal is
	// out of reach, keeps of what it is told, and ServerQueueBytesMax that of all
	// runs of a server. Beyond it a worker says it again later, and a call gets
	// JOURNAL_UNAVAILABLE. One copy of each message is kept. The memory of the process
	// may grow by several times that until Go's collector has taken what was read and
	// encoded for tries that failed: GOMEMLIMIT has it do so sooner.
	RunQueueBytesMax    = 32 << 20
	ServerQueueBytesMax = 256 << 20
	// WorkerResultsBytesMax limits the results that a worker keeps until their
	// runs have recorded them. Beyond it the worker begins nothing new.
	WorkerResultsBytesMax = 64 << 20
	// PeerQueueBytesMax limits what waits on a process for a connection to
	// another one. Beyond it messages are dropped, and said again later.
	PeerQueueBytesMax = 256 << 20
	// RelaysMax limits the streams that a server passes on between others that do not
	// reach each other. Beyond it another server is tried.
	RelaysMax = 1024
	// FailureMessageBytesMax and FailureStackBytesMax limit what is kept of an
	// error or a panic of a step; what is longer is cut off.
	FailureMessageBytesMax = 16 << 10
	FailureStackBytesMax   = 64 << 10
	// StatusesMax limits the statuses that a listing asks for.
	StatusesMax = 16
	// TopicsMax limits the topics that a watch of the cluster asks for.
	TopicsMax = 8
	// OnEventsMax limits the event keys of a workflow.
	OnEventsMax = 100
	// LabelRulesMax limits the label rules of a workflow or of a step.
	LabelRulesMax = 100
	// LabelValueBytesMax limits the value of a label or of a label rule.
	LabelValueBytesMax = 256
	// LabelWeightMax limits the weight of a preferred label rule; the least is 1.
	LabelWeightMax = 1000
	// LabelsMax limits the labels of a worker.
	LabelsMax = 100
	// DefinitionBytesMax limits an encoded workflow definition, its input
	// schema included.
	DefinitionBytesMax = 256 << 10
	// WorkflowsMax limits the workflows of a worker.
	WorkflowsMax = 1000
	// WorkflowsBytesMax limits the encoded definitions of a worker's workflows, all
	// together: they are sent in one message.
	WorkflowsBytesMax = 16 << 20
	// SlotsMax limits the slots of a worker.
	SlotsMax = 100_000
	// MetadataMax limits the metadata entries of a run.
	MetadataMax = 64
	// MetadataBytesMax limits the metadata of a run, keys and values together.
	MetadataBytesMax = 16 << 10
	// KeyBytesMax limits an idempotency key, an event id, the id of a message and
	// the key of a spawn or of a call.
	KeyBytesMax = 256
	// LocalsMax limits the kinds of local state that a workflow declares.
	LocalsMax = 32
	// LocalKeyBytesMax limits the key of a shared local value.
	LocalKeyBytesMax = 256
	// HandoffBytesMax limits what the local state of a run is handed off as,
	// all its kinds together.
	HandoffBytesMax = 1 << 20
	// HeldKeysMax limits the keys of shared local values that a worker tells
	// placement of; it holds what it has beyond that unseen.
	HeldKeysMax = 4096
	// ReasonBytesMax limits the reason that is given with a cancel.
	ReasonBytesMax = 1024
	// DurationMsMax limits the timeouts, back-offs and patience of a
	// definition: ten years of 365 days, in milliseconds.
	DurationMsMax int64 = 10 * 365 * 24 * 3600 * 1000
)

// CheckName returns INVALID_ARGUMENT, naming what, unless the name has 1 to
// NameBytesMax characters of A-Z a-z 0-9 . _ : / -
func CheckName(what, name string) error {
	switch {
	case name == "":
		return Errorf(CodeInvalidArgument, "%s is empty", what)
	case len(name) > NameBytesMax:
		return Errorf(CodeInvalidArgument, "%s %q has %d characters, more than NameBytesMax = %d",
			what, name[:32]+"…", len(name), NameBytesMax)
	}
	for i, r := range name {
		if !nameRune(r) {
			return Errorf(CodeInvalidArgument, "%s %q: character %q at position %d is not one of A-Z a-z 0-9 . _ : / -",
				what, name, r, i+1)
		}
	}
	return nil
}

func nameRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r == '.' || r == '_' || r == ':' || r == '/' || r == '-'
}

// CheckKey returns INVALID_ARGUMENT, naming what, unless the key has at most
// KeyBytesMax bytes of printable UTF-8. The empty key is the absence of one.
func CheckKey(what, key string) error {
	if len(key) > KeyBytesMax {
		return Errorf(CodeInvalidArgument, "%s has %d bytes, more than KeyBytesMax = %d", what, len(key), KeyBytesMax)
	}
	for i, r := range key {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return Errorf(CodeInvalidArgument, "%s %q: the character at byte %d is not printable UTF-8", what, key, i+1)
		}
	}
	return nil
}

// checkMetadataOf returns INVALID_ARGUMENT or LIMIT_EXCEEDED for metadata that a
// run may not have.
func checkMetadataOf(words string, metadata map[string]string) error {
	if n := len(metadata); n > MetadataMax {
		return Errorf(CodeLimitExceeded, "%s has %d entries, more than MetadataMax = %d", words, n, MetadataMax)
	}
	size := 0
	for k, v := range metadata {
		if err := CheckName(words+" key", k); err != nil {
			return err
		}
		if !utf8.ValidString(v) {
			return Errorf(CodeInvalidArgument, "%s %q: its value %q is not UTF-8", words, k, brief(v))
		}
		size += len(k) + len(v)
	}
	if size > MetadataBytesMax {
		return Errorf(CodeLimitExceeded, "%s has %d bytes, more than MetadataBytesMax = %d", words, size, MetadataBytesMax)
	}
	return nil
}

// CheckPayload returns PAYLOAD_TOO_LARGE, naming what, for more than
// PayloadBytesMax bytes.
func CheckPayload(what string, payload []byte) error {
	return CheckPayloadSize(what, int64(len(payload)))
}

// CheckProgress returns PAYLOAD_TOO_LARGE for more than ProgressBytesMax.
func CheckProgress(progress []byte) error {
	if size := len(progress); size > ProgressBytesMax {
		return Errorf(CodePayloadTooLarge, "the progress has %d bytes, more than ProgressBytesMax = %d", size, ProgressBytesMax)
	}
	return nil
}

// CheckStreamPiece returns PAYLOAD_TOO_LARGE for more than StreamPieceBytesMax.
func CheckStreamPiece(piece []byte) error {
	if size := len(piece); size > StreamPieceBytesMax {
		return Errorf(CodePayloadTooLarge, "a piece of a stream has %d bytes, more than StreamPieceBytesMax = %d", size, StreamPieceBytesMax)
	}
	return nil
}

// CutLogText returns a text of a line of a log that is not longer than LogLineBytesMax
// and is UTF-8, and whether something was cut off.
func CutLogText(text string) (kept string, cut bool) {
	if cut = len(text) > LogLineBytesMax; cut {
		text = text[:LogLineBytesMax]
	}
	return strings.ToValidUTF8(text, ""), cut
}

// CheckPayloadSize is CheckPayload for one that is not in memory.
func CheckPayloadSize(what string, size int64) error {
	if size <= PayloadBytesMax {
		return nil
	}
	return Errorf(CodePayloadTooLarge, "%s has %s, more than PayloadBytesMax = %s",
		what, bytesText(size), bytesText(PayloadBytesMax))
}

func bytesText(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d bytes (%.2f MiB)", n, float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
