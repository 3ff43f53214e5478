package sdk

import "time"

// GoTo has the next call go to the n-th address.
func (c *Client) GoTo(n int) *Client {
	c.current.Store(int64(n))
	return c
}

// Trust lets the n-th address take a minute for a health check: a busy machine
// is no reason to leave it.
func (c *Client) Trust(n int) *Client {
	c.servers[n].patience = time.Minute
	return c
}
