package kept

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// hc-server has the same numbers in its tests (crates/hc-types, refresh).
func TestHashesAreThoseOfTheProtocol(t *testing.T) {
	for _, c := range []struct {
		id     uint64
		state  int
		bucket int
		sum    uint64
	}{
		{0, seesaw.StateUnknown, 0, 0},
		{1, seesaw.StateUnhealthy, 1385, 15690285813532428630},
		{math.MaxUint64, seesaw.StateHealthy, 2893, 9254530902928692102},
	} {
		var s Store
		s.Put(&seesaw.Notification{Id: c.id, Status: seesaw.Status{State: c.state}})
		if got, want := s.Digest(c.bucket, c.bucket), (Digest{1, c.sum}); Bucket(c.id) != c.bucket || got != want {
			t.Errorf("%d: bucket %d, %v, want %d, %v", c.id, Bucket(c.id), got, c.bucket, want)
		}
	}
}

func status(state int, text string) seesaw.Status {
	return seesaw.Status{
		LastCheck: time.Unix(1700000000, 123456789).UTC(), Duration: 1500 * time.Microsecond,
		Failures: math.MaxUint64, Successes: 3, State: state, Message: text,
	}
}

func TestAStatusComesBackAsItWas(t *testing.T) {
	for _, want := range []seesaw.Status{
		{},
		status(seesaw.StateHealthy, "\x00\xff"),
		{LastCheck: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), Duration: math.MaxInt64},
		{LastCheck: time.Unix(0, 0).UTC(), Duration: -1, Successes: math.MaxUint64},
	} {
		var s Store
		s.Put(&seesaw.Notification{Id: 7, Status: want})
		cursor := NewCursor(0, Buckets-1)
		got := s.Next(&cursor, 2)
		if len(got) != 1 || got[0].Id != 7 || !reflect.DeepEqual(got[0].Status, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got[0].Status.LastCheck.IsZero() != want.LastCheck.IsZero() {
			t.Errorf("%v is zero: %v", want.LastCheck, got[0].Status.LastCheck.IsZero())
		}
		if rest := s.Next(&cursor, 2); len(rest) != 0 {
			t.Errorf("%+v is left", rest)
		}
	}
}

// Any order of puts, drops and looks gives what a map gives.
func TestItIsAMap(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var s Store
		want := map[uint64]seesaw.Status{}
		for step := range 2000 {
			id := rng.Uint64N(300)
			switch rng.IntN(20) {
			case 0:
				first := rng.IntN(Buckets)
				last := min(first+rng.IntN(64), Buckets-1)
				s.DropBuckets(first, last)
				for id := range want {
					if b := Bucket(id); first <= b && b <= last {
						delete(want, id)
					}
				}
			case 1, 2, 3, 4:
				s.Drop(id)
				delete(want, id)
			default:
				want[id] = status(rng.IntN(3), fmt.Sprint("step ", step))
				s.Put(&seesaw.Notification{Id: id, Status: want[id]})
			}
		}
		got := map[uint64]seesaw.Status{}
		var digest Digest
		cursor := NewCursor(0, Buckets-1)
		for items := s.Next(&cursor, 7); len(items) > 0; items = s.Next(&cursor, 7) {
			for _, n := range items {
				got[n.Id] = n.Status
				digest.put(n.Id, byte(n.Status.State))
			}
		}
		if !reflect.DeepEqual(got, want) || s.Len() != len(want) || s.Digest(0, Buckets-1) != digest {
			t.Fatalf("seed %d: %d checks of %d, digest %v of %v", seed, len(got), len(want), s.Digest(0, Buckets-1), digest)
		}
		s.Clear()
		if s.Len() != 0 || s.Digest(0, Buckets-1) != (Digest{}) {
			t.Fatalf("seed %d: %d checks are left", seed, s.Len())
		}
	}
}

// What is not dropped meanwhile is seen by a cursor that is under way.
func TestACursorMissesNothing(t *testing.T) {
	// All in one bucket, where a drop moves the others.
	var ids []uint64
	for id := uint64(0); len(ids) < 60; id++ {
		if Bucket(id) == 9 {
			ids = append(ids, id)
		}
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var s Store
		missing := map[uint64]bool{}
		for _, id := range ids {
			s.Put(&seesaw.Notification{Id: id})
			missing[id] = true
		}
		cursor := NewCursor(0, Buckets-1)
		for items := s.Next(&cursor, 10); len(items) > 0; items = s.Next(&cursor, 10) {
			for _, n := range items {
				delete(missing, n.Id)
			}
			if rng.IntN(3) > 0 {
				continue
			}
			id := ids[rng.IntN(len(ids))]
			s.Drop(id)
			delete(missing, id)
			if rng.IntN(2) == 0 {
				s.Put(&seesaw.Notification{Id: id, Status: status(seesaw.StateHealthy, "again")})
			}
		}
		if len(missing) > 0 {
			t.Fatalf("seed %d: not seen: %v", seed, missing)
		}
	}
}
