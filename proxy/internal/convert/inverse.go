package convert

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// FromWire is the inverse of ToWire: the check as the engine would have it.
//
// It fails on what the engine cannot express, such as two expected codes, and on
// words that mean nothing. Numbers out of range pass, as they do in the engine.
func FromWire(c *wire.Check) (*seesaw.Config, error) {
	target, err := targetOf(c)
	if err != nil {
		return nil, err
	}
	config := &seesaw.Config{
		Id:       c.ID,
		Interval: time.Duration(c.Interval),
		Timeout:  time.Duration(c.Timeout),
		Retries:  int(c.Retries),
	}
	verify := c.TLSVerify == nil || *c.TLSVerify
	switch c.CheckerType {
	case wire.TypeICMP:
		target.Proto, target.Port = seesaw.ProtoICMP, 0
		if target.IP.To4() == nil {
			target.Proto = seesaw.ProtoICMPv6
		}
		config.Checker = &seesaw.PingChecker{Target: target}
	case wire.TypeUDP:
		target.Proto = seesaw.ProtoUDP
		config.Checker = &seesaw.UDPChecker{Target: target, Receive: string(c.Receive), Send: string(c.Send)}
	case wire.TypeTCP:
		target.Proto = seesaw.ProtoTCP
		config.Checker = &seesaw.TCPChecker{
			Target: target, Receive: string(c.Receive), Send: string(c.Send), Secure: c.Secure, TLSVerify: verify,
		}
	case wire.TypeHTTP:
		target.Proto = seesaw.ProtoTCP
		config.Checker, err = httpOf(c, target, verify)
	case wire.TypeDNS:
		target.Proto = seesaw.ProtoUDP
		config.Checker, err = dnsOf(c, target)
	case wire.TypeRADIUS:
		target.Proto = seesaw.ProtoUDP
		config.Checker = radiusOf(c, target)
	default:
		return nil, fmt.Errorf("checker_type: %q is not known", c.CheckerType)
	}
	if err != nil {
		return nil, err
	}
	return config, nil
}

func targetOf(c *wire.Check) (seesaw.Target, error) {
	target := seesaw.Target{Mark: int(c.Mark), Port: int(c.Port)}
	switch c.Mode {
	case "", wire.ModePlain:
		target.Mode = seesaw.ModePlain
	case wire.ModeDSR:
		target.Mode = seesaw.ModeDSR
	case wire.ModeTUN:
		target.Mode = seesaw.ModeTUN
	default:
		number, err := strconv.Atoi(c.Mode)
		if err != nil {
			return target, fmt.Errorf("mode: %q is not known", c.Mode)
		}
		target.Mode = number
	}
	var err error
	if target.IP, err = address(c.IP); err != nil {
		return target, fmt.Errorf("ip: %w", err)
	}
	switch {
	case c.Host != "":
		if target.Host, err = address(c.Host); err != nil {
			return target, fmt.Errorf("host: %w", err)
		}
	case target.Mode == seesaw.ModePlain:
		target.Host = target.IP
	}
	return target, nil
}

func httpOf(c *wire.Check, target seesaw.Target, verify bool) (*seesaw.HTTPChecker, error) {
	h := &seesaw.HTTPChecker{
		Target: target, Secure: c.Secure, TLSVerify: verify, Method: string(c.Method), Proxy: c.Proxy,
		Request: string(c.Path), Response: string(c.ExpectedBody),
	}
	if h.Method == "" {
		h.Method = "GET"
	}
	if h.Request == "" {
		h.Request = "/"
	}
	switch len(c.ExpectedCodes) {
	case 0:
	case 1:
		h.ResponseCode = int(c.ExpectedCodes[0])
	default:
		return nil, fmt.Errorf("expected_codes: Seesaw takes one code, not %d", len(c.ExpectedCodes))
	}
	given := wire.Check{
		RequestTarget: c.RequestTarget, HTTPHost: c.HTTPHost, ServerName: c.ServerName,
		Authorization: c.Authorization, RequestError: c.RequestError,
	}
	if derived := (wire.Check{}); !reflect.DeepEqual(given, derived) {
		setRequest(&derived, h, net.JoinHostPort(c.IP, strconv.Itoa(h.Port)))
		if !reflect.DeepEqual(given, derived) {
			return nil, fmt.Errorf("request_target, http_host, server_name, authorization, request_error: " +
				"Seesaw derives them from path, and not these")
		}
	}
	return h, nil
}

func dnsOf(c *wire.Check, target seesaw.Target) (*seesaw.DNSChecker, error) {
	if c.Query == nil {
		return nil, fmt.Errorf("query: missing")
	}
	qtype, err := recordNumber(dnsTypes, "TYPE", c.QueryType, dnsTypeA)
	if err != nil {
		return nil, fmt.Errorf("query_type: %w", err)
	}
	qclass, err := recordNumber(dnsClasses, "CLASS", c.QueryClass, dnsClassIN)
	if err != nil {
		return nil, fmt.Errorf("query_class: %w", err)
	}
	d := &seesaw.DNSChecker{
		Target:   target,
		Question: seesaw.Question{Name: string(*c.Query), Qtype: qtype, Qclass: qclass},
		Answer:   string(c.ExpectedAnswer),
	}
	if qtype != dnsTypeA && qtype != dnsTypeAAAA {
		if len(c.ExpectedIPs) > 0 {
			return nil, fmt.Errorf("expected_ips: only for A and AAAA")
		}
		return d, nil
	}
	if len(c.ExpectedIPs) != 1 || c.ExpectedAnswer != "" {
		return nil, fmt.Errorf("expected_ips: Seesaw takes one address for A and AAAA, not %d", len(c.ExpectedIPs))
	}
	d.Answer = string(c.ExpectedIPs[0])
	return d, nil
}

func recordNumber(names map[uint16]string, prefix, word string, standard uint16) (uint16, error) {
	if word == "" {
		return standard, nil
	}
	for number, name := range names {
		if strings.EqualFold(name, word) {
			return number, nil
		}
	}
	if digits, ok := strings.CutPrefix(strings.ToUpper(word), prefix); ok {
		if number, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return uint16(number), nil
		}
	}
	return 0, fmt.Errorf("%q is neither a known name nor %s with a number", word, prefix)
}

func radiusOf(c *wire.Check, target seesaw.Target) *seesaw.RADIUSChecker {
	r := &seesaw.RADIUSChecker{Target: target, Password: string(c.Password), Response: radiusAccept}
	if c.Username != nil {
		r.Username = string(*c.Username)
	}
	if c.Secret != nil {
		r.Secret = string(*c.Secret)
	}
	if c.ExpectedResponse != nil {
		r.Response = string(*c.ExpectedResponse)
	}
	return r
}
