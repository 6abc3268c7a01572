package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// set makes checks from "id=text" words; the text stands for all of a check.
func set(words ...string) convert.Set {
	s := convert.Set{}
	for _, word := range words {
		var id uint64
		var text string
		fmt.Sscanf(strings.Replace(word, "=", " ", 1), "%d %s", &id, &text)
		s[id] = json.RawMessage(fmt.Sprintf(`{"id":%d,"x":%q}`, id, text))
	}
	return s
}

// numbered is the set of n checks.
func numbered(n int) convert.Set {
	s := convert.Set{}
	for id := range uint64(n) {
		s[id] = json.RawMessage(fmt.Sprintf(`{"id":%d}`, id))
	}
	return s
}

// told describes messages in a line: "full 7 [1 2]", "delta 8<7 [1] -[2]".
func told(t *testing.T, messages []wire.Message) string {
	t.Helper()
	ids := func(checks []json.RawMessage) (ids []uint64) {
		for _, check := range checks {
			var c struct{ ID uint64 }
			if err := json.Unmarshal(check, &c); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, c.ID)
		}
		return ids
	}
	var words []string
	for _, message := range messages {
		switch m := message.(type) {
		case *wire.UpdateConfigs:
			words = append(words, fmt.Sprintf("full %d %v", *m.Generation, ids(m.Configs)))
		case *wire.UpdateDelta:
			words = append(words, fmt.Sprintf("delta %d<%d %v -%v", m.Generation, m.Base, ids(m.Upsert), m.Remove))
		default:
			t.Fatalf("told %T", m)
		}
	}
	return strings.Join(words, "; ")
}

// core is linked, has an engine and the set of ten checks under generation 101.
func core(t *testing.T) *Core {
	c := NewCore(100)
	c.EngineUp()
	c.ServerUp()
	check(t, ofSet(c, numbered(10)), "full 101 [0 1 2 3 4 5 6 7 8 9]")
	return c
}

