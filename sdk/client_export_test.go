package sdk

// GoTo has the next call go to the n-th address.
func (c *Client) GoTo(n int) *Client {
	c.current.Store(int64(n))
	return c
}
