package wire

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestDecodeRefuses(t *testing.T) {
	for line, code := range map[string]string{
		``:                         CodeMalformed,
		`7`:                        CodeMalformed,
		`null`:                     CodeMalformed,
		`{"type":7}`:               CodeMalformed,
		`{"seq":7}`:                CodeMalformed,
		`{"type":"ack"}`:           CodeMalformed,
		`{"type":"ack","seq"`:      CodeMalformed,
		`{"type":"ack","seq":-1}`:  CodeMalformed,
		`{"type":"ack","seq":1.5}`: CodeMalformed,
		`{"type":"ack","seq":18446744073709551616}`:                    CodeMalformed,
		`{"type":"ack","seq":null}`:                                    CodeMalformed,
		"{\"type\":\"ack\",\"seq\":1,\"x\":\"\xff\"}":                  CodeMalformed,
		`{"type":"nonsense"}`:                                          CodeUnknownType,
		`{"type":"Ack","seq":1}`:                                       CodeUnknownType,
		`{"type":"notification_batch","batch":{}}`:                     CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{}]}}`: CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"status":` + status("") + `}]}}`:                                  CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"id":1,"status":` + status(`,"state":"dead"`) + `}]}}`:            CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"id":1,"status":` + status(`,"duration":5`) + `}]}}`:              CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"id":1,"status":` + status(`,"duration":null`) + `}]}}`:           CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"id":1,"status":` + status(`,"last_check":"yesterday"`) + `}]}}`:  CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"id":1,"status":` + status(`,"message":{"base64":"%"}`) + `}]}}`:  CodeMalformed,
		`{"type":"notification_batch","batch":{"notifications":[{"id":1,"status":` + status(`,"message":{"base32":"AA"}`) + `}]}}`: CodeMalformed,
	} {
		message, err := Decode([]byte(line))
		var bad *DecodeError
		if !errors.As(err, &bad) || bad.Code != code {
			t.Errorf("%s: %v, %v, want %s", line, message, err, code)
		}
	}
}

// status is a whole status; a field in more stands twice, and the last counts.
func status(more string) string {
	return `{"duration":"1ms","failures":0,"successes":1,"state":"healthy","message":"ok"` + more + `}`
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	line := `{"type":"notification_batch","later":[1],"batch":{"x":1,"notifications":[{"id":1,"y":{},"status":` +
		status(`,"z":null`) + `}]}}`
	message, err := Decode([]byte(line))
	if err != nil || message.(*NotificationBatch).Batch.Notifications[0].ID != 1 {
		t.Errorf("%v, %v", message, err)
	}
}

func TestEmptyListsAreWrittenAsLists(t *testing.T) {
	for _, raw := range []string{
		`{"type":"update_configs","configs":[]}`,
		`{"type":"update_delta","generation":2,"base":1,"upsert":[],"remove":[]}`,
	} {
		message, err := Decode([]byte(raw))
		if err != nil || string(Encode(message)) != raw+"\n" {
			t.Errorf("%s became %s (%v)", raw, Encode(message), err)
		}
	}
}

func TestHTMLIsNotEscaped(t *testing.T) {
	got := string(Encode(&Error{Code: CodeMalformed, Message: "a<b>&c"}))
	if want := `{"type":"error","code":"malformed","message":"a<b>&c"}` + "\n"; got != want {
		t.Errorf("got %s", got)
	}
	if got, err := Bytes("<&>").MarshalJSON(); string(got) != `"<&>"` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestBytesReadBack(t *testing.T) {
	for raw, text := range map[string]string{
		"220 ": `"220 "`, "é\n": `"é\n"`, "\x00\xff": `{"base64":"AP8="}`, "": `""`,
		`a"b`: `"a\"b"`, `a\b`: `"a\\b"`, "\x1f": `"\u001f"`, "\x7f<": "\"\x7f<\"",
	} {
		got, err := Bytes(raw).MarshalJSON()
		if err != nil || string(got) != text {
			t.Errorf("%q: wrote %s, %v", raw, got, err)
		}
		var back Bytes
		if err := back.UnmarshalJSON([]byte(text)); err != nil || back != Bytes(raw) {
			t.Errorf("%s: read %q, %v", text, back, err)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		d       time.Duration
		period  string
		elapsed string
	}{
		{0, "0s", "0s"},
		{1, "1ns", "1ns"},
		{1500 * time.Microsecond, "1500us", "1ms 500us"},
		{1500 * time.Millisecond, "1500ms", "1s 500ms"},
		{90 * time.Second, "90s", "1m 30s"},
		{24 * time.Hour, "86400s", "1day"},
		{49*time.Hour + time.Nanosecond, "176400000000001ns", "2days 1h 1ns"},
		{2_630_016 * time.Second, "2630016s", "1month"},
		{2 * 31_557_600 * time.Second, "63115200s", "2years"},
		{-5 * time.Second, "-5s", "-5s"},
		{math.MaxInt64, "9223372036854775807ns", "292years 3months 7days 16h 6m 28s 854ms 775us 807ns"},
	} {
		if got := Period(c.d).String(); got != c.period {
			t.Errorf("%d: period %s, want %s", c.d, got, c.period)
		}
		if got := Elapsed(c.d).String(); got != c.elapsed {
			t.Errorf("%d: elapsed %s, want %s", c.d, got, c.elapsed)
		}
		for _, text := range []string{c.period, c.elapsed} {
			if got, err := ParseDuration(text); err != nil || got != c.d {
				t.Errorf("%s: read %d, %v", text, got, err)
			}
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2h37min": 2*time.Hour + 37*time.Minute, "1 min 30 sec": 90 * time.Second,
		"3µs": 3 * time.Microsecond, " 7d ": 7 * 24 * time.Hour, "1w": 7 * 24 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", " ", "-", "5", "s", "5 parsecs", "1.5s", "+5s", "--5s", "1s -1s", "5s,", "9223372036854775808ns",
		"293years", "292years 292years", "99999999999999999999s",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: read %v", text, got)
		}
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", MaxLine-1)
	for _, c := range []struct {
		stream string
		want   []string
	}{
		{"a\nb\n", []string{"a", "b"}},
		{"\n\r\n a \n", []string{"a"}},
		{"a\nhalf", []string{"a"}},
		{long + "\nb\n", []string{long, "b"}},
		{"a\nx" + long + "\nb\n", []string{"a", "too long", "b"}},
		{strings.Repeat("y", 3*MaxLine) + "\n\nb\n", []string{"too long", "b"}},
		{strings.Repeat("y", 3*MaxLine), nil},
	} {
		for name, reader := range map[string]io.Reader{
			"whole": strings.NewReader(c.stream), "in halves": iotest.HalfReader(strings.NewReader(c.stream)),
		} {
			lines := NewLineReader(reader)
			var got []string
			for {
				line, err := lines.Read()
				if errors.Is(err, ErrLineTooLong) {
					line = []byte("too long")
				} else if err != nil {
					if err != io.EOF {
						t.Errorf("%v", err)
					}
					break
				}
				got = append(got, string(line))
			}
			if strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s, %.20q: %d lines, want %d", name, c.stream, len(got), len(c.want))
			}
		}
	}
}

func TestLineReaderByteByByte(t *testing.T) {
	lines := NewLineReader(iotest.OneByteReader(strings.NewReader("ab\n\ncd\nef")))
	for _, want := range []string{"ab", "cd"} {
		if line, err := lines.Read(); err != nil || string(line) != want {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if line, err := lines.Read(); err != io.EOF {
		t.Errorf("%q, %v", line, err)
	}
}
