// Package kept holds the latest status of each check that the engine has been
// told, for hc-proxy to tell it again when hc-server says that it is still so.
//
// A check takes some 70 bytes and what append leaves free, in a few thousand blocks
// without pointers, so that a million cost the garbage collector nothing.
package kept

import (
	"encoding/binary"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// Buckets is how many buckets ids fall into. Part of the protocol
// (docs/protocol.md), as are Bucket and Digest.
const Buckets = 4096

// Bucket is that of an id: the highest 12 bits of its hash.
func Bucket(id uint64) int { return int(mix(id) >> 52) }

// mix is the finalizer of splitmix64.
func mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// Digest says which checks are kept with which state: how many, and the sum of a
// hash of each.
type Digest struct {
	Count uint32
	Sum   uint64
}

func (d *Digest) put(id uint64, state byte) {
	d.Count++
	d.Sum += mix(mix(id) + uint64(state))
}

func (d *Digest) take(id uint64, state byte) {
	d.Count--
	d.Sum -= mix(mix(id) + uint64(state))
}

// Store holds statuses by bucket. The zero value is empty. It is not safe for
// concurrent use.
type Store struct {
	buckets [Buckets]bucket
	count   int
}

type bucket struct {
	// records are the checks one after the other: the id in 8 bytes, the length
	// of the rest in 4, the state, then what fields writes.
	records []byte
	digest  Digest
	// drops counts how often a record was taken out, which moves those behind it.
	drops uint32
}

const header = 8 + 4 + 1

// Len is how many checks are kept.
func (s *Store) Len() int { return s.count }

// Put keeps a status, in place of an older one of the same check.
func (s *Store) Put(n *seesaw.Notification) {
	s.Drop(n.Id)
	b := &s.buckets[Bucket(n.Id)]
	at := len(b.records)
	b.records = binary.LittleEndian.AppendUint64(b.records, n.Id)
	b.records = append(b.records, 0, 0, 0, 0, byte(n.Status.State))
	b.records = appendFields(b.records, &n.Status)
	binary.LittleEndian.PutUint32(b.records[at+8:], uint32(len(b.records)-at-header))
	b.digest.put(n.Id, byte(n.Status.State))
	s.count++
}

// Drop forgets a check.
func (s *Store) Drop(id uint64) {
	b := &s.buckets[Bucket(id)]
	for at := 0; at < len(b.records); at = b.next(at) {
		if b.id(at) != id {
			continue
		}
		b.digest.take(id, b.records[at+header-1])
		b.records = append(b.records[:at], b.records[b.next(at):]...)
		b.drops++
		s.count--
		return
	}
}

// DropBuckets forgets all checks of the buckets from first to last.
func (s *Store) DropBuckets(first, last int) {
	for i := first; i <= last; i++ {
		b := &s.buckets[i]
		s.count -= int(b.digest.Count)
		*b = bucket{drops: b.drops + 1}
	}
}

// Clear forgets everything.
func (s *Store) Clear() { s.DropBuckets(0, Buckets-1) }

// Digest is that of the buckets from first to last.
func (s *Store) Digest(first, last int) Digest {
	var sum Digest
	for i := first; i <= last; i++ {
		sum.Count += s.buckets[i].digest.Count
		sum.Sum += s.buckets[i].digest.Sum
	}
	return sum
}

// Cursor is a way through some buckets.
type Cursor struct {
	bucket, last, offset int
	drops                uint32
}

// NewCursor begins at the bucket first.
func NewCursor(first, last int) Cursor { return Cursor{bucket: first, last: last} }

// Next returns at most so many checks, as they are kept now, and moves the cursor
// behind them. None are left when it returns none. Whatever changes in between,
// each check that stays is returned at least once.
func (s *Store) Next(c *Cursor, most int) []*seesaw.Notification {
	items := make([]seesaw.Notification, 0, most)
	for c.bucket <= c.last && len(items) < most {
		b := &s.buckets[c.bucket]
		if c.drops != b.drops {
			c.offset, c.drops = 0, b.drops
		}
		if c.offset >= len(b.records) {
			c.bucket++
			c.offset = 0
			if c.bucket <= c.last {
				c.drops = s.buckets[c.bucket].drops
			}
			continue
		}
		items = append(items, b.notification(c.offset))
		c.offset = b.next(c.offset)
	}
	out := make([]*seesaw.Notification, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

func (b *bucket) id(at int) uint64 { return binary.LittleEndian.Uint64(b.records[at:]) }

func (b *bucket) next(at int) int {
	return at + header + int(binary.LittleEndian.Uint32(b.records[at+8:]))
}

func (b *bucket) notification(at int) seesaw.Notification {
	n := seesaw.Notification{Id: b.id(at)}
	n.Status = fields(b.records[at+header : b.next(at)])
	n.Status.State = int(b.records[at+header-1])
	return n
}

// appendFields writes what a status has beside its state. An instant of zero, for
// none, is a second like any other: it lies before 1970.
func appendFields(out []byte, s *seesaw.Status) []byte {
	out = binary.AppendVarint(out, s.LastCheck.Unix())
	out = binary.AppendUvarint(out, uint64(s.LastCheck.Nanosecond()))
	out = binary.AppendVarint(out, int64(s.Duration))
	out = binary.AppendUvarint(out, s.Failures)
	out = binary.AppendUvarint(out, s.Successes)
	return append(out, s.Message...)
}

func fields(in []byte) seesaw.Status {
	signed := func() int64 {
		value, n := binary.Varint(in)
		in = in[n:]
		return value
	}
	unsigned := func() uint64 {
		value, n := binary.Uvarint(in)
		in = in[n:]
		return value
	}
	var s seesaw.Status
	seconds := signed()
	s.LastCheck = time.Unix(seconds, int64(unsigned())).UTC()
	s.Duration = time.Duration(signed())
	s.Failures = unsigned()
	s.Successes = unsigned()
	s.Message = string(in)
	return s
}
