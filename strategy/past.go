package strategy

import "slices"

// A past is a list that grows at its end and is forgotten from its front. Its
// keys ascend.
type past struct {
	all  []entry
	head int // all[:head] is forgotten
}

// An entry is a bucket of a ring or the admissions of one instant of a log.
type entry struct {
	at int64  // tick of the bucket, or instant
	n  uint64 // bits of the double that counts the bucket; or units up to and with this instant
}

func (p *past) clone() *past { return &past{all: slices.Clone(p.all[p.head:])} }
