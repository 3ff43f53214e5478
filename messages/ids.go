package messages

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Ids of runs. A drawn id is a ULID and sorts by the time of its making. A
// derived id is a hash of what makes the run unique, so that starting it twice
// meets itself in the journal. A ULID begins with a digit, a derived id with a
// letter: the two never meet.

// runIDBytesMax is the length from which on a child's id no longer carries its
// parent's: ids stay below the limit of names however deep runs are nested.
const runIDBytesMax = 100

// crockford32 is the alphabet of ULIDs in lower case.
var crockford32 = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

var runIDs = struct {
	sync.Mutex
	entropy *ulid.MonotonicEntropy
}{entropy: ulid.Monotonic(bufio.NewReader(rand.Reader), 0)}

// NewRunID draws a run id: a lower-case ULID, greater than all that this
// process drew before within the same millisecond.
func NewRunID() string {
	runIDs.Lock()
	defer runIDs.Unlock()
	id, err := ulid.New(ulid.Timestamp(time.Now()), runIDs.entropy)
	if err != nil {
		// The monotonic part overflowed: the order within the millisecond is
		// given up, uniqueness is not.
		id = ulid.MustNew(ulid.Timestamp(time.Now()), rand.Reader)
	}
	return strings.ToLower(id.String())
}

// CheckDrawnRunID returns INVALID_ARGUMENT for what NewRunID cannot have drawn.
func CheckDrawnRunID(id string) error {
	if _, err := ulid.ParseStrict(id); err != nil || id != strings.ToLower(id) {
		return Errorf(CodeInvalidArgument, "run_id %q is not a ULID in lower case", id)
	}
	return nil
}

// NewEventID draws the id of an event that was pushed without one.
func NewEventID() string { return NewRunID() }

// NewRequestID draws the name of a request that may be sent more than once.
func NewRequestID() string { return NewRunID() }

// RunIDForKey derives the id of the run that an idempotency key of a workflow
// names.
func RunIDForKey(workflow, key string) string { return "k" + digest(16, "key", workflow, key) }

// RunIDForEvent derives the id of the run that an event starts of a workflow.
func RunIDForEvent(eventID, workflow string) string {
	return "e" + digest(16, "event", eventID, workflow)
}

// RunIDForChild derives the id of the child that a step of a run spawned under
// a key. It begins with the parent's id and a dot, unless that grows too long.
func RunIDForChild(parentRun, step, key string) string {
	id := parentRun + "." + digest(10, "child", parentRun, step, key)
	if len(id) > runIDBytesMax {
		return "c" + digest(16, "child", parentRun, step, key)
	}
	return id
}

// MessageIDForCall derives the id of the message that a call of a step sends, in the
// run's generation of replays.
func MessageIDForCall(runID string, generation int, step, name, key string) string {
	return "s" + digest(16, "signal", runID, strconv.Itoa(generation), step, name, key)
}

// PartsOf are the calls that an ALL is: one for each branch. Their keys are no user's.
func PartsOf(all *AwaitCall) []*AwaitCall {
	parts := make([]*AwaitCall, len(all.Branches))
	for i, b := range all.Branches {
		parts[i] = &AwaitCall{RunId: all.RunId, Step: all.Step, Attempt: all.Attempt, Epoch: all.Epoch, Kind: b.Kind, Name: all.Name,
			Key: "#" + all.Key + "/" + strconv.Itoa(i), TimeoutMs: all.TimeoutMs, Branches: []*WaitBranch{b}}
	}
	return parts
}

// WorkerActorID names the actor of a worker's process. The incarnation is part
// of it, so that a restarted process does not get the mail of its predecessor.
func WorkerActorID(workerID, incarnation string) string {
	return strings.Join([]string{"worker", workerID, incarnation}, "/")
}

// digest hashes the parts, each with its length before it, to n bytes.
func digest(n int, parts ...string) string {
	var room [256]byte
	all := room[:0]
	for _, p := range parts {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(all)
	return crockford32.EncodeToString(sum[:n])
}
