// Package systemd speaks the notification protocol of systemd (sd_notify(3),
// sd_watchdog_enabled(3)).
package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notify sends a state, such as "READY=1", to the socket that systemd names in
// NOTIFY_SOCKET. Without that variable it does nothing.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(name, "@"); ok {
		name = "\x00" + rest
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	// A service manager that reads nothing must not hold up the program.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}

// WatchdogTimeout is the time within which systemd wants to hear "WATCHDOG=1"
// again and again (WATCHDOG_USEC). It is 0 if it does not, or if it wants to hear
// it from another process (WATCHDOG_PID).
func WatchdogTimeout() (time.Duration, error) {
	return watchdogTimeout(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"), os.Getpid())
}

func watchdogTimeout(usec, pid string, own int) (time.Duration, error) {
	if usec == "" {
		return 0, nil
	}
	if pid != "" {
		switch n, err := strconv.Atoi(pid); {
		case err != nil:
			return 0, fmt.Errorf("WATCHDOG_PID=%s is not the id of a process", pid)
		case n != own:
			return 0, nil
		}
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > int64(1<<63-1)/int64(time.Microsecond) {
		return 0, fmt.Errorf("WATCHDOG_USEC=%s is not a number of microseconds above 0", usec)
	}
	return time.Duration(n) * time.Microsecond, nil
}
