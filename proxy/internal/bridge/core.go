// Package bridge joins the engine and hc-server: it hands the engine's checks
// on as full sets and deltas, and brings the news about them to the engine.
//
// [Core] decides and does no I/O; [Run] drives it.
package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/kept"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// envelope is more than a message needs around its checks.
const envelope = 256

// Core knows the set of checks, what hc-server has been told of it, and which
// news the engine may hear. It is not safe for concurrent use.
//
//	engine          set            hc-server
//	EngineUp   ──►  (kept)
//	Fetched    ──►  replaced  ──►  full set (first of the epoch), delta, nothing
//	                (kept)    ◄──  ServerUp, RequestConfigs: full set
//	Admit      ◄── generation not older than the epoch's first set? ── batch
//
// The epoch rule: ids of one engine process mean nothing to another, and an
// engine that restarts with the same pid gives old ids to other checks. So after
// a new connection to the engine nothing is admitted until a set fetched over
// that connection has been sent, and nothing of an older generation after that.
type Core struct {
	set   convert.Set
	known bool

	// generation is that of the last set sent. Each gets a new one, so while
	// linked this is the one that hc-server has.
	generation uint64
	linked     bool

	engine bool
	// oldest is the first generation that the engine may hear of, 0 if the
	// engine has not been asked yet.
	oldest uint64

	// kept is what the engine has been told since the last full set, of which
	// hc-server knows that it is kept. Nil if hc-server tells all of it again by
	// itself.
	kept *kept.Store
	// whole is the generation of the last full set sent.
	whole uint64
	// gone are the checks of the deltas since that hc-server may not have seen when
	// it made the batch under way: what that says of them is not kept.
	gone map[uint64]struct{}
}

// NewCore begins above the given generation: the clock's microseconds, so that a
// restarted proxy does not repeat one.
func NewCore(generation uint64) *Core { return &Core{generation: generation} }

// EngineUp begins an epoch.
func (c *Core) EngineUp() { c.engine, c.oldest = true, 0 }

// EngineDown ends it. The set stays: checks run on.
func (c *Core) EngineDown() { c.engine = false }

// Keep says whether what is told over the next connection to hc-server is kept.
func (c *Core) Keep(keeps bool) {
	c.kept = nil
	if keeps {
		c.kept = new(kept.Store)
	}
}

// Kept is how many checks are kept.
func (c *Core) Kept() int {
	if c.kept == nil {
		return 0
	}
	return c.kept.Len()
}

// ServerUp begins a connection to hc-server.
func (c *Core) ServerUp() []wire.Message {
	c.linked = true
	return c.full()
}

// ServerDown ends it.
func (c *Core) ServerDown() { c.linked = false }

// RequestConfigs is what hc-server asks for when it lacks the base of a delta.
func (c *Core) RequestConfigs() []wire.Message { return c.full() }

// Fetched takes a set that was fetched over the engine's present connection and
// returns what to tell hc-server.
//
// The first set of an epoch is told in full even if nothing changed: hc-server
// then tells all that it knows again, which the new engine has not heard. Whether
// the set is another one, or the first of its epoch, says the second result:
// without a link there is nothing to tell all the same.
func (c *Core) Fetched(set convert.Set) ([]wire.Message, bool) {
	old := c.set
	c.set, c.known = set, true
	if c.oldest == 0 {
		c.oldest = c.generation + 1
		return c.full(), true
	}
	// Not nil, which JSON would write as null.
	upsert, remove := []json.RawMessage{}, []uint64{}
	for _, id := range slices.Sorted(maps.Keys(set)) {
		if !bytes.Equal(old[id], set[id]) {
			upsert = append(upsert, set[id])
			// What was told of the check before the change is not said again.
			c.drop(id)
		}
	}
	for id := range old {
		if set[id] == nil {
			remove = append(remove, id)
			c.drop(id)
		}
	}
	slices.Sort(remove)
	if len(upsert)+len(remove) == 0 {
		return nil, false
	}
	return c.change(upsert, remove), true
}

// change tells a delta if it is less than half of the set and fits in one line,
// else the full set.
func (c *Core) change(upsert []json.RawMessage, remove []uint64) []wire.Message {
	size := envelope + 21*len(remove)
	for _, check := range upsert {
		size += len(check) + 1
	}
	if !c.linked || 2*(len(upsert)+len(remove)) >= len(c.set) || size > wire.MaxLine {
		return c.full()
	}
	base := c.generation
	c.generation++
	return []wire.Message{&wire.UpdateDelta{Generation: c.generation, Base: base, Upsert: upsert, Remove: remove}}
}

