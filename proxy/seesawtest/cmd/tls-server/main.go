// Command tls-server is an HTTPS server of Go's own crypto/tls, for what the
// openssl of the test machine does not speak: groups with ML-KEM, and keys that
// openssl does not use.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	cert := flag.String("cert", "", "file with the chain")
	key := flag.String("key", "", "file with the key")
	group := flag.Uint("group", 0, "number of the only group (TLS supported groups registry)")
	version := flag.Uint("version", 0, "only this version, such as 0x0303")
	flag.Parse()
	if err := serve(*cert, *key, uint16(*group), uint16(*version)); err != nil {
		log.Fatal(err)
	}
}

func serve(cert, key string, group, version uint16) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version}
	if group != 0 {
		config.CurvePreferences = []tls.CurveID{tls.CurveID(group)}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "ACCEPT %s\n", listener.Addr())
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	server := &http.Server{Handler: ok, ErrorLog: log.New(io.Discard, "", 0)}
	return server.Serve(tls.NewListener(listener, config))
}
