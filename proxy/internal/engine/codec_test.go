package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"io"
	"net"
	"net/rpc"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// gobs encodes values one after the other, as one end of a connection does.
func gobs(t *testing.T, values ...any) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := gob.NewEncoder(&buf)
	for _, value := range values {
		if err := enc.Encode(value); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

// announce is gob's form of a length.
func announce(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{0xf8}, n)
}

// fetched is what a fetch from an engine makes that says these bytes, which are
// the answer to the first call.
func fetched(t *testing.T, answer []byte) (*seesaw.Checks, error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	host(t, socket, func(conn net.Conn) {
		// The call is under way.
		if _, err := conn.Read(make([]byte, 4096)); err == nil {
			conn.Write(answer)
		}
	})
	conn := dial(t, socket, within)
	checks, err := conn.Healthchecks()
	if err != nil {
		awaitLost(t, conn)
		if reason := conn.Reason(); !strings.HasSuffix(err.Error(), reason.Error()) {
			t.Errorf("%v, but the connection ended with %v", err, reason)
		}
	}
	return checks, err
}

// Nothing follows the length: whoever waits for more has believed it.
func TestAnAnswerThatIsTooLongIsRefusedWhenItIsAnnounced(t *testing.T) {
	header := gobs(t, &rpc.Response{ServiceMethod: seesaw.MethodHealthchecks, Seq: 0})
	for _, c := range []struct {
		name   string
		answer []byte
		want   string
	}{
		{"header", announce(MaxAnswer + 1), "announced a message of 268435457 bytes after 0 of the same answer, which may have 268435456"},
		{"body", append(header, announce(1<<30)...), "announced a message of 1073741824 bytes after "},
		{"most", announce(1<<64 - 1), "announced a message of 18446744073709551615 bytes"},
	} {
		began := time.Now()
		if _, err := fetched(t, c.answer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if took := time.Since(began); took >= within {
			t.Errorf("%s: took %v", c.name, took)
		}
	}
}

func TestTheLimitIsOfAllMessagesOfAnAnswerTogether(t *testing.T) {
	for _, c := range []struct {
		before, size uint64
		fits         bool
	}{
		{0, MaxAnswer, true},
		{0, MaxAnswer + 1, false},
		{MaxAnswer - 100, 100, true},
		{MaxAnswer - 100, 101, false},
		{MaxAnswer, 1, false},
	} {
		message := append(announce(c.size), make([]byte, 100)...)
		f := newFrames(bytes.NewReader(message))
		f.answer = c.before
		_, err := f.Read(make([]byte, 1))
		var tooLong *tooLongError
		if fits := err == nil; fits != c.fits || !fits && !errors.As(err, &tooLong) {
			t.Errorf("%d after %d: %v", c.size, c.before, err)
		}
	}
}

func TestMessagesAddUpToAnAnswerAndAnswersDoNot(t *testing.T) {
	message := append([]byte{50}, make([]byte, 50)...)
	f := newFrames(bytes.NewReader(bytes.Repeat(message, 3)))
	f.answer = MaxAnswer - 100
	var tooLong *tooLongError
	if n, err := io.Copy(io.Discard, f); n != 2*51 || !errors.As(err, &tooLong) {
		t.Errorf("%d bytes, %v", n, err)
	}
	c := newCodec(readOnly{bytes.NewReader(gobs(t, &rpc.Response{Seq: 7}))}, func(err error) { t.Error(err) })
	c.frames.answer = MaxAnswer
	response := new(rpc.Response)
	if err := c.ReadResponseHeader(response); err != nil || response.Seq != 7 {
		t.Errorf("%+v, %v", response, err)
	}
}

// readOnly is a connection of which only the one half is used.
type readOnly struct{ io.Reader }

func (readOnly) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (readOnly) Close() error              { return nil }

// Ten bytes can say of a map that it has any number of elements.
func TestAMapIsNotMadeAsLargeAsItClaimsToBe(t *testing.T) {
	answer := gobs(t, &rpc.Response{}, &seesaw.Checks{Configs: map[uint64]*seesaw.Config{}})
	// Length, type in two bytes, first field, no elements, end.
	message := answer[len(answer)-6:]
	if message[0] != 5 || !bytes.HasSuffix(message, []byte{1, 0, 0}) {
		t.Fatalf("% x", message)
	}
	message[0] = 9
	answer = append(answer[:len(answer)-2], 0xfc, 0, 0x40, 0, 0, 0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := fetched(t, answer)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("taken")
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes for a map of 4,194,304 that are not there", used)
	}
}

func TestNoMapAnEmptyMapAndNeither(t *testing.T) {
	response := &rpc.Response{}
	if checks, err := fetched(t, gobs(t, response, &seesaw.Checks{})); err != nil || checks.Configs != nil {
		t.Errorf("no map: %+v, %v", checks, err)
	}
	checks, err := fetched(t, gobs(t, response, &seesaw.Checks{Configs: map[uint64]*seesaw.Config{}}))
	if err != nil || checks.Configs == nil || len(checks.Configs) != 0 {
		t.Errorf("an empty map: %+v, %v", checks, err)
	}
	type news struct {
		Other   map[uint64]string
		Configs map[uint64]*seesaw.Config
	}
	if checks, err := fetched(t, gobs(t, response, &news{Other: map[uint64]string{1: "x"}})); !isNoChecks(err) {
		t.Errorf("something else: %+v, %v", checks, err)
	}
	one := map[uint64]*seesaw.Config{7: {Id: 7}}
	checks, err = fetched(t, gobs(t, response, &news{Other: map[uint64]string{1: "x"}, Configs: one}))
	if err != nil || !reflect.DeepEqual(checks.Configs, one) {
		t.Errorf("checks and something else: %+v, %v", checks, err)
	}
}

// isNoChecks goes by the text, as net/rpc makes a new error of one about a body.
func isNoChecks(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), errNoChecks.Error())
}

