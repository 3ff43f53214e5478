package remote

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

// Who may send what to whom. What is not in the table is refused.

// The actors of a node that others know by name.
const (
	// ActivatorActor answers for the node itself.
	ActivatorActor = "limpet-activator"
	// HostActor starts and watches the runs of a server.
	HostActor = "runs"
	// AnswerPrefix begins the names of those that wait for one answer.
	AnswerPrefix = "answer"
)

// places are kinds of actors.
type places uint8

const (
	toActivator places = 1 << iota
	toHost
	toWorker
	toAnswer
	// toVirtual is any other actor: those of runs and of placement, whose names are
	// drawn.
	toVirtual
	anywhere = toActivator | toHost | toWorker | toAnswer | toVirtual
)

// workerPrefix begins the names of the actors of workers.
var workerPrefix = strings.TrimSuffix(messages.WorkerActorID("", ""), "/")

// placeOf is the kind of an actor, by its name. That of an actor within another one is
// that of the outer one, but for those of functions, which nobody else sends to.
func placeOf(id string) places {
	switch {
	case id == ActivatorActor:
		return toActivator
	case id == HostActor:
		return toHost
	case strings.HasPrefix(id, AnswerPrefix):
		return toAnswer
	case strings.HasPrefix(id, workerPrefix):
		return toWorker
	}
	return toVirtual
}

// roles of a sender.
type roles uint8

const (
	fromServer roles = 1 << iota
	fromWorker
	fromAny = fromServer | fromWorker
)

func roleOf(r identity.Role) roles {
	switch r {
	case identity.Server:
		return fromServer
	case identity.Worker:
		return fromWorker
	}
	return 0
}

// Sender is the process at the other end of a connection, as far as that has proved it.
type Sender struct {
	identity.Member
	// Name of the process, and the address of its actors.
	Name, Address string
	role          roles
}

// right is what the table says of a type of messages.
type right struct {
	from roles
	to   places
	// binds returns how a message says something of its sender that is not so; nil for
	// types that say nothing of it.
	binds func(m proto.Message, by *Sender) error
	// signs: a message of a worker has the worker's id put in.
	signs bool
}

// of makes a binds of one that knows the type.
func of[M proto.Message](binds func(m M, by *Sender) error) func(proto.Message, *Sender) error {
	return func(m proto.Message, by *Sender) error {
		of, ok := m.(M)
		if !ok {
			return fmt.Errorf("%T instead of %T", m, of)
		}
		return binds(of, by)
	}
}

// same refuses a field that says something else than what is so of the sender.
func same(field, says, is string) error {
	if says == is {
		return nil
	}
	return messages.Errorf(messages.CodeUnauthenticated, "%s is %q, and the connection is that of %q: a member speaks for itself alone", field, says, is)
}

// process is for what names a process of a worker. A server may pass on what another
// one is to have.
func process(id, incarnation string, by *Sender) error {
	if by.role != fromWorker {
		return nil
	}
	return cmp.Or(same("worker_id", id, by.ID), same("incarnation", incarnation, by.Incarnation))
}

