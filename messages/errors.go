package messages

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Code names a kind of error across the wire, in the journal, in the CLI and
// in the SDK. Codes are stable: they may be matched by programs.
type Code string

// The catalogue. Kind, retryability and the hint of each are in catalogue.
const (
	CodeUnknownWorkflow      Code = "UNKNOWN_WORKFLOW"
	CodeWorkflowRetired      Code = "WORKFLOW_RETIRED"
	CodeWorkflowUnserved     Code = "WORKFLOW_UNSERVED"
	CodeUnknownRun           Code = "UNKNOWN_RUN"
	CodeUnknownStep          Code = "UNKNOWN_STEP"
	CodeInvalidArgument      Code = "INVALID_ARGUMENT"
	CodeInvalidInput         Code = "INVALID_INPUT"
	CodeInvalidDefinition    Code = "INVALID_DEFINITION"
	CodePayloadTooLarge      Code = "PAYLOAD_TOO_LARGE"
	CodeLimitExceeded        Code = "LIMIT_EXCEEDED"
	CodeIdempotencyMismatch  Code = "IDEMPOTENCY_MISMATCH"
	CodeRunFinished          Code = "RUN_FINISHED"
	CodeRunEnding            Code = "RUN_ENDING"
	CodeRunNotFinished       Code = "RUN_NOT_FINISHED"
	CodeRunSetAside          Code = "RUN_SET_ASIDE"
	CodeWorkerIDTaken        Code = "WORKER_ID_TAKEN"
	CodeWorkerSuperseded     Code = "WORKER_SUPERSEDED"
	CodeChildNotSticky       Code = "CHILD_NOT_STICKY"
	CodeChildNotOnWorker     Code = "CHILD_NOT_ON_WORKER"
	CodeSpawnKeyReused       Code = "SPAWN_KEY_REUSED"
	CodeCallNeedsKey         Code = "CALL_NEEDS_KEY"
	CodeCallMismatch         Code = "CALL_MISMATCH"
	CodeWaitTimeout          Code = "WAIT_TIMEOUT"
	CodeSuspended            Code = "SUSPENDED"
	CodeStickyNeedsLongLived Code = "STICKY_NEEDS_LONG_LIVED_WORKER"
	CodeStaleAttempt         Code = "STALE_ATTEMPT"
	CodeUserError            Code = "USER_ERROR"
	CodeInvalidOutput        Code = "INVALID_OUTPUT"
	CodeCodecFailed          Code = "CODEC_FAILED"
	CodeStepPanicked         Code = "STEP_PANICKED"
	CodeScheduleTimeout      Code = "SCHEDULE_TIMEOUT"
	CodeExecutionTimeout     Code = "EXECUTION_TIMEOUT"
	CodeHeartbeatTimeout     Code = "HEARTBEAT_TIMEOUT"
	CodeWorkerLost           Code = "WORKER_LOST"
	CodeLeaseExpired         Code = "LEASE_EXPIRED"
	CodeStateLost            Code = "STATE_LOST"
	CodeStateNotBuilt        Code = "STATE_NOT_BUILT"
	CodeSlotHeld             Code = "SLOT_HELD"
	CodeUnknownQuery         Code = "UNKNOWN_QUERY"
	CodeNotBound             Code = "NOT_BOUND"
	CodeWorkerAway           Code = "WORKER_AWAY"
	CodeStateNotThere        Code = "STATE_NOT_THERE"
	CodeQueryTimedOut        Code = "QUERY_TIMED_OUT"
	CodeQueryPanicked        Code = "QUERY_PANICKED"
	CodeQueryFailed          Code = "QUERY_FAILED"
	CodeUnknownStream        Code = "UNKNOWN_STREAM"
	CodeStreamInUse          Code = "STREAM_IN_USE"
	CodeUnknownWorker        Code = "UNKNOWN_WORKER"
	CodeWorkerEnding         Code = "WORKER_ENDING"
	CodeWorkerGone           Code = "WORKER_GONE"
	CodeCanceled             Code = "CANCELED"
	CodeStepFailed           Code = "STEP_FAILED"
	CodeJournalCorrupt       Code = "JOURNAL_CORRUPT"
	CodeJournalNewer         Code = "JOURNAL_NEWER"
	CodeJournalInUse         Code = "JOURNAL_IN_USE"
	CodeJournalDenied        Code = "JOURNAL_DENIED"
	CodeJournalUnavailable   Code = "JOURNAL_UNAVAILABLE"
	CodeJournalConflict      Code = "JOURNAL_CONFLICT"
	CodeStoreMismatch        Code = "STORE_MISMATCH"
	CodeServerIDTaken        Code = "SERVER_ID_TAKEN"
	CodeAddressInUse         Code = "ADDRESS_IN_USE"
	CodeWrongAddress         Code = "WRONG_ADDRESS"
	CodeCertificateRefused   Code = "CERTIFICATE_REFUSED"
	CodeSecretRequired       Code = "SECRET_REQUIRED"
	CodeUnauthenticated      Code = "UNAUTHENTICATED"
	CodePermissionDenied     Code = "PERMISSION_DENIED"
	CodeUnknownToken         Code = "UNKNOWN_TOKEN"
	CodeJoinFailed           Code = "JOIN_FAILED"
	CodeUnavailable          Code = "UNAVAILABLE"
	CodeDeadline             Code = "DEADLINE_EXCEEDED"
	CodeInternal             Code = "INTERNAL"
)

