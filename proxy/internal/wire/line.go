package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// MaxLine is the longest line in bytes, its \n included, in either direction.
const MaxLine = 1 << 20

// ErrLineTooLong is returned once for a line longer than [MaxLine]; the line has
// been skipped and the next one can be read.
var ErrLineTooLong = errors.New("a line is longer than 1048576 bytes")

// LineReader cuts a stream into lines.
type LineReader struct {
	r     *bufio.Reader
	limit int
	line  []byte
}

// NewLineReader reads from r. At most MaxLine and one buffer of 64 KiB are held.
func NewLineReader(r io.Reader) *LineReader {
	return newLineReader(r, 64<<10, MaxLine)
}

func newLineReader(r io.Reader, buffer, limit int) *LineReader {
	return &LineReader{r: bufio.NewReaderSize(r, buffer), limit: limit}
}

// Read returns the next line that is not empty, without its \n. It is valid
// until the next call. Half a line before the end of the stream is dropped.
//
// Errors are [ErrLineTooLong], after which reading goes on, and those of the
// stream (io.EOF at its end), after which it does not.
func (l *LineReader) Read() ([]byte, error) {
	l.line = l.line[:0]
	tooLong := false
	for {
		piece, err := l.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		tooLong = tooLong || len(l.line)+len(piece) > l.limit
		if !tooLong {
			l.line = append(l.line, piece...)
		}
		if err != nil {
			continue
		}
		if tooLong {
			return nil, ErrLineTooLong
		}
		if line := bytes.TrimSpace(l.line); len(line) > 0 {
			return line, nil
		}
		l.line = l.line[:0]
	}
}
