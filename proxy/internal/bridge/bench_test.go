package bridge

import (
	"encoding/gob"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/kept"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// What it takes to tell the engine a hundred checks again, when hc-server sends them
// and when they are kept: without the socket.
func BenchmarkTellAgain(b *testing.B) {
	batch := &wire.NotificationBatch{Seq: new(uint64), Generation: new(uint64)}
	store := new(kept.Store)
	for id := range uint64(100_000) {
		n := wire.Notification{ID: 123<<48 + id, Status: wire.Status{
			LastCheck: time.Unix(1700000000, 123456789).UTC(), Duration: wire.Elapsed(412 * time.Microsecond), Successes: id,
			State: wire.StateHealthy, Message: wire.Bytes(fmt.Sprintf("TCP connect to 192.0.2.%d:8080", id%256)),
		}}
		if id < perCall {
			batch.Batch.Notifications = append(batch.Batch.Notifications, n)
		}
		store.Put(convert.ToSeesaw([]wire.Notification{n})[0])
	}
	line := wire.Encode(batch)
	encoder := gob.NewEncoder(io.Discard)
	tell := func(notifications []*seesaw.Notification) {
		if err := encoder.Encode(&seesaw.HealthState{Ctx: seesaw.NewContext(), Notifications: notifications}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("sent", func(b *testing.B) {
		for b.Loop() {
			message, err := wire.Decode(line)
			if err != nil {
				b.Fatal(err)
			}
			tell(convert.ToSeesaw(message.(*wire.NotificationBatch).Batch.Notifications))
		}
	})
	b.Run("kept", func(b *testing.B) {
		cursor := kept.NewCursor(0, kept.Buckets-1)
		for b.Loop() {
			items := store.Next(&cursor, perCall)
			if len(items) == 0 {
				cursor = kept.NewCursor(0, kept.Buckets-1)
				continue
			}
			tell(items)
		}
	})
	b.Run("kept without gob", func(b *testing.B) {
		cursor := kept.NewCursor(0, kept.Buckets-1)
		for b.Loop() {
			if len(store.Next(&cursor, perCall)) == 0 {
				cursor = kept.NewCursor(0, kept.Buckets-1)
			}
		}
	})
}