// Kind says how a code appears over HTTP and gRPC; the names are those of the
// Connect protocol.
type Kind string

const (
	KindInvalidArgument    Kind = "invalid_argument"
	KindNotFound           Kind = "not_found"
	KindAlreadyExists      Kind = "already_exists"
	KindFailedPrecondition Kind = "failed_precondition"
	KindResourceExhausted  Kind = "resource_exhausted"
	KindUnauthenticated    Kind = "unauthenticated"
	KindPermissionDenied   Kind = "permission_denied"
	KindUnavailable        Kind = "unavailable"
	KindDeadlineExceeded   Kind = "deadline_exceeded"
	KindAborted            Kind = "aborted"
	KindCanceled           Kind = "canceled"
	KindDataLoss           Kind = "data_loss"
	KindInternal           Kind = "internal"
)

type entry struct {
	kind      Kind
	retryable bool
	hint      string
}

var catalogue = map[Code]entry{
	CodeUnknownWorkflow:      {KindNotFound, false, "start a worker that registers the workflow, or check the name with `limpet workflow list`"},
	CodeWorkflowRetired:      {KindFailedPrecondition, false, "`limpet workflow restore` lets the workflow start new runs again; those that there are go on, and may be replayed"},
	CodeWorkflowUnserved:     {KindFailedPrecondition, false, "start a worker that serves the workflow: events start its runs again at once; `limpet workflow list` says since when nobody does, and `limpet workflow retire` that nobody will"},
	CodeUnknownRun:           {KindNotFound, false, "check the id with `limpet run list`; finished runs are deleted after the retention time"},
	CodeUnknownStep:          {KindNotFound, false, "check the step names with `limpet run get`"},
	CodeInvalidArgument:      {KindInvalidArgument, false, "correct the argument that the message names"},
	CodeInvalidInput:         {KindInvalidArgument, false, "send JSON; an input has to fit the workflow's input type"},
	CodeInvalidDefinition:    {KindInvalidArgument, false, "correct every fault that the message lists, then register again"},
	CodePayloadTooLarge:      {KindResourceExhausted, false, "store the data elsewhere and pass a reference, or keep it in the worker: that is what a sticky run is for"},
	CodeLimitExceeded:        {KindResourceExhausted, false, "stay below the limit that the message names"},
	CodeIdempotencyMismatch:  {KindAlreadyExists, false, "use a new idempotency key, event id or message id for a different workflow, input or payload"},
	CodeRunEnding:            {KindFailedPrecondition, false, "how the run ends is decided; cancel it without its end step to end that step"},
	CodeRunFinished:          {KindFailedPrecondition, false, "the run has ended; `limpet run replay` runs it again"},
	CodeRunNotFinished:       {KindFailedPrecondition, false, "wait for the end of the run, or cancel it first"},
	CodeRunSetAside:          {KindDataLoss, false, "the history holds what this version cannot read; upgrade the server"},
	CodeWorkerIDTaken:        {KindAlreadyExists, false, "give this process another worker id, or stop the one that holds it"},
	CodeWorkerSuperseded:     {KindAborted, false, "another process was admitted under this worker id; give this one another id"},
	CodeChildNotSticky:       {KindFailedPrecondition, false, "declare the child workflow with Sticky: Soft or Hard, or spawn it without Sticky"},
	CodeChildNotOnWorker:     {KindFailedPrecondition, false, "register the child workflow on the worker of its parent"},
	CodeSpawnKeyReused:       {KindAlreadyExists, false, "spawn each child of a step under a key of its own, and with the same input in every attempt: what may differ between two, such as the time, belongs into the child or into an earlier step"},
	CodeCallNeedsKey:         {KindFailedPrecondition, false, "give each of the calls of one name that are under way at once a key of its own, the same in every attempt"},
	CodeCallMismatch:         {KindFailedPrecondition, false, "give the changed call another name, or put the old code back, then `limpet run replay` with the step's name: it goes on with what is recorded; without a name all begins anew"},
	CodeWaitTimeout:          {KindDeadlineExceeded, false, "what the step waited for did not come in time: give the wait a longer Timeout, or have the step go on without it"},
	CodeSuspended:            {KindAborted, false, "the attempt is let go while its step waits: return; the step runs again, with what is recorded, when the wait is over"},
	CodeStickyNeedsLongLived: {KindFailedPrecondition, false, "serve a sticky workflow from a long-lived worker process, not from a webhook"},
	CodeStaleAttempt:         {KindAborted, false, "the attempt is no longer the live one; nothing is to be done"},
	CodeInvalidOutput:        {KindAborted, false, "the function returned what JSON cannot express, such as NaN or a channel: return another type or value"},
	CodeCodecFailed:          {KindAborted, true, "give the worker, the client and the command line the codec that the payload was encoded with, and all keys that are still in use: Config.Codec, ClientConfig.Codec, --codec"},
	CodeUserError:            {KindAborted, true, "the step function returned this error"},
	CodeStepPanicked:         {KindAborted, true, "the step function panicked; the stack is in the failure"},
	CodeScheduleTimeout:      {KindDeadlineExceeded, false, "start a worker that fits, free slots, or raise the step's schedule timeout"},
	CodeExecutionTimeout:     {KindDeadlineExceeded, true, "make the step honour its context, or raise its execution timeout"},
	CodeHeartbeatTimeout:     {KindDeadlineExceeded, true, "have the step call Progress more often, or raise its Heartbeat"},
	CodeWorkerLost:           {KindAborted, false, "the step may be what kills its workers: look at their exits, then replay the run"},
	CodeLeaseExpired:         {KindAborted, true, "the worker reached no server for longer than LeaseFor, or got no processor: look at its log and its network"},
	CodeStateLost:            {KindAborted, true, "the step found its local state gone again and again: look at what releases it"},
	CodeSlotHeld:             {KindAborted, false, "a step function goes on although its context has ended: let it return when ctx.Done() is closed; a supervisor is to start the process again"},
	CodeStateNotBuilt:        {KindAborted, true, "the Bind function of the local state failed; its error is in the message"},
	CodeUnknownQuery:         {KindNotFound, false, "add the query to the workflow with sdk.AddQuery, and start its workers with that code"},
	CodeNotBound:             {KindFailedPrecondition, true, "ask again once `limpet run get` says where the run is bound; only a run of a sticky workflow is bound at all"},
	CodeWorkerAway:           {KindFailedPrecondition, true, "ask again when the worker is back, or when the run has moved: `limpet run get` says where it is bound"},
	CodeStateNotThere:        {KindFailedPrecondition, true, "neither a query nor an end step builds state: ask again once a step has built it, or take it that the run has none"},
	CodeQueryTimedOut:        {KindDeadlineExceeded, true, "ask with a longer timeout, or have the query honour its context"},
	CodeQueryPanicked:        {KindAborted, false, "correct the query function; the stack is in the worker's log"},
	CodeQueryFailed:          {KindAborted, false, "the query function returned this error"},
	CodeUnknownStream:        {KindNotFound, false, "`limpet run get` lists the streams of a run; a stream is there once a step has written to it, and with --follow it is waited for"},
	CodeStreamInUse:          {KindFailedPrecondition, false, "one attempt at a time writes to a stream: give each step a stream of its own name"},
	CodeUnknownWorker:        {KindNotFound, false, "check the id with `limpet worker list`"},
	CodeWorkerEnding:         {KindFailedPrecondition, false, "its process was told to end; start it anew once it has ended"},
	CodeWorkerGone:           {KindFailedPrecondition, false, "there is nothing to drain: its HARD runs wait until it is started again, the others go on elsewhere"},
	CodeCanceled:             {KindCanceled, false, "the run was canceled; `limpet run replay` runs it again"},
	CodeStepFailed:           {KindAborted, false, "see the failed step with `limpet run get`"},
	CodeJournalCorrupt:       {KindDataLoss, false, "restore the journal file from a backup; it was not changed"},
	CodeJournalNewer:         {KindFailedPrecondition, false, "start the version of limpet that wrote the journal, or a newer one"},
	CodeJournalDenied:        {KindFailedPrecondition, false, "let the server's user read and write the journal's file and its directory, or its database, or give it another one"},
	CodeJournalInUse:         {KindFailedPrecondition, false, "stop the server that holds the journal, or give this one another file"},
	CodeJournalUnavailable:   {KindUnavailable, true, "try again once the journal is back; starts with an idempotency key can be repeated safely"},
	CodeJournalConflict:      {KindAborted, true, "another activation of the run went on; try again"},
	CodeStoreMismatch:        {KindFailedPrecondition, false, "probably a server was started without LIMPET_STORE, or with another one: give all servers of a cluster the same store; one that is to be apart joins nobody of this cluster"},
	CodeServerIDTaken:        {KindAlreadyExists, false, "give this server another id, or stop the one that has it"},
	CodeAddressInUse:         {KindFailedPrecondition, false, "stop the process that listens there, or choose another port"},
	CodeWrongAddress:         {KindInvalidArgument, false, "give the address of a server's API: `limpet server` prints it, 127.0.0.1:7080 if nothing is said"},
	CodeCertificateRefused:   {KindUnauthenticated, false, "let this machine trust who has signed the certificate (SSL_CERT_FILE names a file of such), or use a name that the certificate is for"},
	CodeSecretRequired:       {KindFailedPrecondition, false, "set a secret to listen beyond loopback, or bind to 127.0.0.1"},
	CodeUnauthenticated:      {KindUnauthenticated, false, "give a token that is good (LIMPET_TOKEN), or the cluster's secret (LIMPET_SECRET)"},
	CodePermissionDenied:     {KindPermissionDenied, false, "use a token with the role and the workflows that the message names; `limpet token create` makes one"},
	CodeUnknownToken:         {KindNotFound, false, "check the id with `limpet token list`; a token that was revoked is not there any more"},
	CodeJoinFailed:           {KindUnavailable, true, "check that a server listens at the join address and that the secrets are the same"},
	CodeUnavailable:          {KindUnavailable, true, "try again"},
	CodeDeadline:             {KindDeadlineExceeded, true, "try again, or wait longer"},
	CodeInternal:             {KindInternal, false, "this is a fault of limpet: please report it with the message and what the server's log says"},
}

