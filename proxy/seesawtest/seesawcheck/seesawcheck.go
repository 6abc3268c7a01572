// Package seesawcheck runs Seesaw's own checkers on checks in the words of the
// v1 protocol. It reads the words by itself, without the conversion that
// hc-proxy uses, so that the one can be held against the other.
package seesawcheck

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/google/seesaw/common/seesaw"
	"github.com/google/seesaw/healthcheck"
	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/miekg/dns"
)

// New returns the checker that the engine would send for the check. Defaults are
// those of docs/protocol.md. It fails on what Seesaw cannot express, such as two
// expected codes or a DNS query without an answer to compare.
func New(c *wire.Check) (healthcheck.Checker, error) {
	target, err := newTarget(c)
	if err != nil {
		return nil, err
	}
	verify := c.TLSVerify == nil || *c.TLSVerify
	switch c.CheckerType {
	case wire.TypeICMP:
		checker := healthcheck.NewPingChecker(target.IP)
		target.Proto, target.Port = checker.Proto, 0
		checker.Target = target
		return checker, nil
	case wire.TypeUDP:
		checker := healthcheck.NewUDPChecker(target.IP, target.Port)
		target.Proto = checker.Proto
		checker.Target = target
		checker.Send, checker.Receive = string(c.Send), string(c.Receive)
		return checker, nil
	case wire.TypeTCP:
		checker := healthcheck.NewTCPChecker(target.IP, target.Port)
		target.Proto = checker.Proto
		checker.Target = target
		checker.Send, checker.Receive = string(c.Send), string(c.Receive)
		checker.Secure, checker.TLSVerify = c.Secure, c.Secure && verify
		return checker, nil
	case wire.TypeHTTP:
		return newHTTP(c, target, verify)
	case wire.TypeDNS:
		return newDNS(c, target)
	case wire.TypeRADIUS:
		checker := healthcheck.NewRADIUSChecker(target.IP, target.Port)
		target.Proto = checker.Proto
		checker.Target = target
		checker.Username = text(c.Username)
		checker.Password = string(c.Password)
		checker.Secret = text(c.Secret)
		if c.ExpectedResponse != nil {
			checker.Response = string(*c.ExpectedResponse)
		}
		return checker, nil
	}
	return nil, fmt.Errorf("checker_type %q is not one of Seesaw's", c.CheckerType)
}

func newTarget(c *wire.Check) (healthcheck.Target, error) {
	target := healthcheck.Target{
		IP:   net.ParseIP(c.IP),
		Port: int(c.Port),
		Mark: int(c.Mark),
	}
	if target.IP == nil {
		return target, fmt.Errorf("ip %q is no address", c.IP)
	}
	switch c.Mode {
	case "", wire.ModePlain:
		target.Mode, target.Host = seesaw.HCModePlain, target.IP
	case wire.ModeDSR:
		target.Mode = seesaw.HCModeDSR
	case wire.ModeTUN:
		target.Mode = seesaw.HCModeTUN
	default:
		return target, fmt.Errorf("mode %q is not one of Seesaw's", c.Mode)
	}
	if c.Host != "" {
		if target.Host = net.ParseIP(c.Host); target.Host == nil {
			return target, fmt.Errorf("host %q is no address", c.Host)
		}
	}
	return target, nil
}

func newHTTP(c *wire.Check, target healthcheck.Target, verify bool) (healthcheck.Checker, error) {
	checker := healthcheck.NewHTTPChecker(target.IP, target.Port)
	target.Proto = checker.Proto
	checker.Target = target
	checker.Secure, checker.TLSVerify = c.Secure, verify
	checker.Proxy = c.Proxy
	checker.Response = string(c.ExpectedBody)
	if c.Method != "" {
		checker.Method = string(c.Method)
	}
	if c.Path != "" {
		checker.Request = string(c.Path)
	}
	switch len(c.ExpectedCodes) {
	case 0:
		checker.ResponseCode = 0
	case 1:
		checker.ResponseCode = int(c.ExpectedCodes[0])
	default:
		return nil, fmt.Errorf("expected_codes has %d codes, Seesaw takes one", len(c.ExpectedCodes))
	}
	return checker, nil
}

func newDNS(c *wire.Check, target healthcheck.Target) (healthcheck.Checker, error) {
	checker := healthcheck.NewDNSChecker(target.IP, target.Port)
	target.Proto = checker.Proto
	checker.Target = target
	checker.Question.Name = text(c.Query)
	var err error
	if checker.Question.Qtype, err = number(c.QueryType, "TYPE", dns.StringToType, dns.TypeA); err != nil {
		return nil, fmt.Errorf("query_type: %w", err)
	}
	if checker.Question.Qclass, err = number(c.QueryClass, "CLASS", dns.StringToClass, dns.ClassINET); err != nil {
		return nil, fmt.Errorf("query_class: %w", err)
	}
	switch checker.Question.Qtype {
	case dns.TypeA, dns.TypeAAAA:
		if len(c.ExpectedIPs) != 1 {
			return nil, fmt.Errorf("expected_ips has %d addresses, Seesaw takes one", len(c.ExpectedIPs))
		}
		checker.Answer = string(c.ExpectedIPs[0])
	default:
		checker.Answer = string(c.ExpectedAnswer)
	}
	return checker, nil
}

// number reads a DNS name of a type or class, or RFC 3597's form of it.
func number(word, prefix string, names map[string]uint16, standard uint16) (uint16, error) {
	if word == "" {
		return standard, nil
	}
	if n, ok := names[word]; ok {
		return n, nil
	}
	digits, ok := strings.CutPrefix(word, prefix)
	if n, err := strconv.ParseUint(digits, 10, 16); ok && err == nil {
		return uint16(n), nil
	}
	return 0, fmt.Errorf("%q is unknown", word)
}

func text(b *wire.Bytes) string {
	if b == nil {
		return ""
	}
	return string(*b)
}

// Result is what Seesaw's healthchecker would make of one check.
type Result struct {
	Success  bool
	Message  string
	Duration time.Duration
	// Panic is set when the checker panicked, which ends Seesaw's process.
	Panic string
}

// Run makes one check as seesaw_healthcheck does (healthcheck/core.go): the
// checker in its own goroutine with the timeout, against a timer of the same
// length. When the timer wins the goroutine is left behind, and the duration is
// the timeout.
func Run(checker healthcheck.Checker, timeout time.Duration) Result {
	done := make(chan Result, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				done <- Result{Panic: fmt.Sprint(reason)}
			}
		}()
		result := checker.Check(timeout)
		done <- Result{Success: result.Success, Message: result.String(), Duration: result.Duration}
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case result := <-done:
		return result
	case <-timer.C:
		return Result{Message: "Timed out", Duration: timeout}
	}
}
