package server

import (
	"reflect"
	"testing"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// set is a full set in two parts, delta one that follows it, ack something else.
func set(generation uint64) []wire.Message {
	return []wire.Message{
		&wire.UpdateConfigs{Generation: &generation, Part: 1, Parts: 2},
		&wire.UpdateConfigs{Generation: &generation, Part: 2, Parts: 2},
	}
}

func delta(generation uint64) []wire.Message {
	return []wire.Message{&wire.UpdateDelta{Generation: generation, Base: generation - 1}}
}

func ack(seq uint64) []wire.Message { return []wire.Message{&wire.Ack{Seq: seq}} }

func fill(t *testing.T, q *queue, groups ...[]wire.Message) {
	t.Helper()
	for i, group := range groups {
		if !q.put(group) {
			t.Fatalf("group %d was not taken", i)
		}
	}
}

// holds wants the queue to hold these groups, and takes them.
func holds(t *testing.T, q *queue, want ...[]wire.Message) {
	t.Helper()
	q.close()
	for i, group := range want {
		if got := q.take(nil); !reflect.DeepEqual(got, group) {
			t.Fatalf("group %d: %+v, want %+v", i, got, group)
		}
	}
	if got := q.take(nil); got != nil {
		t.Fatalf("%+v is left", got)
	}
}

func TestANewerSetTakesThePlaceOfWhatWaits(t *testing.T) {
	q := newQueue()
	fill(t, q, set(1), delta(2), ack(1), set(3), delta(4), ack(2), set(5), delta(6), ack(3))
	holds(t, q, ack(1), ack(2), set(5), delta(6), ack(3))
}

func TestASetThatHasBegunIsNotReplaced(t *testing.T) {
	q := newQueue()
	fill(t, q, set(1))
	if begun := q.take(nil); !reflect.DeepEqual(begun, set(1)) {
		t.Fatalf("%+v", begun)
	}
	fill(t, q, delta(2), set(3))
	holds(t, q, set(3))
}

func TestSetsDoNotFillTheQueueAndTheRestDoes(t *testing.T) {
	q := newQueue()
	for generation := range uint64(10 * limit) {
		fill(t, q, set(generation))
	}
	for seq := range uint64(limit - 1) {
		fill(t, q, ack(seq))
	}
	if q.put(ack(limit)) || q.put(delta(1)) {
		t.Error("more than the limit")
	}
	if !q.put(set(1)) {
		t.Error("a set did not take the place of the one before")
	}
}

func TestTheEndOfTheLinkIsTheEndOfWaiting(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	if got := newQueue().take(ended); got != nil {
		t.Errorf("%+v", got)
	}
}