// rights by the full name of the type.
var rights = map[string]right{
	// Of a node.
	"limpet.v1.Activate":      {from: fromAny, to: toActivator},
	"limpet.v1.ActivateReply": {from: fromServer, to: toAnswer},
	"limpet.v1.Ping":          {from: fromServer, to: toActivator},
	"limpet.v1.Pong":          {from: fromAny, to: toAnswer},
	"limpet.v1.DeclaredGone": {from: fromAny, to: toActivator, binds: of(func(m *messages.DeclaredGone, by *Sender) error {
		return cmp.Or(same("by", m.By, by.Name), same("by_role", m.ByRole, string(by.Role)))
	})},
	"limpet.v1.LeaseAsk": {from: fromAny, to: toActivator, binds: of(func(m *messages.LeaseAsk, by *Sender) error {
		return cmp.Or(same("name", m.Name, by.Name), same("worker", strconv.FormatBool(m.Worker), strconv.FormatBool(by.role == fromWorker)))
	})},
	"limpet.v1.LeaseGrant": {from: fromServer, to: toActivator, binds: of(func(m *messages.LeaseGrant, by *Sender) error {
		return same("name", m.Name, by.Name)
	})},
	"actor.DeadLetterResponse": {from: fromAny, to: anywhere},
	"actor.Watch": {from: fromAny, to: anywhere, binds: of(func(m *actor.Watch, by *Sender) error {
		return same("watcher", m.Watcher.GetAddress(), by.Address)
	})},
	"actor.Unwatch": {from: fromAny, to: anywhere, binds: of(func(m *actor.Unwatch, by *Sender) error {
		return same("watcher", m.Watcher.GetAddress(), by.Address)
	})},
	"actor.Terminated": {from: fromAny, to: anywhere, binds: of(func(m *actor.Terminated, by *Sender) error {
		return same("who", m.Who.GetAddress(), by.Address)
	})},

	// Server to server.
	"limpet.v1.StartRuns":        {from: fromServer, to: toHost},
	"limpet.v1.StartRunsReply":   {from: fromServer, to: toAnswer},
	"limpet.v1.ReadStream":       {from: fromServer, to: toHost},
	"limpet.v1.ReadStreamReply":  {from: fromServer, to: toAnswer},
	"limpet.v1.WatchNews":        {from: fromServer, to: toHost},
	"limpet.v1.WatchNewsReply":   {from: fromServer, to: toAnswer},
	"limpet.v1.ShardsReleased":   {from: fromServer, to: toHost},
	"limpet.v1.ShardsTaken":      {from: fromServer, to: toAnswer},
	"limpet.v1.PlacementStarted": {from: fromServer, to: toHost},
	"limpet.v1.FindRun":          {from: fromServer, to: toHost | toVirtual},
	"limpet.v1.FoundRun":         {from: fromServer, to: toAnswer},
	"limpet.v1.CancelRun":        {from: fromServer, to: toVirtual},
	"limpet.v1.SignalRun":        {from: fromServer, to: toVirtual},
	"limpet.v1.ReplayRun":        {from: fromServer, to: toVirtual},
	"limpet.v1.DeliverEvent":     {from: fromServer, to: toVirtual},
	"limpet.v1.ChildEnded":       {from: fromServer, to: toVirtual},
	"limpet.v1.CommandReply":     {from: fromServer, to: toAnswer},
	"limpet.v1.Place":            {from: fromServer, to: toVirtual},
	"limpet.v1.Placed":           {from: fromServer, to: toVirtual},
	"limpet.v1.PlaceWaiting":     {from: fromServer, to: toVirtual},
	"limpet.v1.WithdrawPlace":    {from: fromServer, to: toVirtual},
	"limpet.v1.RunUnbound":       {from: fromServer, to: toVirtual},
	"limpet.v1.LoadsOf":          {from: fromServer, to: toVirtual},
	"limpet.v1.LoadsReply":       {from: fromServer, to: toAnswer},

	// Server to worker.
	"limpet.v1.Dispatch":           {from: fromServer, to: toWorker},
	"limpet.v1.ResultAck":          {from: fromServer, to: toWorker},
	"limpet.v1.Revoke":             {from: fromServer, to: toWorker},
	"limpet.v1.CancelAttempt":      {from: fromServer, to: toWorker},
	"limpet.v1.Suspended":          {from: fromServer, to: toWorker},
	"limpet.v1.RunReleased":        {from: fromServer, to: toWorker},
	"limpet.v1.HandOff":            {from: fromServer, to: toWorker},
	"limpet.v1.LocalKeysOf":        {from: fromServer, to: toWorker},
	"limpet.v1.AskWorker":          {from: fromServer, to: toWorker},
	"limpet.v1.DrainWorker":        {from: fromServer, to: toWorker},
	"limpet.v1.Describe":           {from: fromServer, to: toWorker},
	"limpet.v1.ReportLoad":         {from: fromServer, to: toWorker},
	"limpet.v1.Superseded":         {from: fromServer, to: toWorker},
	"limpet.v1.RegisterReply":      {from: fromServer, to: toWorker | toAnswer},
	"limpet.v1.SpawnChildReply":    {from: fromServer, to: toAnswer},
	"limpet.v1.RecordCallReply":    {from: fromServer, to: toAnswer},
	"limpet.v1.RecordedCallsReply": {from: fromServer, to: toAnswer},
	"limpet.v1.WriteLogsReply":     {from: fromServer, to: toAnswer},
	"limpet.v1.OpenStreamReply":    {from: fromServer, to: toAnswer},
	"limpet.v1.WriteStreamReply":   {from: fromServer, to: toAnswer},
	"limpet.v1.BoundRunsReply":     {from: fromServer, to: toAnswer},
	"limpet.v1.WatchRunReply":      {from: fromServer, to: toAnswer},

	// Worker to server. A server passes on the results that it is not to record.
	"limpet.v1.Result": {from: fromAny, to: toVirtual, binds: of(func(m *messages.Result, by *Sender) error {
		return process(m.WorkerId, m.Incarnation, by)
	})},
	"limpet.v1.Queued":          {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.Started":         {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.Progress":        {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.Revoked":         {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.DispatchRefused": {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.AttemptUnknown":  {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.HandedOff":       {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.SpawnChild":      {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.RecordCall":      {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.RecordedCalls":   {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.AwaitCall":       {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.SendSignal":      {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.OpenStream":      {from: fromWorker, to: toVirtual, signs: true},
	"limpet.v1.WriteStream":     {from: fromWorker, to: toHost, signs: true},
	"limpet.v1.SuspendAttempt": {from: fromWorker, to: toVirtual, signs: true, binds: of(func(m *messages.SuspendAttempt, by *Sender) error {
		return cmp.Or(process(m.Worker.GetWorkerId(), m.Worker.GetIncarnation(), by), same("worker.address", m.Worker.GetAddress(), by.Address))
	})},
	"limpet.v1.WriteLogs": {from: fromWorker, to: toHost, binds: of(func(m *messages.WriteLogs, by *Sender) error {
		for _, w := range m.Logs {
			if err := same("worker_id", w.GetChunk().GetWorkerId(), by.ID); err != nil {
				return err
			}
		}
		return nil
	})},
	"limpet.v1.WatchRun": {from: fromAny, to: toHost},
	"limpet.v1.StillBound": {from: fromWorker, to: toHost, binds: of(func(m *messages.StillBound, by *Sender) error {
		return cmp.Or(process(m.WorkerId, m.Incarnation, by), same("reply_address", m.ReplyAddress, by.Address))
	})},
	"limpet.v1.Register": {from: fromWorker, to: toVirtual, binds: of(func(m *messages.Register, by *Sender) error {
		return cmp.Or(process(m.Worker.GetWorkerId(), m.Worker.GetIncarnation(), by), same("address", m.Worker.GetAddress(), by.Address))
	})},
	"limpet.v1.LoadReport": {from: fromWorker, to: toVirtual, binds: of(func(m *messages.LoadReport, by *Sender) error {
		return process(m.WorkerId, m.Incarnation, by)
	})},
	"limpet.v1.BoundRunsOf": {from: fromAny, to: toVirtual, binds: of(func(m *messages.BoundRunsOf, by *Sender) error {
		if by.role != fromWorker {
			return nil
		}
		return same("worker_id", m.WorkerId, by.ID)
	})},
	"limpet.v1.DescribeReply": {from: fromWorker, to: toAnswer, binds: of(func(m *messages.DescribeReply, by *Sender) error {
		return cmp.Or(process(m.Worker.GetWorkerId(), m.Worker.GetIncarnation(), by), same("address", m.Worker.GetAddress(), by.Address))
	})},
	"limpet.v1.LocalKeysReply":   {from: fromWorker, to: toAnswer},
	"limpet.v1.AskWorkerReply":   {from: fromWorker, to: toAnswer},
	"limpet.v1.DrainWorkerReply": {from: fromWorker, to: toAnswer},
}

// mayReach says whether a sender may send messages of a type to an actor.
func (r *right) mayReach(by *Sender, to places) bool { return r.from&by.role != 0 && r.to&to != 0 }

// takes says why a message that may reach its actor is refused; nil if it is not. It
// notes in it who sends it. Who gets the answer is the worker itself: this node would
// send it to whoever is named.
func (r *right) takes(m proto.Message, answerTo *actor.PID, by *Sender) error {
	if answerTo != nil && by.role == fromWorker {
		if err := same("the address for the answer", answerTo.GetAddress(), by.Address); err != nil {
			return err
		}
	}
	if r.binds != nil {
		if err := r.binds(m, by); err != nil {
			return err
		}
	}
	if r.signs {
		messages.SentBy(m, by.ID)
	}
	return nil
}
