package fakeengine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// poll is how often the file is looked at.
const poll = 100 * time.Millisecond

// File is a file of checks: a JSON array of the check objects of
// docs/protocol.md.
type File struct {
	path string
	// seen is what the file looked like just before it was last read.
	seen sight
}

// NewFile names the file and does not touch it.
func NewFile(path string) *File { return &File{path: path} }

// Read reads the file. It fails on what the engine could not have: unknown
// fields, an id twice, more than one expected code.
func (f *File) Read() (map[uint64]*seesaw.Config, error) {
	f.seen = look(f.path)
	configs, err := readChecks(f.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return configs, nil
}

// Follow reads the file again whenever it has changed since the last Read, until
// the context ends, and gives the engine its checks. A file that cannot be read
// is one error event and changes nothing.
func (f *File) Follow(ctx context.Context, engine *Engine, events *Events) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if look(f.path).equal(f.seen) {
			continue
		}
		configs, err := f.Read()
		if err != nil {
			events.Error(err)
			continue
		}
		engine.SetConfigs(configs)
		events.Checks(len(configs))
	}
}

func readChecks(path string) (map[uint64]*seesaw.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var checks []struct {
		wire.Check
		// Shadows Check's, to tell 0 from nothing.
		ID *uint64 `json:"id"`
	}
	if err := decoder.Decode(&checks); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the array of checks")
	}
	configs := make(map[uint64]*seesaw.Config, len(checks))
	for i := range checks {
		if checks[i].ID == nil {
			return nil, fmt.Errorf("check %d of the file: id: missing", i+1)
		}
		check := &checks[i].Check
		check.ID = *checks[i].ID
		config, err := convert.FromWire(check)
		if err != nil {
			return nil, fmt.Errorf("check %d: %w", check.ID, err)
		}
		if configs[check.ID] != nil {
			return nil, fmt.Errorf("check %d is there twice", check.ID)
		}
		configs[check.ID] = config
	}
	return configs, nil
}

// sight is what a look at a file tells of it.
type sight struct {
	info os.FileInfo
}

func look(path string) sight {
	info, err := os.Stat(path)
	if err != nil {
		return sight{}
	}
	return sight{info}
}

func (s sight) equal(o sight) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}
