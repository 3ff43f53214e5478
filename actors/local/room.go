package local

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// serveQueue begins the builds that there is room for, and makes room for the
// others from what nobody uses. A build begins when the release of what it
// takes the place of has ended: the two would not fit beside each other. One
// that gets no room even then is refused, the newest first.
func (k *Keeper) serveQueue(now time.Time) {
	for len(k.queue) > 0 && k.sharedCount < k.cfg.SharedMax && k.fits(k.bytes+k.releasingBytes) {
		v := k.queue[0]
		k.queue = k.queue[1:]
		k.sharedCount++
		k.build(v, firstWait(v).ask.ID)
	}
	for len(k.queue) > 0 {
		short := len(k.queue) > k.cfg.SharedMax-k.sharedCount+k.releasing
		if !short && k.fits(k.bytes) {
			return
		}
		if len(k.idle) > 0 {
			k.evict(now, k.idle[0])
			continue
		}
		k.refuse(k.queue[len(k.queue)-1], short)
	}
}

// fits says whether shared values of so many bytes leave room for another one,
// whose size is not known before it is built.
func (k *Keeper) fits(bytes int64) bool {
	return k.cfg.SharedBytesMax <= 0 || bytes < k.cfg.SharedBytesMax
}

// refuse fails the questions for a value that there is no room for.
func (k *Keeper) refuse(v *value, short bool) {
	err := messages.Errorf(messages.CodeLimitExceeded, "local %q key %q: all shared values of worker %q are in use, and they are %d: SharedLocalsMax = %d",
		v.local, v.key, k.cfg.WorkerID, k.sharedCount, k.cfg.SharedMax)
	if !short {
		err = messages.Errorf(messages.CodeLimitExceeded, "local %q key %q: all shared values of worker %q are in use, and they take %d bytes: SharedLocalsBytesMax = %d",
			v.local, v.key, k.cfg.WorkerID, k.bytes, k.cfg.SharedBytesMax)
	}
	for _, w := range sortedByID(v.waits) {
		k.fail(w, err)
	}
	k.unlink(v)
	k.gone(v)
}

// makeRoom evicts what nobody uses until a value that was just built fits with
// its bytes; LIMIT_EXCEEDED if it does not.
func (k *Keeper) makeRoom(now time.Time, v *value) error {
	most := k.cfg.SharedBytesMax
	if !v.shared || most <= 0 {
		return nil
	}
	for v.bytes <= most && k.bytes+v.bytes > most && len(k.idle) > 0 {
		k.evict(now, k.idle[0])
	}
	if k.bytes+v.bytes <= most {
		return nil
	}
	return messages.Errorf(messages.CodeLimitExceeded, "local %q key %q has %d bytes, beside %d bytes that are in use at worker %q: SharedLocalsBytesMax = %d",
		v.local, v.key, v.bytes, k.bytes, k.cfg.WorkerID, most)
}

// evict drops a shared value that nobody uses.
func (k *Keeper) evict(now time.Time, v *value) {
	k.use(v).Evictions++
	k.drop(now, v, messages.ReleaseReason_RELEASE_REASON_EVICTED)
}
