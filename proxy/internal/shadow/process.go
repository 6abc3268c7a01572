package shadow

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// healthchecker is the name of Seesaw's program.
const healthchecker = "seesaw_healthcheck"

// findHealthchecker returns the pid of the seesaw_healthcheck that talks to this
// engine, 0 if there is none. proc is /proc.
func findHealthchecker(proc, engineSocket string) (int, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join(proc, entry.Name(), "cmdline"))
		if err != nil || !isHealthchecker(line, engineSocket) {
			continue // one that has just ended is no error
		}
		return pid, nil
	}
	return 0, nil
}

// isHealthchecker judges a command line, its words ended by zero bytes. A zombie
// has none. Seesaw's watchdog gives a program the name of its section.
func isHealthchecker(line []byte, engineSocket string) bool {
	words := strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
	if filepath.Base(words[0]) != healthchecker {
		return false
	}
	socket := seesaw.DefaultEngineSocket
	for i, word := range words {
		name, value, inWord := strings.Cut(strings.TrimPrefix(word, "-"), "=")
		switch {
		case i == 0 || !strings.HasPrefix(word, "-") || strings.TrimPrefix(name, "-") != "engine":
		case inWord:
			socket = value
		case i+1 < len(words):
			socket = words[i+1]
		}
	}
	return filepath.Clean(socket) == filepath.Clean(engineSocket)
}
