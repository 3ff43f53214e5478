package gateway

import (
	"sync"

	"github.com/limpetrun/limpet/messages"
)

// schemasMax bounds the cache; a cluster with more live versions recompiles.
const schemasMax = 2048

// schemaCache keeps compiled input schemas by the hash of their definition.
// The zero value is empty and ready.
type schemaCache struct {
	mu     sync.RWMutex
	byHash map[string]*messages.InputSchema
}

func (c *schemaCache) get(hash string, def *messages.WorkflowDefinition) (*messages.InputSchema, error) {
	c.mu.RLock()
	schema, ok := c.byHash[hash]
	c.mu.RUnlock()
	if ok {
		return schema, nil
	}
	schema, err := messages.CompileInputSchema(def.GetInputSchema())
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidDefinition, "workflow %q version %s: %w", def.GetName(), hash, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHash == nil || len(c.byHash) >= schemasMax {
		c.byHash = map[string]*messages.InputSchema{}
	}
	c.byHash[hash] = schema
	return schema, nil
}
