package sdk

import (
	"context"
	"encoding/json"

	"github.com/limpetrun/limpet/messages"
)

// continueName is the name under which a step's ContinueAs is recorded.
const continueName = "continue"

// ContinueAs has the run of a step go on as new with another input, once the step has
// succeeded: return after it. So a conversation of weeks is a chain of short links, each
// of which begins with fresh calls and attempts.
//
//   - All steps begin again, with the new input. Steps that had not begun, or wait
//     suspended, are dropped; those that are executed beside this one end first.
//   - The run stays what it is: its id, idempotency key, metadata, parent, children, and
//     who waits for it. It stays bound where it is, and finds its local state there.
//   - Messages that were not received stay in its mailbox, in order. The id of a message
//     is known for two links: one that is sent again within that time is not doubled.
//   - Streams go on with the next section. What earlier links wrote stays, and counts,
//     until they are cut.
//   - It is no end of the run: no end step is executed, and no child is canceled. Keys of
//     Spawn begin anew.
//   - If the step fails it has no effect, and a retry need not call it again. If another
//     step has failed the run fails, and a cancel wins, too.
//   - A replay runs the newest link again. One of other steps than this runs those, and
//     the run goes on as new then.
//
// The history is bounded: the journal has the entries of the present link and of the ten
// before it. Of the newest hundred it is known when they began, and by which step. A message
// that nobody receives stays as long as the run does. What a link has written to streams is
// cut with it, but for the newest section of each stream; readers are told what is missing.
//
// ctx is the context of a step, or one derived from it. The input is what encoding/json
// encodes, and must fit the workflow's input schema; it is recorded, so that a retried
// step which would give another one has the first.
//
// Errors: ErrInvalidInput for an input that does not fit; ErrPayloadTooLarge;
// ErrInvalidArgument in an end step, and for a second call in an attempt.
func ContinueAs[In any](ctx context.Context, w *Workflow[In], input In) error {
	c, err := callerOf(ctx, "ContinueAs")
	if err != nil {
		return err
	}
	switch wf := w.Name(); {
	case c.attempt.Dispatch.GetEnding() != nil:
		return messages.Errorf(messages.CodeInvalidArgument, "step %q is an end step: the run has an outcome, and does not go on", c.Step())
	case wf != c.Workflow():
		return messages.Errorf(messages.CodeInvalidArgument, "ContinueAs for workflow %q in a step of workflow %q: a run goes on as what it is", wf, c.Workflow())
	}
	data, err := w.nextInput(input)
	if err != nil {
		return err
	}
	call, ends, err := c.begin(ctx, messages.CallKind_CALL_KIND_CONTINUE, continueName, "next")
	if err != nil {
		return err
	}
	defer ends()
	recorded, err := c.attempt.Calls.RecordedCall(ctx, call.Name, call.Key)
	if err != nil {
		return err
	}
	if recorded == nil {
		recorded = call
		call.Outcome = &messages.CallRecorded_Output{Output: data}
		if err := c.attempt.Calls.RecordCall(ctx, call); err != nil {
			return err
		}
	}
	return failureOf(recorded, call.Kind)
}

// nextInput encodes an input, and checks it like that of a start.
func (w *Workflow[In]) nextInput(input In) ([]byte, error) {
	data, err := json.Marshal(input)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidInput, "the next input of workflow %q does not encode as JSON: %w", w.Name(), err)
	}
	d, err := w.Definition()
	if err != nil {
		return nil, err
	}
	schema, err := messages.CompileInputSchema(d.GetInputSchema())
	if err != nil {
		return nil, err
	}
	return data, schema.Check(data)
}