func TestAnErrorOfTheEngineIsCut(t *testing.T) {
	socket, _ := hostScript(t, &script{
		healthchecks: func(*seesaw.Checks) error { return errors.New(strings.Repeat("x", 2<<20)) },
	})
	conn := dial(t, socket, within)
	_, err := conn.Healthchecks()
	var answer rpc.ServerError
	if !errors.As(err, &answer) || string(answer) != strings.Repeat("x", maxText)+"…" {
		t.Errorf("%.2000v", err)
	}
	if lost(conn) {
		t.Error("an answer of the engine ended the connection")
	}
}

// many is enough for lengths of one, two and three bytes.
func many() *seesaw.Checks {
	configs := make(map[uint64]*seesaw.Config)
	for id := range uint64(400) {
		configs[id] = &seesaw.Config{Id: id, Checker: &seesaw.TCPChecker{Send: strings.Repeat("x", int(id))}}
	}
	return &seesaw.Checks{Configs: configs}
}

func TestMessagesPassHoweverTheyAreCut(t *testing.T) {
	want := many()
	stream := gobs(t, &rpc.Response{Seq: 1}, want, &rpc.Response{Seq: 2}, want)
	for name, in := range map[string]io.Reader{
		"whole":   bytes.NewReader(stream),
		"bytes":   iotest.OneByteReader(bytes.NewReader(stream)),
		"late":    iotest.DataErrReader(bytes.NewReader(stream)),
		"halves":  iotest.HalfReader(bytes.NewReader(stream)),
		"pieces":  io.MultiReader(bytes.NewReader(stream[:100]), bytes.NewReader(stream[100:])),
		"refused": iotest.TimeoutReader(bytes.NewReader(stream)),
	} {
		dec := gob.NewDecoder(newFrames(in))
		for seq := range uint64(2) {
			response, got := new(rpc.Response), new(seesaw.Checks)
			err := errors.Join(dec.Decode(response), dec.Decode(got))
			if name == "refused" {
				if !errors.Is(err, iotest.ErrTimeout) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			if err != nil || response.Seq != seq+1 || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: answer %d: %v", name, seq, err)
			}
		}
		if err := dec.Decode(new(int)); name != "refused" && err != io.EOF {
			t.Errorf("%s: %v at the end", name, err)
		}
	}
}

func TestAStreamThatEndsInsideAMessage(t *testing.T) {
	stream := gobs(t, &seesaw.Checks{Configs: map[uint64]*seesaw.Config{1: {Id: 1, Checker: &seesaw.TCPChecker{}}}})
	for end := 1; end < len(stream); end++ {
		err := gob.NewDecoder(newFrames(bytes.NewReader(stream[:end]))).Decode(new(seesaw.Checks))
		if err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d bytes: %v", end, err)
		}
	}
}

func TestWhatIsNotGobIsRefused(t *testing.T) {
	for _, text := range []string{
		"\x80xxxxxxxxxxxxxxxx", // a length of 128 bytes
		"\xf7xxxxxxxxxxxxxxxx", // of 9
		"\x00xxxxxxxxxxxxxxxx", // no message
		"\x02\xfcxxxxxxxxxxx",  // a type longer than the message
		"\x05\xf0xxxxxxxxxxxx", // a type of 16 bytes
	} {
		if _, err := newFrames(strings.NewReader(text)).ReadByte(); err != errNotGob {
			t.Errorf("%q: %v", text, err)
		}
	}
}