// Kind returns how the code appears over the wire; an unknown code is internal.
func (c Code) Kind() Kind {
	if e, ok := catalogue[c]; ok {
		return e.kind
	}
	return KindInternal
}

// Retryable says whether the same call may succeed later without a change.
func (c Code) Retryable() bool { return catalogue[c].retryable }

// RetryAfter is the least time to leave a server alone before the same call is
// made again; 0 if there is nothing to wait for.
func (c Code) RetryAfter() time.Duration {
	if c == CodeJournalUnavailable {
		return time.Second
	}
	return 0
}

// Hint says what to do next.
func (c Code) Hint() string { return catalogue[c].hint }

// Known says whether the code is in the catalogue.
func (c Code) Known() bool { _, ok := catalogue[c]; return ok }

// HTTPStatus returns the status that plain HTTP callers see for the code.
func (c Code) HTTPStatus() int {
	switch c.Kind() {
	case KindInvalidArgument, KindFailedPrecondition:
		return http.StatusBadRequest
	case KindNotFound:
		return http.StatusNotFound
	case KindAlreadyExists, KindAborted:
		return http.StatusConflict
	case KindResourceExhausted:
		return http.StatusTooManyRequests
	case KindUnauthenticated:
		return http.StatusUnauthorized
	case KindPermissionDenied:
		return http.StatusForbidden
	case KindUnavailable:
		return http.StatusServiceUnavailable
	case KindDeadlineExceeded:
		return http.StatusGatewayTimeout
	case KindCanceled:
		return 499
	}
	return http.StatusInternalServerError
}

