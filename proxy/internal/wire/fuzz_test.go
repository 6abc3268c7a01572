package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Whatever comes in: no panic, an error of the right kind, and what was read
// writes to a line that reads as the same message.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob(filepath.Join(examples, "*.json"))
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"type":"ack","seq":1,"seq":2,"error":"\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		message, err := Decode(line)
		if err != nil {
			var bad *DecodeError
			if !errors.As(err, &bad) {
				t.Fatalf("an error of type %T", err)
			}
			return
		}
		written := Encode(message)
		again, err := Decode(written)
		if err != nil {
			t.Fatalf("wrote %s: %v", written, err)
		}
		if twice := Encode(again); !bytes.Equal(twice, written) {
			t.Fatalf("wrote %s then %s", written, twice)
		}
	})
}

// Whatever the stream, the lines are those that bytes.SplitAfter finds. The limit
// is small, so that the fuzzer reaches it.
func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\n\nb\nc"))
	f.Add([]byte("0123456789012345678901234567890123456789\n\nb\n"))
	const limit = 40
	f.Fuzz(func(t *testing.T, stream []byte) {
		pieces := bytes.SplitAfter(stream, []byte("\n"))
		lines := newLineReader(bytes.NewReader(stream), 16, limit)
		for _, piece := range pieces[:len(pieces)-1] {
			want := bytes.TrimSpace(piece)
			if len(want) == 0 && len(piece) <= limit {
				continue
			}
			got, err := lines.Read()
			if len(piece) > limit {
				if !errors.Is(err, ErrLineTooLong) {
					t.Fatalf("a line of %d bytes: %v", len(piece), err)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
		if got, err := lines.Read(); err != io.EOF {
			t.Fatalf("after the end: %q, %v", got, err)
		}
	})
}
