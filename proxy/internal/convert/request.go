package convert

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// setRequest says what Go's HTTP client would send for the check, so far as it is not what hc-server
// sends by default: the path as the request target, the address as Host and as the name in TLS.
//
// The steps are those of Seesaw's checker (healthcheck/http.go), with a transport that records the
// request where Seesaw's sends it. So every rule of URLs and HTTP is Go's own.
func setRequest(c *wire.Check, h *seesaw.HTTPChecker, address string) {
	if isPlainPath(h.Request) {
		return
	}
	u, err := url.Parse(h.Request)
	if err != nil {
		c.RequestError = errorText(err)
		return
	}
	u.Scheme = "http"
	if h.Secure {
		u.Scheme = "https"
	}
	named := u.Host != ""
	if !named {
		u.Host = address
	}
	request, err := http.NewRequest(h.Method, h.Request, nil)
	if err != nil {
		// The method is no token, which hc-server rejects, too; but not for its path.
		c.RequestError = errorText(err)
		return
	}
	request.URL = u
	recorder := &recorder{proxy: h.Proxy}
	client := &http.Client{Transport: recorder}
	if _, err := client.Do(request); !errors.Is(err, errRecorded) {
		c.RequestError = errorText(err)
		return
	}
	target, host := recorder.targetAndHost()
	if host != address {
		c.HTTPHost = &host
	}
	if standard, ok := defaultTarget(h, u.Scheme, host); !ok || target != standard {
		c.RequestTarget = pointer(wire.Bytes(target))
	}
	c.Authorization = wire.Bytes(recorder.authorization)
	if named && h.Secure {
		c.ServerName = pointer(serverName(u))
	}
}

// isPlainPath reports whether Go sends the request as it is written. Most checks have such a request,
// and a set of many checks is converted at every fetch.
func isPlainPath(request string) bool {
	if !strings.HasPrefix(request, "/") || strings.HasPrefix(request, "//") {
		return false
	}
	path, query, _ := strings.Cut(request, "?")
	for i := range len(path) {
		if c := path[i]; !isAlphanumeric(c) && !strings.ContainsRune("-_.~$&+,/:;=@", rune(c)) {
			return false
		}
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c > '~' || c == '#' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// defaultTarget is the request target that hc-server sends if the check does not name one. There is
// one for a path only.
func defaultTarget(h *seesaw.HTTPChecker, scheme, host string) (target string, ok bool) {
	path := h.Request
	if path == "" {
		path = "/"
	}
	if h.Proxy {
		return scheme + "://" + host + path, path[0] == '/'
	}
	return path, path[0] == '/'
}

var errRecorded = errors.New("recorded and not sent")

// recorder is a transport that keeps the request in place of sending it.
type recorder struct {
	proxy         bool
	head          bytes.Buffer
	method        string
	authorization string
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	write := request.Write
	if r.proxy {
		write = request.WriteProxy
	}
	if err := write(&r.head); err != nil {
		return nil, err
	}
	r.method, r.authorization = request.Method, request.Header.Get("Authorization")
	return nil, errRecorded
}

// targetAndHost reads the first two lines of the request, which are the request line and Host. A
// blank in the target, as Go lets it through in a query, would end it early for most servers, so
// hc-server does not send it; for the others it means what %20 means.
func (r *recorder) targetAndHost() (target, host string) {
	line, rest, _ := strings.Cut(r.head.String(), "\r\n")
	line = strings.TrimPrefix(line, r.method+" ")
	target = strings.ReplaceAll(strings.TrimSuffix(line, " HTTP/1.1"), " ", "%20")
	host, _, _ = strings.Cut(rest, "\r\n")
	return target, strings.TrimPrefix(host, "Host: ")
}

// serverName is the name that Go's transport would use in TLS. Names outside ASCII are translated
// (IDNA) nowhere but in there, so the transport is asked whom it would dial.
func serverName(u *url.URL) string {
	name := u.Hostname()
	if isASCII(name) {
		return name
	}
	transport := &http.Transport{
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil {
				name = host
			}
			return nil, errRecorded
		},
	}
	plain := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: u.Host}, Header: http.Header{},
	}
	// It ends with errRecorded, after the name was taken.
	_, _ = transport.RoundTrip(plain)
	return strings.ToValidUTF8(name, "\uFFFD")
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// errorText is what Seesaw's checker would report, short enough to travel, and without a password:
// Go takes one out of the URL of a request, but not out of one that it cannot parse.
func errorText(err error) string {
	const longest = 1024
	if bad := new(url.Error); errors.As(err, &bad) && bad.Op == "parse" {
		shown, user := withoutUser(bad.URL)
		bad.URL = shown
		// "me:s3/cret@h" has the port ":s3" for Go, which its words then quote.
		bad.Err = errors.New(quoted.ReplaceAllStringFunc(bad.Err.Error(), func(part string) string {
			if user != "" && strings.Contains(user, strings.Trim(part, `"`)) {
				return `"***"`
			}
			return part
		}))
	}
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

var quoted = regexp.MustCompile(`"[^"]*"`)

// withoutUser hides what stands before the last @ of a URL that cannot be parsed: where its authority
// ends nobody knows, since a password may have a slash in it. It returns what it has hidden, too.
func withoutUser(text string) (shown, user string) {
	before, after, ok := strings.Cut(text, "//")
	at := strings.LastIndexByte(after, '@')
	if !ok || at < 0 {
		return text, ""
	}
	return before + "//***" + after[at:], after[:at]
}