func check(t *testing.T, messages []wire.Message, want string) {
	t.Helper()
	if got := told(t, messages); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func admits(t *testing.T, c *Core, generation uint64, want bool) {
	t.Helper()
	if err := c.Admit(&wire.NotificationBatch{Generation: &generation}); (err == nil) != want {
		t.Errorf("generation %d: %v, want admitted %v", generation, err, want)
	}
}

func TestNothingIsToldBeforeTheFirstSet(t *testing.T) {
	c := NewCore(100)
	check(t, c.ServerUp(), "")
	check(t, c.RequestConfigs(), "")
	c.EngineUp()
	check(t, ofSet(c, convert.Set{}), "full 101 []")
}

func TestAnEmptySetIsWrittenAsAList(t *testing.T) {
	c := NewCore(100)
	c.EngineUp()
	c.ServerUp()
	want := `{"type":"update_configs","configs":[],"generation":101}` + "\n"
	if got := wire.Encode(ofSet(c, convert.Set{})[0]); string(got) != want {
		t.Errorf("wrote %s", got)
	}
}

func TestDeltas(t *testing.T) {
	c := core(t)
	check(t, ofSet(c, numbered(10)), "")
	check(t, ofSet(c, numbered(12)), "delta 102<101 [10 11] -[]")
	check(t, ofSet(c, numbered(9)), "delta 103<102 [] -[9 10 11]")
	next := numbered(9)
	delete(next, 2)
	next[4] = json.RawMessage(`{"id":4,"x":1}`)
	next[1<<63] = json.RawMessage(`{"id":9223372036854775808}`)
	messages := ofSet(c, next)
	check(t, messages, "delta 104<103 [4 9223372036854775808] -[2]")
	want := `{"type":"update_delta","generation":104,"base":103,"upsert":[{"id":4,"x":1},{"id":9223372036854775808}],"remove":[2]}`
	if got := wire.Encode(messages[0]); string(got) != want+"\n" {
		t.Errorf("wrote %s", got)
	}
}

func TestDeltasWriteEmptyListsAsLists(t *testing.T) {
	c := core(t)
	for n, want := range map[int]string{11: `"remove":[]}`, 10: `"upsert":[],`} {
		ofSet(c, numbered(21-n))
		if got := wire.Encode(ofSet(c, numbered(n))[0]); !strings.Contains(string(got), want) {
			t.Errorf("wrote %s", got)
		}
	}
}

func TestHalfOfTheSetIsToldInFull(t *testing.T) {
	c := core(t)
	check(t, ofSet(c, numbered(14)), "delta 102<101 [10 11 12 13] -[]")
	check(t, ofSet(c, numbered(7)), "full 103 [0 1 2 3 4 5 6]")
	check(t, ofSet(c, convert.Set{}), "full 104 []")
}

func TestAChangeWithoutAServerIsToldLater(t *testing.T) {
	c := core(t)
	c.ServerDown()
	check(t, ofSet(c, numbered(3)), "")
	check(t, c.ServerUp(), "full 102 [0 1 2]")
	check(t, ofSet(c, numbered(3)), "")
}

func TestRequestedSetsAreFullUnderANewGeneration(t *testing.T) {
	c := core(t)
	check(t, c.RequestConfigs(), "full 102 [0 1 2 3 4 5 6 7 8 9]")
	check(t, ofSet(c, numbered(11)), "delta 103<102 [10] -[]")
}

func TestALargeSetIsSplit(t *testing.T) {
	c := NewCore(1)
	c.EngineUp()
	c.ServerUp()
	large := convert.Set{}
	for id := range uint64(40) {
		large[id] = json.RawMessage(fmt.Sprintf(`{"id":%d,"send":"%s"}`, id, strings.Repeat("s", 100_000+int(id))))
	}
	messages := ofSet(c, large)
	if len(messages) != 4 {
		t.Fatalf("%d parts", len(messages))
	}
	server := newModel()
	for i, message := range messages {
		if n := len(wire.Encode(message)); n > wire.MaxLine {
			t.Errorf("part %d has %d bytes", i+1, n)
		}
		if m := message.(*wire.UpdateConfigs); m.Part != uint32(i+1) || m.Parts != 4 || *m.Generation != 2 {
			t.Errorf("part %d is %d of %d, generation %d", i+1, m.Part, m.Parts, *m.Generation)
		}
		server.take(t, message)
	}
	server.expect(t, large)
}

func TestADeltaThatFillsMoreThanALineIsToldInFull(t *testing.T) {
	c := core(t)
	large := numbered(100)
	ofSet(c, maps.Clone(large))
	for id := range uint64(12) {
		large[id] = json.RawMessage(fmt.Sprintf(`{"id":%d,"send":"%s"}`, id, strings.Repeat("s", 100_000)))
	}
	if messages := ofSet(c, large); len(messages) != 2 {
		t.Errorf("told %d messages", len(messages))
	}
}

// The heart of it: after a new connection to the engine, old news is not told
// to it, though the ids are the same.
func TestEpochs(t *testing.T) {
	c := core(t)
	admits(t, c, 100, false)
	admits(t, c, 101, true)

	c.EngineDown()
	admits(t, c, 101, false)
	c.EngineUp()
	admits(t, c, 101, false)
	check(t, c.RequestConfigs(), "full 102 [0 1 2 3 4 5 6 7 8 9]")
	admits(t, c, 102, false)

	check(t, ofSet(c, numbered(10)), "full 103 [0 1 2 3 4 5 6 7 8 9]")
	admits(t, c, 102, false)
	admits(t, c, 103, true)
	check(t, ofSet(c, numbered(11)), "delta 104<103 [10] -[]")
	admits(t, c, 103, true)
	admits(t, c, 104, true)
}

func TestAFirstSetWithoutAServerStillEndsTheOldGenerations(t *testing.T) {
	c := core(t)
	c.ServerDown()
	c.EngineDown()
	c.EngineUp()
	check(t, ofSet(c, set("1=new")), "")
	admits(t, c, 101, false)
	check(t, c.ServerUp(), "full 102 [1]")
	admits(t, c, 102, true)
}

func TestABareBatchIsAboutTheLastSet(t *testing.T) {
	c := core(t)
	bare := &wire.NotificationBatch{}
	if err := c.Admit(bare); err != nil {
		t.Error(err)
	}
	c.EngineDown()
	c.EngineUp()
	if c.Admit(bare) == nil {
		t.Error("admitted before the engine gave its checks")
	}
	ofSet(c, numbered(1))
	if err := c.Admit(bare); err != nil {
		t.Error(err)
	}
}

// model is hc-server as far as sets go.
type model struct {
	set        map[uint64]json.RawMessage
	generation uint64
	parts      map[uint64]json.RawMessage
}

func newModel() *model { return &model{set: map[uint64]json.RawMessage{}} }

// take reports whether the message could be used.
func (m *model) take(t *testing.T, message wire.Message) bool {
	t.Helper()
	add := func(to map[uint64]json.RawMessage, checks []json.RawMessage) {
		for _, check := range checks {
			var c struct{ ID uint64 }
			if err := json.Unmarshal(check, &c); err != nil {
				t.Fatal(err)
			}
			to[c.ID] = check
		}
	}
	switch update := message.(type) {
	case *wire.UpdateConfigs:
		if update.Part <= 1 {
			m.parts = map[uint64]json.RawMessage{}
		}
		add(m.parts, update.Configs)
		if update.Part == update.Parts {
			m.set, m.generation = m.parts, *update.Generation
		}
	case *wire.UpdateDelta:
		if update.Base != m.generation {
			return false
		}
		for _, id := range update.Remove {
			delete(m.set, id)
		}
		add(m.set, update.Upsert)
		m.generation = update.Generation
	}
	return true
}

func (m *model) expect(t *testing.T, want convert.Set) {
	t.Helper()
	if !maps.EqualFunc(m.set, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		t.Fatalf("the server has %d checks, want %d", len(m.set), len(want))
	}
}

// Whatever happens in whatever order: a linked server has the engine's set, its
// generation only grows, and no batch made from the set of one engine is
// admitted for the next.
func TestAnyOrderOfEvents(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		c := NewCore(1000)
		server := newModel()
		linked, engine, fetched := false, false, false
		want := convert.Set{}
		known := false
		// epochOf has the engine's epoch whose set a generation was.
		epoch, setEpoch := 0, 0
		epochOf := map[uint64]int{}
		last := uint64(1000)
		take := func(messages []wire.Message) {
			for _, message := range messages {
				if !linked {
					t.Fatalf("seed %d: told something to nobody", seed)
				}
				if !server.take(t, message) {
					t.Fatalf("seed %d: a delta without its base", seed)
				}
			}
			if len(messages) > 0 {
				if server.generation <= last {
					t.Fatalf("seed %d: generation %d after %d", seed, server.generation, last)
				}
				last = server.generation
				epochOf[last] = setEpoch
			}
		}
		for range 40 {
			switch random.IntN(6) {
			case 0:
				c.ServerDown()
				linked = false
			case 1:
				server, linked = newModel(), true
				take(c.ServerUp())
			case 2:
				c.EngineDown()
				engine = false
			case 3:
				epoch++
				engine, fetched = true, false
				c.EngineUp()
			case 4:
				if !engine {
					continue
				}
				next := maps.Clone(want)
				for range random.IntN(4) {
					id := random.Uint64N(12)
					if random.IntN(3) == 0 {
						delete(next, id)
					} else {
						next[id] = json.RawMessage(fmt.Sprintf(`{"id":%d,"v":%d}`, id, random.IntN(3)))
					}
				}
				want, known, fetched, setEpoch = next, true, true, epoch
				take(ofSet(c, maps.Clone(next)))
			case 5:
				take(c.RequestConfigs())
			}
			if linked && known {
				server.expect(t, want)
			}
			for _, generation := range slices.Collect(maps.Keys(epochOf)) {
				admitted := c.Admit(&wire.NotificationBatch{Generation: &generation}) == nil
				if ought := engine && fetched && epochOf[generation] == epoch; admitted != ought {
					t.Fatalf("seed %d: generation %d admitted %v", seed, generation, admitted)
				}
			}
		}
	}
}

