package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Period is a duration as hc-proxy writes it: one number with the largest of
// the units s, ms, us and ns that divides it. It may be negative, which
// hc-server rejects with a reason.
type Period time.Duration

// Elapsed is a duration as hc-server writes it: as the Rust crate humantime
// does, "1m 30s".
type Elapsed time.Duration

// String is the form that travels.
func (p Period) String() string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d := time.Duration(p); d%unit.size == 0 {
			return strconv.FormatInt(int64(d/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(p), 10) + "ns"
}

// MarshalJSON writes String.
func (p Period) MarshalJSON() ([]byte, error) { return quoted(p.String()), nil }

// UnmarshalJSON reads what ParseDuration reads.
func (p *Period) UnmarshalJSON(data []byte) error {
	return unmarshalDuration(data, (*time.Duration)(p))
}

// The units of humantime, largest first. A year is 365.25 days, a month a
// twelfth of it, and both, as the day, have a plural.
var units = []struct {
	size     time.Duration
	one, few string
}{
	{31_557_600 * time.Second, "year", "years"},
	{2_630_016 * time.Second, "month", "months"},
	{24 * time.Hour, "day", "days"},
	{time.Hour, "h", "h"},
	{time.Minute, "m", "m"},
	{time.Second, "s", "s"},
	{time.Millisecond, "ms", "ms"},
	{time.Microsecond, "us", "us"},
	{time.Nanosecond, "ns", "ns"},
}

// Further spellings that humantime reads.
var spellings = map[string]time.Duration{
	"nsec": time.Nanosecond, "nanos": time.Nanosecond,
	"usec": time.Microsecond, "µs": time.Microsecond,
	"msec": time.Millisecond, "millis": time.Millisecond,
	"sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"hr": time.Hour, "hrs": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "wk": 7 * 24 * time.Hour, "wks": 7 * 24 * time.Hour,
	"week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	"M": 2_630_016 * time.Second, "y": 31_557_600 * time.Second,
	"yr": 31_557_600 * time.Second, "yrs": 31_557_600 * time.Second,
}

func init() {
	for _, unit := range units {
		spellings[unit.one], spellings[unit.few] = unit.size, unit.size
	}
}

// String is the form that travels. A negative duration, which nothing measures,
// prints with a minus sign.
func (e Elapsed) String() string {
	if e == 0 {
		return "0s"
	}
	var text strings.Builder
	// The absolute value of the smallest int64 fits into uint64 only.
	rest := uint64(e)
	if e < 0 {
		text.WriteByte('-')
		rest = -rest
	}
	separator := ""
	for _, unit := range units {
		n := rest / uint64(unit.size)
		rest %= uint64(unit.size)
		if n == 0 {
			continue
		}
		name := unit.few
		if n == 1 {
			name = unit.one
		}
		fmt.Fprintf(&text, "%s%d%s", separator, n, name)
		separator = " "
	}
	return text.String()
}

// MarshalJSON writes String.
func (e Elapsed) MarshalJSON() ([]byte, error) { return quoted(e.String()), nil }

// UnmarshalJSON reads what ParseDuration reads.
func (e *Elapsed) UnmarshalJSON(data []byte) error {
	return unmarshalDuration(data, (*time.Duration)(e))
}

func unmarshalDuration(data []byte, d *time.Duration) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil || text == nil {
		return errors.New("a duration is a string")
	}
	parsed, err := ParseDuration(*text)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// ParseDuration reads a humantime string: numbers with units, added up, white
// space between them as one likes: "1m 30s", "1500ms", "2h37min". Beyond
// humantime it takes a leading minus sign, since Seesaw's configuration can hold
// negative durations.
//
// It fails on anything else, and beyond about 292 years.
func ParseDuration(text string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(strings.TrimSpace(text), "-")
	if rest == "" {
		return 0, fmt.Errorf("%q is not a duration: no number", text)
	}
	var sum time.Duration
	for rest != "" {
		digits := prefixLength(rest, func(r rune) bool { return '0' <= r && r <= '9' })
		number, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration: want a number at %q", text, rest)
		}
		rest = strings.TrimLeft(rest[digits:], " \t")
		letters := prefixLength(rest, func(r rune) bool {
			return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == 'µ'
		})
		unit, ok := spellings[rest[:letters]]
		if !ok {
			return 0, fmt.Errorf("%q is not a duration: %q is not a unit of time", text, rest[:letters])
		}
		if number > math.MaxInt64/int64(unit) || time.Duration(number)*unit > math.MaxInt64-sum {
			return 0, fmt.Errorf("%q is too long a duration", text)
		}
		sum += time.Duration(number) * unit
		rest = strings.TrimLeft(rest[letters:], " \t")
	}
	if negative {
		return -sum, nil
	}
	return sum, nil
}

func prefixLength(text string, in func(rune) bool) int {
	for i, r := range text {
		if !in(r) {
			return i
		}
	}
	return len(text)
}
