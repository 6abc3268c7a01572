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
}

// NewCore begins above the given generation: the clock's microseconds, so that a
// restarted proxy does not repeat one.
func NewCore(generation uint64) *Core { return &Core{generation: generation} }

// EngineUp begins an epoch.
func (c *Core) EngineUp() { c.engine, c.oldest = true, 0 }

// EngineDown ends it. The set stays: checks run on.
func (c *Core) EngineDown() { c.engine = false }

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
		}
	}
	for id := range old {
		if set[id] == nil {
			remove = append(remove, id)
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
)

// Admit judges whether the engine may hear a batch, and says why not. A batch in
// the bare form, without a generation, is taken to be about the last set sent.
func (c *Core) Admit(batch *wire.NotificationBatch) error {
	switch {
	case !c.engine:
		return errNoEngine
	case c.oldest == 0:
		return errNoSetYet
	}
	generation := c.generation
	if batch.Generation != nil {
		generation = *batch.Generation
	}
	if generation < c.oldest {
		return fmt.Errorf("%w, and generation %d is older than its first set, %d", errPriorSet, generation, c.oldest)
	}
	return nil
}
