package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// CheckPlace looks whether this is the place that tests of whole programs are
// made for: HC_BIN names the directory of the programs, and the network is a
// namespace of its own, in which the loopback interface is up.
func CheckPlace() error {
	if os.Getenv("HC_BIN") == "" {
		return errors.New("HC_BIN is not set")
	}
	private, err := inPrivateNetwork()
	if err != nil {
		return err
	}
	if !private {
		return errors.New("this is not a network namespace of its own")
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagUp == 0 {
		return errors.New("the loopback interface is not up")
	}
	return nil
}

// inPrivateNetwork compares the namespace with that of the first process. In a
// user namespace that one cannot be read; then having lo alone must do.
func inPrivateNetwork() (bool, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false, err
	}
	first, err := os.Readlink("/proc/1/ns/net")
	if err == nil {
		return own != first, nil
	}
	interfaces, err := net.Interfaces()
	return len(interfaces) == 1, err
}

// Program returns the absolute path of a program in HC_BIN. It fails the test if
// there is none of this name.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(os.Getenv("HC_BIN"), name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%s is not built: %v", name, err)
	}
	return path
}