func TestSchedule(t *testing.T) {
	start := time.Unix(1000, 0)
	s := schedule{interval: 15 * time.Second}
	s.begin(start)
	now := start
	var pauses []time.Duration
	for range 16 {
		pauses = append(pauses, s.due.Sub(now))
		now = s.due
		s.asked(now, false)
	}
	const ms = time.Millisecond
	want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms}
	for range 9 {
		want = append(want, time.Second)
	}
	want = append(want, 15*time.Second, 15*time.Second)
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v", pauses)
	}
	s.asked(now, true)
	if pause := s.due.Sub(now); pause != 5*time.Second {
		t.Errorf("after a failure %v", pause)
	}
	s.begin(now)
	if s.due != now {
		t.Errorf("a new epoch is asked after %v", s.due.Sub(now))
	}
}

func TestAShortIntervalIsKept(t *testing.T) {
	now := time.Unix(1000, 0)
	s := schedule{interval: 20 * time.Millisecond}
	s.begin(now)
	for _, failed := range []bool{false, true} {
		s.asked(now, failed)
		if pause := s.due.Sub(now); pause != 20*time.Millisecond {
			t.Errorf("%v", pause)
		}
	}
}

// ofSet is what is told of a set.
func ofSet(c *Core, set convert.Set) []wire.Message {
	messages, _ := c.Fetched(set)
	return messages
}
