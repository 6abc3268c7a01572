// Package systemd speaks the readiness protocol of systemd (sd_notify(3)).
package systemd

import (
	"net"
	"os"
	"strings"
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
	_, err = conn.Write([]byte(state))
	return err
}
