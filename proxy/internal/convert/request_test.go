package convert

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// derived is what setRequest sets for a check of 192.0.2.1:80, as JSON.
func derived(t *testing.T, h seesaw.HTTPChecker) string {
	t.Helper()
	if h.Method == "" {
		h.Method = "GET"
	}
	c := new(wire.Check)
	setRequest(c, &h, "192.0.2.1:80")
	encoded, err := json.Marshal(struct {
		Target *wire.Bytes `json:"target,omitempty"`
		Host   *string     `json:"host,omitempty"`
		Name   *string     `json:"name,omitempty"`
		User   wire.Bytes  `json:"user,omitempty"`
		Error  string      `json:"error,omitempty"`
	}{c.RequestTarget, c.HTTPHost, c.ServerName, c.Authorization, c.RequestError})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(encoded), "{"), "}")
}

func TestWhatIsSentAsWrittenIsNotNamed(t *testing.T) {
	for _, request := range []string{
		"", "/", "/healthz?x=1", "/%41%2f", "/a:b", "/?", "///x", "/a?b?c=%zz\"<>", "/a;b,c=d@e&f$g!h'(i)j*k", "/[a]",
	} {
		for _, proxy := range []bool{false, true} {
			if got := derived(t, seesaw.HTTPChecker{Request: request, Proxy: proxy}); got != "" {
				t.Errorf("%q, proxy %v: %s", request, proxy, got)
			}
		}
	}
}

// The fast path must never say of a request that Go changes that it does not.
func FuzzPlainPath(f *testing.F) {
	for _, seed := range []string{"/", "/a?b", "//a", "/%zz", "/a b", "/#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !isPlainPath(path) {
			return
		}
		request, err := http.NewRequest("GET", path, nil)
		if err != nil || request.URL.RequestURI() != path || request.URL.Host != "" {
			t.Errorf("%q is not sent as it is: %v", path, err)
		}
	})
}

func TestRequestsAreReadByGosRules(t *testing.T) {
	for _, c := range []struct{ request, want string }{
		{"/a b#frag", `"target":"/a%20b"`},
		{"/é", `"target":"/%C3%A9"`},
		{"/a b%2f", `"target":"/a%20b/"`},
		{"/a?b c", `"target":"/a?b%20c"`},
		{"healthz", `"target":"healthz"`},
		{"?x", `"target":"/?x"`},
		{"#frag", `"target":"/"`},
		{"*", `"target":"*"`},
		{"foo:bar", `"target":"bar"`},
		{"/?\xff", ""},
		{"//other/path", `"target":"/path","host":"other"`},
		{"http://localhost/s", `"target":"/s","host":"localhost"`},
		{"http://www.example.com", `"target":"/","host":"www.example.com"`},
		{"ftp://www.example.com:/x?a b", `"target":"/x?a%20b","host":"www.example.com"`},
		{"http://www.example.com:81/x", `"target":"/x","host":"www.example.com:81"`},
		{"http://[fe80::1%25eth0]:81/x", `"target":"/x","host":"[fe80::1]:81"`},
		{"http://a<b/x", `"target":"/x","host":""`},
		{"http://:/x", `"target":"/x","host":":"`},
		{"http://b\u00fccher.example/", `"target":"/","host":"xn--bcher-kva.example"`},
		{"http://us%65r:pass%3Aword@www.example.com/", `"target":"/","host":"www.example.com","user":"Basic dXNlcjpwYXNzOndvcmQ="`},
	} {
		if got := derived(t, seesaw.HTTPChecker{Request: c.request}); got != c.want {
			t.Errorf("%q: %s, want %s", c.request, got, c.want)
		}
	}
}

func TestAProxyGetsTheAbsoluteForm(t *testing.T) {
	for _, c := range []struct{ request, want string }{
		{"http://www.example.com/p", `"target":"http://www.example.com/p","host":"www.example.com"`},
		{"/a b", `"target":"http://192.0.2.1:80/a%20b"`},
		{"foo:bar", `"target":"bar"`},
		{"http://a<b/", `"error":"Get \"http://a\u003cb/\": http: invalid Host header"`},
	} {
		if got := derived(t, seesaw.HTTPChecker{Request: c.request, Proxy: true}); got != c.want {
			t.Errorf("%q: %s, want %s", c.request, got, c.want)
		}
	}
	nobody := seesaw.HTTPChecker{Request: "http://a<b", Method: "CONNECT"}
	if got, want := derived(t, nobody), `"target":"","host":""`; got != want {
		t.Errorf("CONNECT to nobody: %s, want %s", got, want)
	}
	connect := seesaw.HTTPChecker{Request: "http://www.example.com:443", Method: "CONNECT"}
	want := `"target":"www.example.com:443","host":"www.example.com:443"`
	if got := derived(t, connect); got != want {
		t.Errorf("CONNECT: %s, want %s", got, want)
	}
}

