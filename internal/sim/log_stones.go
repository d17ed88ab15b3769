package main

import (
	"testing/synctest"
	"time"
)

// drawStones draws a compacted topic whose tombstones may be waited for.
func (p *logPart) drawStones() args {
	a := p.drawTopic()
	if a == nil || !p.named(a["topic"]).compacts || !p.w.disk.well() || p.named(a["topic"]).outstays() > time.Hour*2 && !p.w.likes("days") {
		return nil
	}
	return a
}

// outstays is how long a tombstone may be there after its append.
func (t *ltopic) outstays() time.Duration {
	return t.config.TombstoneRetention + t.config.TombstoneRetention/16 + t.config.MinCompactionLag + lateness
}

// outwait leaves everything alone until no tombstone may be left, and reads the topic. Other steps
// would append records, which make the topic tidy itself.
func (p *logPart) outwait(c *client, a args) {
	p.w.mu.Lock()
	t := p.named(a["topic"])
	well := p.w.disk.well()
	p.w.mu.Unlock()
	if t == nil || !t.compacts || !well {
		return
	}
	time.Sleep(t.outstays() + time.Second)
	synctest.Wait()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, part := range t.parts {
		if _, ok := part.readAll(c, p); !ok {
			return
		}
	}
}
