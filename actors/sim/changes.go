package sim

import "time"

// Faults of a clustered deployment: servers that leave, join and are rolled,
// journals that do not answer, links that are deaf one way, and processes that
// come under an id that is taken.

// serversLeft are the servers that are there and own something.
func (s *Sim) serversLeft() []*proc {
	var list []*proc
	for _, p := range s.procs {
		if p.server != nil && p.alive && p.member == memberReady {
			list = append(list, p)
		}
	}
	return list
}

// leaveServer lets a server hand everything over and end.
func (s *Sim) leaveServer() {
	list := s.serversLeft()
	if len(list) < 2 {
		return
	}
	s.leave(pick(s.dice, list), s.dice.between(20*time.Millisecond, s.world.downMost))
}

// leave ends a server in order; it is back after a while.
func (s *Sim) leave(p *proc, away time.Duration) {
	if p.frozen {
		return
	}
	s.tracef("%s leaves", p.address)
	s.monitor.counts.Leaves++
	s.setState(p, memberDraining)
	p.now(p.server.viewChanged)
	s.after(s.dice.between(200*time.Millisecond, 1500*time.Millisecond), func() {
		p.left = true
		s.end(p)
		s.after(away, func() { s.ensure(p.id) })
	})
}

// rollServers restarts all servers, one after the other.
func (s *Sim) rollServers() {
	at := time.Duration(0)
	for _, p := range s.serversLeft() {
		s.after(at, func() {
			if p.alive && p.member == memberReady && s.faulty() && len(s.serversLeft()) > 1 {
				s.leave(p, s.dice.between(20*time.Millisecond, 500*time.Millisecond))
			}
		})
		at += s.dice.between(1500*time.Millisecond, 4*time.Second)
	}
}

// joinOne adds a server or a worker that was not there before.
func (s *Sim) joinOne() {
	id, list := "s4", &s.world.servers
	if s.dice.chance(0.5) {
		id, list = "w5", &s.world.workers
	}
	if s.incarnations[id] > 0 {
		return
	}
	*list = append(*list, id)
	if id == "w5" {
		s.world.slots[id], s.world.labels[id] = 2, map[string]string{"gpu": "no"}
	}
	s.ensure(id)
}

// loseJournal lets no append and no query succeed for some seconds; some of
// the appends are stored all the same.
func (s *Sim) loseJournal() {
	d := s.dice.between(200*time.Millisecond, 5*time.Second)
	s.tracef("the journal is lost for %v", d)
	s.monitor.counts.Outages++
	s.downUntil = s.now.Add(d)
}

// deafen lets what one process says not reach another one, while the
// membership, by way of others, goes on seeing both.
func (s *Sim) deafen() {
	a, b := s.pickProc(func(*proc) bool { return true }), s.pickProc(func(*proc) bool { return true })
	if a == nil || b == nil || a.id == b.id || a.worker != nil && b.worker != nil {
		return
	}
	link := [2]string{a.id, b.id}
	s.tracef("%s does not hear %s", b.id, a.id)
	s.deaf[link] = true
	s.after(s.dice.between(100*time.Millisecond, 5*time.Second), func() {
		delete(s.deaf, link)
		for _, p := range s.procs {
			p.steadySince = s.now
		}
	})
}

// doubleWorker starts a second process under a worker's id: it is refused as
// long as the first one lives.
func (s *Sim) doubleWorker() {
	if p := s.pickProc(isWorker); p != nil {
		s.startWorker(p.id, s.workflowsOf())
	}
}

// drawSuccessions lets the next process of a worker's id come while the former
// one drains, now and then in some of the clusters.
func (s *Sim) drawSuccessions() {
	if s.world.calm || !s.extra.chance(0.25) {
		return
	}
	var next func()
	next = func() {
		if !s.healed {
			s.succeed()
			s.after(s.extra.between(3*time.Second, 15*time.Second), next)
		}
	}
	s.after(s.extra.between(time.Second, 10*time.Second), next)
}

// serving are the workers that could be drained.
func (s *Sim) serving() []*proc {
	var list []*proc
	for _, p := range s.procs {
		if p.worker != nil && p.alive && !p.frozen && p.worker.admitted && !p.worker.core.Draining() {
			list = append(list, p)
		}
	}
	return list
}

// succeed starts a process under the id of one that drains: it is to wait until
// that one has ended.
func (s *Sim) succeed() {
	list := s.serving()
	if len(list) == 0 {
		return
	}
	p := pick(s.extra, list)
	p.worker.drain(s.extra.between(100*time.Millisecond, 8*time.Second))
	s.after(s.extra.between(time.Millisecond, time.Second), func() {
		if s.healed || !p.alive {
			return
		}
		w := s.startWorker(p.id, s.workflowsOf())
		w.succeeds = p
	})
	s.after(10*time.Second, func() { s.ensure(p.id) })
}
