package dryrun

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// client plays hc-proxy.
type client struct {
	t     *testing.T
	conn  net.Conn
	lines *wire.LineReader
}

func (c *client) say(message wire.Message) {
	c.t.Helper()
	if _, err := c.conn.Write(wire.Encode(message)); err != nil {
		c.t.Fatal(err)
	}
}

// batch is the next message, which must be one; it returns the seq, and a
// check and its successes as "id:n".
func (c *client) batch() (seq uint64, news []string) {
	c.t.Helper()
	line, err := c.lines.Read()
	if err != nil {
		c.t.Fatal(err)
	}
	message, err := wire.Decode(line)
	batch, ok := message.(*wire.NotificationBatch)
	if !ok {
		c.t.Fatalf("heard %s (%v)", line, err)
	}
	for _, n := range batch.Batch.Notifications {
		if n.Status.State != wire.StateHealthy || n.Status.Message != Message {
			c.t.Errorf("%+v", n)
		}
		news = append(news, fmt.Sprintf("%d:%d", n.ID, n.Status.Successes))
	}
	slices.Sort(news)
	return *batch.Seq, news
}

func (c *client) expect(want ...string) (seq uint64) {
	c.t.Helper()
	seq, news := c.batch()
	if !slices.Equal(news, want) {
		c.t.Fatalf("heard %v, want %v", news, want)
	}
	return seq
}

func checks(ids ...uint64) (list []json.RawMessage) {
	for _, id := range ids {
		list = append(list, json.RawMessage(fmt.Sprintf(`{"id":%d}`, id)))
	}
	return list
}

func TestSetsRefusalsAndRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		conn, err := Dialer(15 * time.Second)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &client{t, conn, wire.NewLineReader(conn)}
		if line, err := c.lines.Read(); err != nil || string(line) != `{"type":"ready","protocol":1,"version":"(dry run)"}` {
			t.Fatalf("%s, %v", line, err)
		}
		generation := uint64(5)
		c.say(&wire.Hello{Protocol: 1})
		c.say(&wire.UpdateConfigs{Configs: checks(1), Generation: &generation, Part: 1, Parts: 2})
		c.say(&wire.UpdateConfigs{Configs: checks(2), Generation: &generation, Part: 2, Parts: 2})
		seq := c.expect("1:1", "2:1")

		// Refused: again after a second, without what has gone meanwhile.
		c.say(&wire.Ack{Seq: seq, Error: "no"})
		c.say(&wire.UpdateDelta{Generation: 6, Base: 5, Upsert: checks(3), Remove: []uint64{1}})
		seq = c.expect("2:1", "3:1")
		if pause := time.Since(began); pause != time.Second {
			t.Errorf("told again after %v", pause)
		}
		c.say(&wire.Ack{Seq: seq})

		c.expect("2:2", "3:2")
		if at := time.Since(began); at != 15*time.Second {
			t.Errorf("refreshed after %v", at)
		}
	})
}
