package journal

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Who may call the API, and what was done by it: beside the history, of no run.
//
//	T1  a token is replaced and deleted as a whole, and is durable before the answer
//	T2  audit chunks are stored once, not changed, and read newest first

// Token is a token for the API as it is stored.
type Token struct {
	ID string
	// Data is a marshalled messages.TokenRecord: it has a hash, not the token.
	Data []byte
}

// AuditChunk is what a server wrote at once of what was done.
type AuditChunk struct {
	// Seq is given by the store: it grows from one chunk to the next, with gaps.
	Seq int64
	// At is when its first record was made.
	At time.Time
	// Records is how many it has.
	Records int
	// Data is a marshalled messages.AuditRecords.
	Data []byte
}

// AccessStore keeps tokens and the audit log.
type AccessStore interface {
	// PutToken makes a token durable; one with the same id is replaced.
	PutToken(ctx context.Context, t Token) error
	// Tokens returns all tokens, by their ids.
	Tokens(ctx context.Context) ([]Token, error)
	// DeleteToken deletes a token for good, and says whether it was there.
	DeleteToken(ctx context.Context, id string) (bool, error)

	// WriteAudit makes a chunk durable. Its Seq is of no account.
	WriteAudit(ctx context.Context, c AuditChunk) error
	// ReadAudit returns chunks whose Seq is less than before, the newest first, at most
	// limit; a before of 0 begins with the newest of all.
	ReadAudit(ctx context.Context, before int64, limit int) ([]AuditChunk, error)
	// TrimAudit deletes chunks older than a time, and the oldest while those that are
	// left have more records than recordsMax. It returns how many chunks went.
	TrimAudit(ctx context.Context, older time.Time, recordsMax int64) (int, error)
}

// memoryAccess is both in memory, under the lock of Memory.
type memoryAccess struct {
	tokens map[string][]byte
	seq    int64
	audit  []AuditChunk // the oldest first
}

// PutToken implements AccessStore.
func (m *Memory) PutToken(ctx context.Context, t Token) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.access.tokens == nil {
		m.access.tokens = map[string][]byte{}
	}
	m.access.tokens[t.ID] = slices.Clone(t.Data)
	return nil
}

// Tokens implements AccessStore.
func (m *Memory) Tokens(ctx context.Context) (out []Token, err error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	for id, data := range m.access.tokens {
		out = append(out, Token{id, slices.Clone(data)})
	}
	slices.SortFunc(out, func(a, b Token) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// DeleteToken implements AccessStore.
func (m *Memory) DeleteToken(ctx context.Context, id string) (bool, error) {
	if err := unavailable(ctx); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, there := m.access.tokens[id]
	delete(m.access.tokens, id)
	return there, nil
}

// WriteAudit implements AccessStore.
func (m *Memory) WriteAudit(ctx context.Context, c AuditChunk) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.access.seq++
	c.Seq, c.At, c.Data = m.access.seq, FromMicros(Micros(c.At)), slices.Clone(c.Data)
	m.access.audit = append(m.access.audit, c)
	return nil
}

// ReadAudit implements AccessStore.
func (m *Memory) ReadAudit(ctx context.Context, before int64, limit int) (out []AuditChunk, err error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	for _, c := range slices.Backward(m.access.audit) {
		if len(out) >= limit {
			break
		}
		if before == 0 || c.Seq < before {
			c.Data = slices.Clone(c.Data)
			out = append(out, c)
		}
	}
	return out, nil
}

// TrimAudit implements AccessStore.
func (m *Memory) TrimAudit(ctx context.Context, older time.Time, recordsMax int64) (int, error) {
	if err := unavailable(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var above int64
	kept := []AuditChunk{}
	for _, c := range slices.Backward(m.access.audit) {
		if above += int64(c.Records); above <= recordsMax && !c.At.Before(older) {
			kept = append(kept, c)
		}
	}
	slices.Reverse(kept)
	gone := len(m.access.audit) - len(kept)
	m.access.audit = kept
	return gone, nil
}
