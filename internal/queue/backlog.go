package queue

import "cmp"

// What is known of a tenant that stands in line, and of how many.
const (
	knownTenants = 16 << 10
	fewTenants   = 64 // of which nobody needs to forget any
)

// backlog is what is known of the tenants of the messages that stand in line: in the
// window, or behind it on disk only. A message whose tenant has nothing in line need not
// stand there: it can be handed out before the line, and nothing of its tenant is
// overtaken. So the wait of a quiet tenant does not depend on the line.
//
// Nobody counts: the last message of each tenant is known, and a tenant has nothing in
// line once the front of the line is beyond that. Of the messages from before a restart
// that are still on disk only, and of tenants beyond a limit, nothing is known. One number
// says how far these reach, and until the front is beyond that nobody passes.
//
// All numbers are of the message after the one that is meant, so 0 is none.
type backlog struct {
	most      int // of these
	tenants   map[string]*inLine
	alone     inLine  // of what is in no group
	of        *inLine // of the last message that was noted
	last      uint64  // that message
	others    uint64  // the last one of a tenant other than that
	blind     inLine  // the last one whose tenant is not known
	turnedOff int     // tenants since the last tidy for which there was no room
}

// inLine is the last message of a tenant in the window, and the last one on disk only.
type inLine struct{ window, disk uint64 }

// restart forgets all but that messages below a number may be of any tenant.
func (b *backlog) restart(next uint64) {
	*b = backlog{most: cmp.Or(b.most, knownTenants), tenants: make(map[string]*inLine), last: next, others: next, blind: inLine{disk: next}}
}

// note takes a message down that comes into the window or stays on disk.
func (b *backlog) note(id []byte, seq, front uint64, window bool) {
	l := b.tenant(id, seq, front)
	if l != b.of || l == &b.blind {
		b.others, b.of = b.last, l
	}
	if l == &b.blind {
		b.others = max(b.others, seq+1)
	}
	if window {
		l.window = max(l.window, seq+1)
	} else {
		l.disk = max(l.disk, seq+1)
	}
	b.last = max(b.last, seq+1)
}

// tenant returns where to note a message of a tenant.
func (b *backlog) tenant(id []byte, seq, front uint64) *inLine {
	if len(id) == 0 {
		return &b.alone
	}
	if l := b.tenants[string(id)]; l != nil {
		return l
	}
	switch {
	case front == seq && len(b.tenants) > fewTenants: // the line was empty
		b.tenants = make(map[string]*inLine)
	case len(b.tenants) < b.most:
	case b.turnedOff%b.most > 0:
		b.turnedOff++
		return &b.blind
	default:
		b.turnedOff = 1
		if b.tidy(front); len(b.tenants) >= b.most {
			return &b.blind
		}
		b.turnedOff = 0
	}
	l := &inLine{}
	b.tenants[string(id)] = l
	return l
}

// tidy forgets tenants that have nothing in line.
func (b *backlog) tidy(front uint64) {
	for id, l := range b.tenants {
		if !l.beyond(front) {
			delete(b.tenants, id)
		}
	}
}

// beyond reports that the front of the line has not passed it yet.
func (l inLine) beyond(front uint64) bool { return max(l.window, l.disk) > front }

// has reports that a tenant may have something in line before a message. One that comes from
// disk, and not from its sender, stands before the others there.
func (b *backlog) has(id []byte, front uint64, fromDisk bool) bool {
	l, blind := b.alone, b.blind
	if len(id) > 0 {
		l = inLine{}
		if known := b.tenants[string(id)]; known != nil {
			l = *known
		}
	}
	if fromDisk {
		l.disk, blind.disk = 0, 0
	}
	return l.beyond(front) || blind.beyond(front)
}

// single reports that all that stands in line is of one tenant.
func (b *backlog) single(front uint64) bool { return b.others <= front }