// full tells the whole set, in as many parts as it takes.
func (c *Core) full() []wire.Message {
	if !c.linked || !c.known {
		return nil
	}
	c.generation++
	c.whole = c.generation
	if c.kept != nil {
		// hc-server tells everything again, and counts from there.
		c.kept.Clear()
	}
	clear(c.gone)
	generation := c.generation
	parts := [][]json.RawMessage{{}}
	size := envelope
	for _, id := range slices.Sorted(maps.Keys(c.set)) {
		check := c.set[id]
		if size+len(check)+1 > wire.MaxLine {
			parts, size = append(parts, nil), envelope
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], check)
		size += len(check) + 1
	}
	messages := make([]wire.Message, len(parts))
	for i, part := range parts {
		update := &wire.UpdateConfigs{Configs: part, Generation: &generation}
		if len(parts) > 1 {
			update.Part, update.Parts = uint32(i+1), uint32(len(parts))
		}
		messages[i] = update
	}
	return messages
}

var (
	errNoEngine = errors.New("no connection to the engine")
	errNoSetYet = errors.New("the engine is new and has not given its checks yet")
	errPriorSet = errors.New("the engine is new")
	errBusy     = errors.New("another batch is under way")
	errOtherSet = errors.New("another set is under way")
	errDiffers  = errors.New("other statuses are kept")
)

// Admit judges whether the engine may hear a batch, and says why not. A batch in
// the bare form, without a generation, is taken to be about the last set sent.
func (c *Core) Admit(batch *wire.NotificationBatch) error {
	return c.admit(batch.Generation)
}

func (c *Core) admit(of *uint64) error {
	switch {
	case !c.engine:
		return errNoEngine
	case c.oldest == 0:
		return errNoSetYet
	}
	if generation := c.generationOf(of); generation < c.oldest {
		return fmt.Errorf("%w, and generation %d is older than its first set, %d", errPriorSet, generation, c.oldest)
	}
	return nil
}

func (c *Core) generationOf(of *uint64) uint64 {
	if of == nil {
		return c.generation
	}
	return *of
}

// drop is for a check that is another one now, or none.
func (c *Core) drop(id uint64) {
	if c.kept == nil {
		return
	}
	c.kept.Drop(id)
	if c.gone == nil {
		c.gone = make(map[uint64]struct{})
	}
	c.gone[id] = struct{}{}
}

// Begun is called with each batch that comes in, also with one that is refused:
// from then on nothing older of its checks is told again, and hc-server counts on
// nothing of them until the batch is acknowledged.
func (c *Core) Begun(batch *wire.NotificationBatch) {
	if c.kept == nil {
		return
	}
	if c.generationOf(batch.Generation) == c.generation {
		clear(c.gone)
	}
	for i := range batch.Batch.Notifications {
		c.kept.Drop(batch.Batch.Notifications[i].ID)
	}
}

// Told is called when the engine has taken a batch of this generation, before it
// is acknowledged: it is kept, unless a full set was sent meanwhile, after which
// all comes again, or a delta has made a check another one.
func (c *Core) Told(generation *uint64, notifications []*seesaw.Notification) {
	if c.kept == nil || c.generationOf(generation) < c.whole {
		return
	}
	for _, n := range notifications {
		if _, gone := c.gone[n.Id]; !gone {
			c.kept.Put(n)
		}
	}
}

// Refresh judges whether the engine may hear again what is kept of some buckets,
// and says why not. If it is something else than hc-server means (errDiffers), it
// is dropped: hc-server tells it anew.
func (c *Core) Refresh(refresh *wire.Refresh) error {
	if err := c.admit(refresh.Generation); err != nil {
		return err
	}
	first, last := int(refresh.First), int(refresh.Last)
	switch {
	case c.kept == nil || first > last || last >= kept.Buckets:
		return errOtherSet
	case c.generationOf(refresh.Generation) != c.generation:
		return errOtherSet
	}
	want := kept.Digest{Count: refresh.Count, Sum: refresh.Digest}
	if got := c.kept.Digest(first, last); got != want {
		c.kept.DropBuckets(first, last)
		return fmt.Errorf("%w: %d checks, not %d, or not of the same state", errDiffers, got.Count, want.Count)
	}
	return nil
}

// Next are the next kept statuses on the way of a refresh that was admitted. What
// is sent to hc-server meanwhile drops what it must.
func (c *Core) Next(cursor *kept.Cursor, most int) []*seesaw.Notification {
	if c.kept == nil {
		return nil
	}
	return c.kept.Next(cursor, most)
}
