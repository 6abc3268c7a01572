package bridge

import (
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/metrics"
)

func TestMain(m *testing.M) {
	// Not into files.
	if err := flag.Set("logtostderr", "true"); err != nil {
		panic(err)
	}
	m.Run()
}

func TestOnlyAYoungEngineMayLackItsMap(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		name   string
		result fetch
		want   int
	}{
		{"no map, young", fetch{asked: start.Add(engine.BuildTime - 1)}, 10},
		{"no map, later", fetch{asked: start.Add(engine.BuildTime)}, 0},
		{"an empty map, young", fetch{asked: start, set: convert.Set{}}, 0},
		{"a failure, later", fetch{asked: start.Add(engine.BuildTime), err: errors.New("no")}, 10},
		{"of an engine that has gone", fetch{conn: new(engine.Conn), asked: start.Add(engine.BuildTime)}, 10},
	} {
		r := &run{core: core(t), conn: new(engine.Conn), schedule: schedule{interval: time.Hour}}
		r.options.Metrics = new(metrics.Metrics)
		r.core.EngineUp()
		r.schedule.begin(start)
		if c.result.conn == nil {
			c.result.conn = r.conn
		}
		r.fetched(c.result, c.result.asked)
		if got := len(r.core.set); got != c.want {
			t.Errorf("%s: %d checks", c.name, got)
		}
	}
}

// What is said once about a check is not said again, until it has changed.
func TestReasonsAreNewsOnce(t *testing.T) {
	var r reasons
	if !r.news(1, "a") || r.news(1, "a") || !r.news(1, "b") || !r.news(2, "a") {
		t.Error("wrong about what is new")
	}
	r.forget(func(id uint64) bool { return id == 1 })
	if !r.news(1, "b") || r.news(2, "a") {
		t.Error("wrong about what was forgotten")
	}
}
