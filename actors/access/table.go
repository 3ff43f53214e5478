package access

import "github.com/limpetrun/limpet/messages"

// Permission is what a procedure or a route wants of its caller.
type Permission struct {
	// Public is for everybody, without a token and without the secret.
	Public bool
	// Least is the least role.
	Least messages.Role
	// Command says that it changes something.
	Command bool
	// Whole is refused to callers that are limited to some workflows: it concerns all.
	Whole bool
	// Payloads is refused to callers from whom payloads are hidden: it shows nothing else.
	Payloads bool
}

const (
	read    = messages.Role_ROLE_READ
	run     = messages.Role_ROLE_RUN
	operate = messages.Role_ROLE_OPERATE
	admin   = messages.Role_ROLE_ADMIN
)

// Procedures of the API by their names.
var Procedures = map[string]Permission{
	"GetRun":               {Least: read},
	"ListRuns":             {Least: read},
	"CountRuns":            {Least: read},
	"WaitRun":              {Least: read},
	"WatchRun":             {Least: read},
	"ListAttempts":         {Least: read},
	"ReadLog":              {Least: read, Payloads: true},
	"ReadStream":           {Least: read, Payloads: true},
	"ListWorkers":          {Least: read},
	"GetWorker":            {Least: read},
	"ListMembers":          {Least: read},
	"ListWorkflows":        {Least: read},
	"ListWorkflowVersions": {Least: read},
	// It tells of all runs, and of which workers there are.
	"Watch": {Least: read, Whole: true},
	// An event comes to whoever waits for it, in any workflow.
	"ListEvents": {Least: read, Whole: true},

	"StartRun":  {Least: run, Command: true},
	"StartRuns": {Least: run, Command: true},
	"SignalRun": {Least: run, Command: true},
	"CancelRun": {Least: run, Command: true},
	"ReplayRun": {Least: run, Command: true},
	// A query executes code of the workflow.
	"AskRun":    {Least: run, Command: true, Payloads: true},
	"PushEvent": {Least: run, Command: true, Whole: true},

	"DrainWorker":        {Least: operate, Command: true},
	"UndrainWorker":      {Least: operate, Command: true},
	"UseWorkflowVersion": {Least: operate, Command: true},
	"RetireWorkflow":     {Least: operate, Command: true},
	"RestoreWorkflow":    {Least: operate, Command: true},

	"CreateToken": {Least: admin, Command: true, Whole: true},
	"RevokeToken": {Least: admin, Command: true, Whole: true},
	"ListTokens":  {Least: admin, Whole: true},
	"ListAudit":   {Least: admin, Whole: true},
}

// Routes of HTTP by their patterns, beside the procedures. What a page shows and does
// comes from procedures, which are asked again.
var Routes = map[string]Permission{
	"GET /healthz": {Public: true},
	"GET /readyz":  {Public: true},
	"GET /metrics": {Least: read, Whole: true},

	"GET /debug/pprof/":        {Least: admin},
	"GET /debug/pprof/cmdline": {Least: admin},
	"GET /debug/pprof/profile": {Least: admin},
	"GET /debug/pprof/symbol":  {Least: admin},
	"POST /debug/pprof/symbol": {Least: admin},
	"GET /debug/pprof/trace":   {Least: admin},

	"GET /ui/login":     {Public: true},
	"POST /ui/login":    {Public: true},
	"POST /ui/logout":   {Public: true},
	"GET /ui/style.css": {Public: true},
	"GET /ui/icon.svg":  {Public: true},
	"GET /ui/live.js":   {Public: true},
	"GET /ui/shared.js": {Public: true},

	"GET /ui/":                    {Least: read},
	"GET /ui/{$}":                 {Least: read},
	"GET /ui/runs/{id...}":        {Least: read},
	"GET /ui/payload":             {Least: read},
	"GET /ui/workers":             {Least: read},
	"GET /ui/workers/{id...}":     {Least: read},
	"GET /ui/workflows":           {Least: read},
	"GET /ui/workflows/{name...}": {Least: read},
	"GET /ui/cluster":             {Least: read},
	"GET /ui/live":                {Least: read},
	"GET /ui/confirm":             {Least: run},
	"POST /ui/do":                 {Least: run, Command: true},
}
