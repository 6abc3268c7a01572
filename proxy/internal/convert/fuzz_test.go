package convert

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"os"
	"testing"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// Whatever check the engine can express: it goes over the wire, or is left out
// with a reason, and what goes over says the same when it comes back.
func FuzzChecksBothWays(f *testing.F) {
	line, err := os.ReadFile("../../../wire/v1/update_configs_all_types.json")
	if err != nil {
		f.Fatal(err)
	}
	message, err := wire.Decode(line)
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range message.(*wire.UpdateConfigs).Configs {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		config, id := fromJSON(raw)
		if config == nil {
			return
		}
		set, dropped := ToSet(map[uint64]*seesaw.Config{id: config})
		if len(set)+len(dropped) != 1 {
			t.Fatalf("a check became %d and %d", len(set), len(dropped))
		}
		once, ok := set[id]
		if !ok {
			if dropped[id] == "" {
				t.Fatal("left out without a reason")
			}
			return
		}
		again, _ := fromJSON(once)
		if again == nil {
			t.Fatalf("does not come back: %s", once)
		}
		if set, _ = ToSet(map[uint64]*seesaw.Config{id: again}); !bytes.Equal(set[id], once) {
			t.Fatalf("went as  %s\nand then %s", once, set[id])
		}
	})
}

func fromJSON(raw []byte) (*seesaw.Config, uint64) {
	check := new(wire.Check)
	if json.Unmarshal(raw, check) != nil {
		return nil, 0
	}
	config, err := FromWire(check)
	if err != nil {
		return nil, 0
	}
	return config, check.ID
}

// Whatever bytes come from the engine: an error, or checks of which each goes over
// the wire under its id or is left out with a reason.
func FuzzGobToSet(f *testing.F) {
	for _, row := range rows {
		var buf bytes.Buffer
		config := &seesaw.Config{Id: 7, Checker: row.checker}
		checks := &seesaw.Checks{Configs: map[uint64]*seesaw.Config{7: config}}
		if err := gob.NewEncoder(&buf).Encode(checks); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checks := new(seesaw.Checks)
		if gob.NewDecoder(bytes.NewReader(data)).Decode(checks) != nil {
			return
		}
		set, dropped := ToSet(checks.Configs)
		if len(set)+len(dropped) != len(checks.Configs) {
			t.Fatalf("%d checks became %d and %d", len(checks.Configs), len(set), len(dropped))
		}
		for id, raw := range set {
			check := new(wire.Check)
			if err := json.Unmarshal(raw, check); err != nil || check.ID != id || bytes.ContainsAny(raw, "\n") {
				t.Fatalf("%s: %v", raw, err)
			}
		}
	})
}