// Error is an error of the catalogue. Two are the same to errors.Is when their
// codes are.
type Error struct {
	Code    Code
	Message string
	// Stack of a panic in user code; empty otherwise.
	Stack string
	// Final asks for no further retry of the step that returns the error.
	Final bool
	cause error
}

// Errorf makes an error of the catalogue. Its message says what, which and
// why, in lower case; the hint comes with the code. %w wraps a cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// SuspendedError is what the context of a suspended attempt ends with, and each call that
// it still makes.
func SuspendedError(run, step string, attempt int32) *Error {
	return Errorf(CodeSuspended, "attempt %s/%s#%d is suspended while it waits: it may make no calls", run, step, attempt)
}

// Prefixed returns the error with words before its message, such as where it
// happened. It wraps e, so what e wraps is found through it.
func (e *Error) Prefixed(words string) *Error {
	prefixed := *e
	prefixed.Message = words + e.Message
	prefixed.cause = e
	return &prefixed
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the wrapped cause.
func (e *Error) Unwrap() error { return e.cause }

// Is compares codes, so that errors.Is works across the wire.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of the first catalogue error in err's chain,
// INTERNAL for another error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// ToFailure turns an error into the form that is kept and sent.
func ToFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return &Failure{Code: string(e.Code), Message: text(e.Message), Stack: text(e.Stack), Final: e.Final}
	}
	return &Failure{Code: string(CodeInternal), Message: text(err.Error())}
}

// text replaces what is not UTF-8, which could not be sent.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// FromFailure turns a kept or received failure back into an error; nil for nil.
func FromFailure(f *Failure) error {
	if f == nil {
		return nil
	}
	return &Error{Code: Code(f.Code), Message: f.Message, Stack: f.Stack, Final: f.Final}
}