func TestTheHostOfTheURLIsTheNameInTLS(t *testing.T) {
	for request, want := range map[string]string{
		"/x":                              "none",
		"https://www.example.com/x":       "www.example.com",
		"https://WWW.Example.com:444/x":   "WWW.Example.com",
		"https://[2001:db8::1]:444/x":     "2001:db8::1",
		"https://[fe80::1%25eth0]/x":      "fe80::1%eth0",
		"https://:/x":                     "",
		"https://www.B\u00dcCHER.example": "www.xn--bcher-kva.example",
		"https://fa\u00df.de/":            "xn--fa-hia.de",
	} {
		c := new(wire.Check)
		setRequest(c, &seesaw.HTTPChecker{Method: "GET", Request: request, Secure: true}, "192.0.2.1:443")
		got := "none"
		if c.ServerName != nil {
			got = *c.ServerName
		}
		if got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
}

func TestErrorsAreGosAndShowNoPassword(t *testing.T) {
	for _, c := range []struct{ request, want string }{
		{"/%zz", `parse "/%zz": invalid URL escape "%zz"`},
		{":foo", `parse ":foo": missing protocol scheme`},
		{"1:2", `parse "1:2": first path segment in URL cannot contain colon`},
		{"/\x01", `parse "/\x01": net/url: invalid control character in URL`},
		{"http://me:s3cret@h/%zz", `parse "http://***@h/%zz": invalid URL escape "%zz"`},
		{"//me:s3@cret@h:x", `parse "//***@h:x": invalid port ":x" after host`},
		{"http://me:s3/cret@h/", `parse "http://***@h/": invalid port "***" after host`},
		{"http://me:s3%zzcret@h/", `parse "http://***@h/": invalid URL escape "***"`},
		{"http://us er@a/", `parse "http://***@a/": net/url: invalid userinfo`},
		{"http://me:s3cret@\u00e9.xn--abc-/", `idna: invalid label "abc-"`},
	} {
		check := new(wire.Check)
		setRequest(check, &seesaw.HTTPChecker{Method: "GET", Request: c.request}, "192.0.2.1:80")
		if !strings.HasSuffix(check.RequestError, c.want) || strings.Contains(check.RequestError, "s3") {
			t.Errorf("%q: %s, want %s", c.request, check.RequestError, c.want)
		}
		if check.RequestTarget != nil || check.HTTPHost != nil {
			t.Errorf("%q: more than an error: %+v", c.request, check)
		}
	}
	method := new(wire.Check)
	setRequest(method, &seesaw.HTTPChecker{Method: "A B", Request: "http://me:s3cret@h/"}, "192.0.2.1:80")
	if want := `net/http: invalid method "A B"`; method.RequestError != want {
		t.Errorf("%s, want %s", method.RequestError, want)
	}
	long := new(wire.Check)
	setRequest(long, &seesaw.HTTPChecker{Method: "GET", Request: "/%zz" + strings.Repeat("é", 5000)}, "192.0.2.1:80")
	if n := len(long.RequestError); n < 1000 || n > 1100 {
		t.Errorf("%d bytes", n)
	}
}

// What is derived is what Seesaw's own steps send over a connection.
func TestWhatIsDerivedIsSent(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.RequestURI + " " + r.Host + " " + r.Header.Get("Authorization")
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	for _, request := range []string{"/a b", "http://us:pa@www.example.com:80/x?y", "//other", "/"} {
		check := new(wire.Check)
		setRequest(check, &seesaw.HTTPChecker{Method: "GET", Request: request}, address)
		target, host := wire.Bytes(request), address
		if check.RequestTarget != nil {
			target = *check.RequestTarget
		}
		if check.HTTPHost != nil {
			host = *check.HTTPHost
		}
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("tcp", address)
		}}}
		sent, err := http.NewRequest("GET", request, nil)
		if err != nil {
			t.Fatal(err)
		}
		sent.URL.Scheme = "http"
		if sent.URL.Host == "" {
			sent.URL.Host = address
		}
		response, err := client.Do(sent)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.CloseIdleConnections()
		if seen, want := <-got, string(target)+" "+host+" "+string(check.Authorization); seen != want {
			t.Errorf("%q: %s was sent, %s derived", request, seen, want)
		}
	}
}
