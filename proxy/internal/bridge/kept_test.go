package bridge

import (
	"errors"
	"slices"
	"testing"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/kept"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// keeper is a core as core makes it, which keeps what it tells.
func keeper(t *testing.T) *Core {
	c := core(t)
	c.ServerDown()
	c.Keep(true)
	check(t, c.ServerUp(), "full 102 [0 1 2 3 4 5 6 7 8 9]")
	return c
}

func batchOf(generation uint64, state wire.State, ids ...uint64) *wire.NotificationBatch {
	b := &wire.NotificationBatch{Generation: &generation}
	for _, id := range ids {
		b.Batch.Notifications = append(b.Batch.Notifications, wire.Notification{ID: id, Status: wire.Status{State: state}})
	}
	return b
}

// tell has the engine take a batch.
func tell(c *Core, generation uint64, state wire.State, ids ...uint64) {
	b := batchOf(generation, state, ids...)
	c.Begun(b)
	c.Told(b.Generation, convert.ToSeesaw(b.Batch.Notifications))
}

// refreshOf is about these checks, all healthy, in all buckets.
func refreshOf(generation uint64, ids ...uint64) *wire.Refresh {
	var s kept.Store
	for _, id := range ids {
		s.Put(&seesaw.Notification{Id: id, Status: seesaw.Status{State: seesaw.StateHealthy}})
	}
	digest := s.Digest(0, kept.Buckets-1)
	return &wire.Refresh{Generation: &generation, Last: kept.Buckets - 1, Count: digest.Count, Digest: digest.Sum}
}

func refreshes(t *testing.T, c *Core, refresh *wire.Refresh, want error) {
	t.Helper()
	if err := c.Refresh(refresh); !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%v, want %v", err, want)
	}
}

func keeps(t *testing.T, c *Core, want ...uint64) {
	t.Helper()
	cursor := kept.NewCursor(0, kept.Buckets-1)
	var ids []uint64
	for items := c.Next(&cursor, 3); len(items) > 0; items = c.Next(&cursor, 3) {
		for _, n := range items {
			ids = append(ids, n.Id)
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		t.Errorf("keeps %v, want %v", ids, want)
	}
}

func TestWhatTheEngineHasTakenIsKept(t *testing.T) {
	c := keeper(t)
	tell(c, 102, wire.StateHealthy, 1, 2, 3)
	refreshes(t, c, refreshOf(102, 1, 2, 3), nil)
	tell(c, 102, wire.StateUnhealthy, 2)
	keeps(t, c, 1, 2, 3)
	refreshes(t, c, refreshOf(102, 1, 2, 3), errDiffers)
	// It is dropped with that.
	keeps(t, c)
	refreshes(t, c, refreshOf(102), nil)
}

func TestWhatIsUnderWayOrWasRefusedIsNotKept(t *testing.T) {
	c := keeper(t)
	tell(c, 102, wire.StateHealthy, 1, 2)
	c.Begun(batchOf(102, wire.StateUnhealthy, 2))
	keeps(t, c, 1)
	refreshes(t, c, refreshOf(102, 1), nil)
}

func TestAFullSetBeginsAnew(t *testing.T) {
	c := keeper(t)
	tell(c, 102, wire.StateHealthy, 1, 2)
	b := batchOf(102, wire.StateHealthy, 3)
	c.Begun(b)
	c.RequestConfigs()
	keeps(t, c)
	// Of the set before: hc-server tells it again.
	c.Told(b.Generation, convert.ToSeesaw(b.Batch.Notifications))
	keeps(t, c)
	refreshes(t, c, refreshOf(102), errOtherSet)
	tell(c, 103, wire.StateHealthy, 1)
	refreshes(t, c, refreshOf(103, 1), nil)
}

func TestADeltaDropsWhatItIsAbout(t *testing.T) {
	c := keeper(t)
	tell(c, 102, wire.StateHealthy, 1, 2, 3, 9)
	b := batchOf(102, wire.StateHealthy, 8)
	c.Begun(b)
	next := numbered(8)
	next[2] = []byte(`{"id":2,"x":1}`)
	check(t, ofSet(c, next), "delta 103<102 [2] -[8 9]")
	c.Told(b.Generation, convert.ToSeesaw(b.Batch.Notifications))
	keeps(t, c, 1, 3)
	refreshes(t, c, refreshOf(102, 1, 3), errOtherSet)
	refreshes(t, c, refreshOf(103, 1, 3), nil)
}

func TestANewEngineHearsNothingOfTheOld(t *testing.T) {
	c := keeper(t)
	tell(c, 102, wire.StateHealthy, 1)
	c.EngineDown()
	refreshes(t, c, refreshOf(102, 1), errNoEngine)
	c.EngineUp()
	refreshes(t, c, refreshOf(102, 1), errNoSetYet)
	check(t, ofSet(c, numbered(10)), "full 103 [0 1 2 3 4 5 6 7 8 9]")
	refreshes(t, c, refreshOf(102, 1), errPriorSet)
	keeps(t, c)
}

func TestNothingIsKeptForAServerThatTellsAgain(t *testing.T) {
	c := core(t)
	tell(c, 101, wire.StateHealthy, 1)
	keeps(t, c)
	refreshes(t, c, refreshOf(101), errOtherSet)
}

func TestARefreshOfNoBucketsIsRefused(t *testing.T) {
	c := keeper(t)
	for _, r := range []wire.Refresh{{First: 2, Last: 1}, {Last: kept.Buckets}} {
		refreshes(t, c, &r, errOtherSet)
	}
}
