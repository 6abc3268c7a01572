package wire

import "encoding/json"

// The words of checker_type.
const (
	TypeICMP   = "icmp"
	TypeUDP    = "udp"
	TypeTCP    = "tcp"
	TypeHTTP   = "http"
	TypeDNS    = "dns"
	TypeRADIUS = "radius"
)

// The words of mode; plain is the default and left out.
const (
	ModePlain = "plain"
	ModeDSR   = "dsr"
	ModeTUN   = "tun"
)

// Check is one check as it travels; docs/protocol.md has the table of fields.
// Fields of their default value are left out. Numbers are wider than their
// legal ranges, and words are bytes where Seesaw has bytes: what is wrong with a
// check is for hc-server to say.
type Check struct {
	ID          uint64 `json:"id"`
	Interval    Period `json:"interval"`
	Timeout     Period `json:"timeout"`
	Retries     int64  `json:"retries"`
	CheckerType string `json:"checker_type"`
	IP          string `json:"ip"`
	Port        int64  `json:"port,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Mark        int64  `json:"mark,omitempty"`
	Host        string `json:"host,omitempty"`

	// udp, tcp
	Send    Bytes `json:"send,omitempty"`
	Receive Bytes `json:"receive,omitempty"`

	// tcp, http; TLSVerify is nil for true
	Secure    bool  `json:"secure,omitempty"`
	TLSVerify *bool `json:"tls_verify,omitempty"`
	// Beyond Seesaw: the conversion never sets them.
	TLSOldVersions    bool `json:"tls_old_versions,omitempty"`
	TLSRSAKeyExchange bool `json:"tls_rsa_key_exchange,omitempty"`
	TLSSHA1           bool `json:"tls_sha1,omitempty"`

	// http
	Method Bytes `json:"method,omitempty"`
	Path   Bytes `json:"path,omitempty"`
	// What Go's HTTP client makes of Path, where it is not what hc-server does by default.
	RequestTarget *Bytes  `json:"request_target,omitempty"`
	HTTPHost      *string `json:"http_host,omitempty"`
	ServerName    *string `json:"server_name,omitempty"`
	Authorization Bytes   `json:"authorization,omitempty"`
	RequestError  string  `json:"request_error,omitempty"`
	ExpectedCodes []int64 `json:"expected_codes,omitempty"`
	ExpectedBody  Bytes   `json:"expected_body,omitempty"`
	Proxy         bool    `json:"proxy,omitempty"`

	// dns
	Query          *Bytes  `json:"query,omitempty"`
	QueryType      string  `json:"query_type,omitempty"`
	QueryClass     string  `json:"query_class,omitempty"`
	ExpectedIPs    []Bytes `json:"expected_ips,omitempty"`
	ExpectedAnswer Bytes   `json:"expected_answer,omitempty"`

	// radius; ExpectedResponse is nil for accept
	Username         *Bytes `json:"username,omitempty"`
	Password         Bytes  `json:"password,omitempty"`
	Secret           *Bytes `json:"secret,omitempty"`
	ExpectedResponse *Bytes `json:"expected_response,omitempty"`
}

// Encode is the check as a JSON object.
func (c *Check) Encode() (json.RawMessage, error) { return marshal(c) }
