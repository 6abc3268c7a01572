package supervise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutProgramsItIsNotThePlace(t *testing.T) {
	t.Setenv("HC_BIN", "")
	if err := CheckPlace(); err == nil || !strings.Contains(err.Error(), "HC_BIN") {
		t.Errorf("%v", err)
	}
}

// The network of a test that runs anywhere is either the machine's or one that
// somebody made; the first process tells which.
func TestTheNetworkOfTheMachineIsNotThePlace(t *testing.T) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.Readlink("/proc/1/ns/net")
	if err != nil {
		t.Skip("what the first process has cannot be read")
	}
	t.Setenv("HC_BIN", t.TempDir())
	err = CheckPlace()
	if refused := err != nil && strings.Contains(err.Error(), "namespace"); refused != (own == first) {
		t.Errorf("own %s, first %s: %v", own, first, err)
	}
}

func TestProgramsHaveAnAbsolutePath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "one"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	t.Setenv("HC_BIN", filepath.Base(dir))
	if got, want := Program(t, "one"), filepath.Join(dir, "one"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
