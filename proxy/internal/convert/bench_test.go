package convert

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

func hundredThousand() map[uint64]*seesaw.Config {
	configs := make(map[uint64]*seesaw.Config)
	for id := range uint64(100_000) {
		target := plain(seesaw.ProtoTCP)
		target.Port = int(id % 60000)
		configs[id] = &seesaw.Config{Id: id, Interval: time.Second, Timeout: time.Second, Checker: &seesaw.HTTPChecker{
			Target: target, Method: "GET", Request: fmt.Sprintf("/healthz/%d", id), Response: "ok", ResponseCode: 200,
		}}
	}
	return configs
}

// What a fetch of 100,000 checks costs: gob's part and ours.
func BenchmarkGobOfAFetch(b *testing.B) {
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(&seesaw.Checks{Configs: hundredThousand()}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		checks := new(seesaw.Checks)
		if err := gob.NewDecoder(bytes.NewReader(buf.Bytes())).Decode(checks); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToSet(b *testing.B) {
	configs := hundredThousand()
	b.ReportAllocs()
	for b.Loop() {
		ToSet(configs)
	}
}
