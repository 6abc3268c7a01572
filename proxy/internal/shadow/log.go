package shadow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"time"
)

// logEvent is what one line of seesaw_healthcheck's log says.
type logEvent struct {
	at time.Time
	// id is the check that the line is about; about is what it says of it.
	id      uint64
	about   logAbout
	message string
}

type logAbout int

const (
	// logOther is a line that tells only that the program lives.
	logOther logAbout = iota
	logStarted
	logPassed
	logFailed
)

// Lines of glog: level, month and day, time, thread, place, text. Those about
// checks are of healthcheck/core.go.
var (
	logHeader  = regexp.MustCompile(`^[IWEF](\d{4} \d\d:\d\d:\d\d\.\d{6}) +\d+ [^ ]+\] `)
	logResult  = regexp.MustCompile(`^(\d+): \(.*?\) (SUCCESS|FAILURE): (.*)$`)
	logStarter = regexp.MustCompile(`^Starting healthchecker for (\d+) \(`)
)

// parseLogLine reads a line; ok is false if it is not one of glog's. The log has
// neither year nor time zone: the zone is ours, and the year makes the time one
// that is not after now.
func parseLogLine(line []byte, now time.Time) (event logEvent, ok bool) {
	header := logHeader.FindSubmatch(line)
	if header == nil {
		return event, false
	}
	text := line[len(header[0]):]
	year := now.Format("2006")
	at, err := time.ParseInLocation("2006 0102 15:04:05.000000", year+" "+string(header[1]), now.Location())
	if err != nil {
		return event, false
	}
	if at.After(now.Add(24 * time.Hour)) {
		at = at.AddDate(-1, 0, 0)
	}
	event.at = at
	if m := logResult.FindSubmatch(text); m != nil {
		event.about = logFailed
		if string(m[2]) == "SUCCESS" {
			event.about = logPassed
		}
		event.message = string(m[3])
		event.id, err = strconv.ParseUint(string(m[1]), 10, 64)
	} else if m := logStarter.FindSubmatch(text); m != nil {
		event.about = logStarted
		event.id, err = strconv.ParseUint(string(m[1]), 10, 64)
	}
	if err != nil {
		event.about = logOther
	}
	return event, true
}

// machine is Seesaw's state machine of one check (healthcheck/core.go), fed from
// the log.
type machine struct {
	state  State
	failed uint64
	// fresh is a check whose start was seen, so that its first result decides.
	// Of others the state is not known before a success, or before failures that
	// no retry excuses.
	fresh bool
}

func newMachine(fresh bool) *machine { return &machine{state: Unknown, fresh: fresh} }

func (m *machine) result(passed bool, retries int) State {
	if passed {
		m.state, m.failed = Healthy, 0
		return m.state
	}
	m.failed++
	// As in Seesaw, where a negative number excuses everything.
	excused := m.failed <= uint64(retries)
	switch {
	case m.state == Healthy && excused:
	case m.state == Unknown && !m.fresh && excused:
	default:
		m.state = Unhealthy
	}
	return m.state
}

// pollLog is how often a log is looked at for more.
const pollLog = 250 * time.Millisecond

// maxLogLine bounds what is kept of a line without an end.
const maxLogLine = 1 << 20

// follow hands on what is written to a log file from now on, line by line, until
// the context ends. The file may be missing at first, be replaced (glog's
// PROGRAM.INFO is a link to the newest file), or be cut.
func follow(ctx context.Context, path string, line func([]byte), problem func(error)) {
	f := follower{path: path, line: line}
	defer f.close()
	tick := time.NewTicker(pollLog)
	defer tick.Stop()
	atEnd := true
	var said string
	for {
		err := f.poll(atEnd)
		if err != nil && err.Error() != said {
			problem(err)
		}
		said = ""
		if err != nil {
			said = err.Error()
		}
		// A file that appears later is read from its beginning.
		atEnd = false
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

type follower struct {
	path string
	line func([]byte)
	file *os.File
	rest []byte
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
	}
}

// poll reads all that is there.
func (f *follower) poll(atEnd bool) error {
	if f.file != nil {
		if err := f.read(); err != nil {
			return err
		}
	}
	at, err := os.Stat(f.path)
	if err != nil {
		if f.file != nil && errors.Is(err, fs.ErrNotExist) {
			return nil // between two files
		}
		return err
	}
	if f.file != nil {
		have, err := f.file.Stat()
		if err != nil {
			return err
		}
		offset, err := f.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if os.SameFile(at, have) {
			if have.Size() < offset {
				_, err = f.file.Seek(0, io.SeekStart)
				f.rest = nil
			}
			return err
		}
		// The last words of the old one.
		if err := f.read(); err != nil {
			return err
		}
		f.close()
		f.file, f.rest = nil, nil
	}
	if f.file, err = os.Open(f.path); err != nil {
		f.file = nil
		return err
	}
	if atEnd {
		_, err = f.file.Seek(0, io.SeekEnd)
		return err
	}
	return f.read()
}

func (f *follower) read() error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.file.Read(buffer)
		f.rest = append(f.rest, buffer[:n]...)
		for {
			end := bytes.IndexByte(f.rest, '\n')
			if end < 0 {
				break
			}
			f.line(f.rest[:end])
			f.rest = f.rest[end+1:]
		}
		if len(f.rest) > maxLogLine {
			f.rest = nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
