package engine

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/rpc"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// MaxAnswer is how many bytes of gob one answer of the engine may have. Gob
// itself allows 8 GiB, and reads into memory whatever was announced.
//
// A check has 110 to 200 bytes, and in addition what it sends and expects beyond
// a few words. So this is a million checks of 268 bytes, or a hundred thousand of
// 2,684. Reading takes some four times the bytes of an answer in memory, and
// more if it is made to do so: gob has values of one byte that become 16. An
// engine that means harm can also keep gob busy for as long as it likes, with a
// map of empty structs; the call that waits for it is given up as any other is.
const MaxAnswer = 256 << 20

// maxText is how many bytes of an error's text are kept: it goes to the log, and
// to hc-server in one line.
const maxText = 1024

var (
	errNotGob = errors.New("the engine sent what is not gob")
	// errNoChecks is better than a guess: no map of checks means that the
	// engine is young, and an empty one that all checks are to stop.
	errNoChecks = errors.New("the engine sent no checks, but something else that is not known here")
)

// tooLongError is an answer of more than [MaxAnswer].
type tooLongError struct{ announced, before uint64 }

func (e *tooLongError) Error() string {
	return fmt.Sprintf("the engine announced a message of %d bytes after %d of the same answer, which may have %d in all",
		e.announced, e.before, uint64(MaxAnswer))
}

// codec is net/rpc's own for gob, with bounds on what an answer may cost.
type codec struct {
	conn   io.ReadWriteCloser
	out    *bufio.Writer
	enc    *gob.Encoder
	frames *frames
	dec    *gob.Decoder
	// ended is told why reading is over, which net/rpc keeps to itself until
	// the next call.
	ended func(error)
}

func newCodec(conn io.ReadWriteCloser, ended func(error)) *codec {
	seesaw.RegisterGob()
	out, in := bufio.NewWriter(conn), newFrames(conn)
	return &codec{conn: conn, out: out, enc: gob.NewEncoder(out), frames: in, dec: gob.NewDecoder(in), ended: ended}
}

func (c *codec) WriteRequest(request *rpc.Request, args any) error {
	if err := c.enc.Encode(request); err != nil {
		return err
	}
	if err := c.enc.Encode(args); err != nil {
		return err
	}
	return c.out.Flush()
}

func (c *codec) ReadResponseHeader(response *rpc.Response) error {
	c.frames.answer = 0
	if err := c.dec.Decode(response); err != nil {
		c.ended(err)
		return err
	}
	if len(response.Error) > maxText {
		response.Error = response.Error[:maxText] + "…"
	}
	return nil
}

func (c *codec) ReadResponseBody(body any) error {
	checks, ok := body.(*seesaw.Checks)
	if ok {
		// Gob makes a nil map at once as large as the engine says it is, which
		// a handful of bytes can say of 2^40 checks. This one grows with what
		// is there.
		checks.Configs = make(map[uint64]*seesaw.Config)
	}
	err := c.dec.Decode(body)
	if err == nil && ok && len(checks.Configs) == 0 {
		// The price is that gob does not tell any more whether there was a map.
		switch c.frames.head {
		case "\x00": // end of the struct
			checks.Configs = nil
		case "\x01\x00\x00": // first field, no elements; end of the struct
		default:
			err = errNoChecks
		}
	}
	if err != nil {
		c.ended(err)
	}
	return err
}

func (c *codec) Close() error { return c.conn.Close() }

// frames hands gob's messages on and refuses one that makes the answer too long
// before any byte of it is read. A message is its length, then the number of its
// type, then the value (encoding/gob, "Encoding Details").
//
// It is an io.ByteReader only in order that gob does not buffer it once more: so
// nothing is read ahead, and the last message is the one that gob has just had.
type frames struct {
	in *bufio.Reader
	// answer counts the bytes of this answer.
	answer uint64
	// left is what of the present message has not been handed on.
	left uint64
	// head is how the value begins in the present message, three bytes at most
	// and fewer if that is all; "" if there are more.
	head string
}

func newFrames(in io.Reader) *frames { return &frames{in: bufio.NewReader(in)} }

func (f *frames) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.in.Read(p[:min(uint64(len(p)), f.left)])
	f.left -= uint64(n)
	return n, err
}

// ReadByte is not called by gob as it is.
func (f *frames) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(f, one[:])
	return one[0], err
}

// next looks at the beginning of a message. The end of the stream is io.EOF
// before it, and not inside it.
func (f *frames) next() error {
	if _, err := f.in.Peek(1); err != nil {
		return err
	}
	size, start, err := f.uint(0)
	if err != nil {
		return err
	}
	if size > MaxAnswer-f.answer {
		return &tooLongError{size, f.answer}
	}
	_, value, err := f.uint(start)
	if err != nil {
		return err
	}
	end := uint64(start) + size
	f.head = ""
	switch {
	case end < uint64(value):
		return errNotGob
	case end <= uint64(value)+3:
		whole, err := f.peek(int(end))
		if err != nil {
			return err
		}
		f.head = string(whole[value:])
	}
	f.answer += size
	f.left = end
	return nil
}

// uint reads gob's unsigned integer at an offset, without taking it, and returns
// the offset behind it: one byte below 128, else the negated count of the bytes
// that follow, big-endian.
func (f *frames) uint(at int) (value uint64, end int, err error) {
	peeked, err := f.peek(at + 1)
	if err != nil {
		return 0, 0, err
	}
	first := peeked[at]
	if first < 0x80 {
		return uint64(first), at + 1, nil
	}
	end = at + 1 + 0x100 - int(first)
	if end > at+9 {
		return 0, 0, errNotGob
	}
	if peeked, err = f.peek(end); err != nil {
		return 0, 0, err
	}
	for _, b := range peeked[at+1:] {
		value = value<<8 | uint64(b)
	}
	return value, end, nil
}

func (f *frames) peek(n int) ([]byte, error) {
	peeked, err := f.in.Peek(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return peeked, err
}
