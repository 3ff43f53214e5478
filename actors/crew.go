package actors

import "sync"

// crew runs functions on goroutines of its own, at most so many at a time and in
// order of their beginnings. It keeps none when nothing waits.
type crew struct {
	most int

	mu      sync.Mutex
	queue   []func()
	running int
}

// put runs f soon, on a goroutine of the crew.
func (c *crew) put(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, f)
	if c.running < c.most {
		c.running++
		go c.loop()
	}
}

func (c *crew) loop() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.running--
			c.queue = nil
			c.mu.Unlock()
			return
		}
		f := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		c.mu.Unlock()
		f()
	}
}
