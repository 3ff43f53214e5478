package definitions

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

const (
	// versionsMost bounds the versions of a workflow that are listed.
	versionsMost = 1000
	// noticesMost bounds what a worker is told of its workflows.
	noticesMost = 20
)

// Register makes the versions durable that a worker brings whose process started
// at a time, and that their workflows are served. It returns what whoever runs the
// worker should know of them, a sentence each. A version that is there already
// stays as it is.
func (d *Cache) Register(ctx context.Context, defs []*messages.WorkflowDefinition, at time.Time) (notices []string, err error) {
	hashes := make([]string, len(defs))
	for i, def := range defs {
		hashes[i] = messages.HashDefinition(def)
		if d.cached(hashes[i]) != nil {
			continue
		}
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidDefinition, "workflow %q: %w", def.GetName(), err)
		}
		if err := d.store.PutDefinition(ctx, journal.Definition{Hash: hashes[i], Name: def.GetName(), Data: data, RegisteredAt: at}); err != nil {
			return nil, err
		}
		d.Forget()
	}
	var served []string
	for i, def := range defs {
		w, err := d.Current(ctx, def.GetName())
		if err != nil {
			return nil, err
		}
		notices = append(notices, w.noticesFor(hashes[i])...)
		if !w.UnservedSince.IsZero() {
			served = append(served, def.GetName())
		}
	}
	if more := len(notices) - noticesMost; more > 0 {
		notices = append(notices[:noticesMost], fmt.Sprintf("%d notices more are left out: see `limpet workflow list`", more))
	}
	return notices, d.NoteUnserved(ctx, served, time.Time{})
}

// NoteUnserved notes durably that no worker serves some workflows from a time on,
// or with the zero time that one does.
func (d *Cache) NoteUnserved(ctx context.Context, names []string, since time.Time) error {
	if len(names) == 0 {
		return nil
	}
	defer d.Forget()
	return d.store.NoteUnserved(ctx, names, since)
}

// noticesFor says what is to be known of a workflow by whoever runs a worker with
// a version of it.
func (w Workflow) noticesFor(hash string) (notices []string) {
	if err := w.MayStart(); err != nil {
		notices = append(notices, err.(*messages.Error).Message)
	}
	if w.Hash != hash {
		why := "was registered after it"
		if !w.ChosenAt.IsZero() {
			why = "was chosen by hand"
		}
		notices = append(notices, fmt.Sprintf("new runs of workflow %q start with its version %s, which %s, and not with this worker's, %s; `limpet workflow use %s %s` makes that current",
			w.Def.GetName(), w.Hash, why, hash, w.Def.GetName(), hash))
	}
	return notices
}

// Versions returns the versions of a workflow without what they hold, the newest
// first, at most 1,000, and which one is current. UNKNOWN_WORKFLOW.
func (d *Cache) Versions(ctx context.Context, name string) ([]journal.Definition, Workflow, error) {
	d.Forget()
	current, err := d.Current(ctx, name)
	if err != nil {
		return nil, Workflow{}, err
	}
	versions, err := d.store.Versions(ctx, name, versionsMost)
	return versions, current, err
}

// Use makes a version current from a time on. hash is its hash, or how that begins
// if no other version of the workflow begins so. UNKNOWN_WORKFLOW, also for a
// version that there is not; INVALID_ARGUMENT if several begin so.
func (d *Cache) Use(ctx context.Context, name, hash string, at time.Time) (Workflow, error) {
	versions, _, err := d.Versions(ctx, name)
	if err != nil {
		return Workflow{}, err
	}
	whole, err := d.version(ctx, name, strings.ToLower(hash), versions)
	if err != nil {
		return Workflow{}, err
	}
	if err := d.store.ChooseVersion(ctx, name, whole, at); err != nil {
		return Workflow{}, err
	}
	d.Forget()
	return d.Current(ctx, name)
}

// Retire lets a workflow start no new runs from a time on, and again if that is
// the zero time. Both may be repeated. UNKNOWN_WORKFLOW.
func (d *Cache) Retire(ctx context.Context, name string, at time.Time) (Workflow, error) {
	if _, err := d.Current(ctx, name); err != nil {
		return Workflow{}, err
	}
	if err := d.store.RetireWorkflow(ctx, name, at); err != nil {
		return Workflow{}, err
	}
	d.Forget()
	return d.Current(ctx, name)
}

// version returns the whole hash of a version.
func (d *Cache) version(ctx context.Context, name, hash string, versions []journal.Definition) (string, error) {
	// One that is older than those that are listed has to be named in full.
	if def, err := d.ByHash(ctx, hash); err == nil && def.Def.GetName() == name {
		return hash, nil
	} else if err != nil && messages.CodeOf(err) != messages.CodeUnknownWorkflow {
		return "", err
	}
	var found []string
	for _, v := range versions {
		if strings.HasPrefix(v.Hash, hash) {
			found = append(found, v.Hash)
		}
	}
	switch len(found) {
	case 0:
		return "", messages.Errorf(messages.CodeUnknownWorkflow, "workflow %q has no version %q; `limpet workflow versions %s` lists those that it has", name, hash, name)
	case 1:
		return found[0], nil
	}
	return "", messages.Errorf(messages.CodeInvalidArgument, "%d versions of workflow %q begin with %q: %s; give more of the hash", len(found), name, hash, strings.Join(found[:min(len(found), 5)], ", "))
}
