package convert

import (
	"encoding/json"
	"fmt"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// maxCheck leaves room for the rest of a line around one check.
const maxCheck = wire.MaxLine - 1024

// Set is a set of checks, encoded for the wire, by id. That form is compared
// and sent as it is.
type Set map[uint64]json.RawMessage

// ToSet converts what the engine answered. A check that cannot be converted is
// left out alone, and its reason is in the second map.
func ToSet(configs map[uint64]*seesaw.Config) (Set, map[uint64]string) {
	set := make(Set, len(configs))
	dropped := make(map[uint64]string)
	for id, config := range configs {
		check, err := ToWire(id, config)
		if err != nil {
			dropped[id] = err.Error()
			continue
		}
		encoded, err := check.Encode()
		if err == nil && len(encoded) > maxCheck {
			err = fmt.Errorf("it takes %d bytes, more than a line can hold", len(encoded))
		}
		if err != nil {
			dropped[id] = err.Error()
			continue
		}
		set[id] = encoded
	}
	return set, dropped
}
