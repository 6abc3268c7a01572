// Package wire is the protocol between hc-proxy and hc-server, version 1: one
// JSON object a line. docs/protocol.md is the reference, and wire/v1/*.json holds
// one example of every message, which this package and hc-server's read and
// write back unchanged.
package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Protocol is the version spoken here.
const Protocol = 1

// The words of an [Error]'s code.
const (
	CodeMalformed   = "malformed"
	CodeUnknownType = "unknown_type"
	CodeLineTooLong = "line_too_long"
	CodeProtocol    = "protocol"
	CodeReplaced    = "replaced"
	CodeUnexpected  = "unexpected"
	CodeInternal    = "internal"
)

// CapabilityKeep is what a peer says that knows [Refresh].
const CapabilityKeep = "keep"

// Message is one of the structs below, by pointer.
type Message interface{ messageType() string }

type (
	// Ready is hc-server's first line on every connection. Capabilities are what
	// it can do beyond what every peer of this protocol can.
	Ready struct {
		Protocol     uint32   `json:"protocol"`
		Version      string   `json:"version"`
		Capabilities []string `json:"capabilities,omitempty"`
	}

	// Hello answers Ready.
	Hello struct {
		Protocol     uint32   `json:"protocol"`
		Version      string   `json:"version"`
		Capabilities []string `json:"capabilities,omitempty"`
	}

	// UpdateConfigs is the full set of checks, or part Part of Parts of it.
	// Each element is a [Check], encoded. Part and Parts are 0 if not split.
	UpdateConfigs struct {
		Configs    []json.RawMessage `json:"configs"`
		Generation *uint64           `json:"generation,omitempty"`
		Part       uint32            `json:"part,omitempty"`
		Parts      uint32            `json:"parts,omitempty"`
	}

	// UpdateDelta changes the set of generation Base.
	UpdateDelta struct {
		Generation uint64            `json:"generation"`
		Base       uint64            `json:"base"`
		Upsert     []json.RawMessage `json:"upsert"`
		Remove     []uint64          `json:"remove"`
	}

	// RequestConfigs asks for the full set.
	RequestConfigs struct {
		Reason string `json:"reason"`
	}

	// Rejected names checks that do not run.
	Rejected struct {
		Generation *uint64     `json:"generation,omitempty"`
		Checks     []Rejection `json:"checks"`
	}

	// Rejection is one of them; ID is nil if it could not be read.
	Rejection struct {
		ID     *uint64 `json:"id"`
		Reason string  `json:"reason"`
	}

	// NotificationBatch is news about checks. Without Seq no [Ack] is wanted.
	NotificationBatch struct {
		Batch      Batch   `json:"batch"`
		Seq        *uint64 `json:"seq,omitempty"`
		Generation *uint64 `json:"generation,omitempty"`
	}

	// Batch is the object inside of a NotificationBatch.
	Batch struct {
		Notifications []Notification `json:"notifications"`
	}

	// Refresh says that what hc-proxy keeps of the buckets from First to Last is
	// still so, if there are Count checks in them with this Digest: the engine is
	// to hear it again. Only between peers with [CapabilityKeep].
	Refresh struct {
		Seq        uint64  `json:"seq"`
		Generation *uint64 `json:"generation,omitempty"`
		First      uint16  `json:"first"`
		Last       uint16  `json:"last"`
		Count      uint32  `json:"count"`
		Digest     uint64  `json:"digest"`
	}

	// Ack answers a batch or a refresh once the engine has; Error says why it has
	// not taken it, and Differs that a refresh is about something else than is
	// kept, which has been dropped.
	Ack struct {
		Seq     uint64 `json:"seq"`
		Error   string `json:"error,omitempty"`
		Differs bool   `json:"differs,omitempty"`
	}

	// RequestStatus asks for the status of every check.
	RequestStatus struct{}

	// StatusResponse answers it, perhaps in parts.
	StatusResponse struct {
		Statuses []Notification `json:"statuses"`
		Part     uint32         `json:"part,omitempty"`
		Parts    uint32         `json:"parts,omitempty"`
	}

	// Shutdown says that the proxy leaves on purpose.
	Shutdown struct{}

	// Error says what was wrong with something that the other side said.
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
)

func (*Ready) messageType() string             { return "ready" }
func (*Hello) messageType() string             { return "hello" }
func (*UpdateConfigs) messageType() string     { return "update_configs" }
func (*UpdateDelta) messageType() string       { return "update_delta" }
func (*RequestConfigs) messageType() string    { return "request_configs" }
func (*Rejected) messageType() string          { return "rejected" }
func (*NotificationBatch) messageType() string { return "notification_batch" }
func (*Refresh) messageType() string           { return "refresh" }
func (*Ack) messageType() string               { return "ack" }
func (*RequestStatus) messageType() string     { return "request_status" }
func (*StatusResponse) messageType() string    { return "status_response" }
func (*Shutdown) messageType() string          { return "shutdown" }
func (*Error) messageType() string             { return "error" }

// messages has every type with the fields that it cannot do without.
var messages = map[string]struct {
	empty  func() Message
	needed []string
}{
	"ready":              {func() Message { return new(Ready) }, []string{"protocol", "version"}},
	"hello":              {func() Message { return new(Hello) }, []string{"protocol", "version"}},
	"update_configs":     {func() Message { return new(UpdateConfigs) }, []string{"configs"}},
	"update_delta":       {func() Message { return new(UpdateDelta) }, []string{"generation", "base"}},
	"request_configs":    {func() Message { return new(RequestConfigs) }, []string{"reason"}},
	"rejected":           {func() Message { return new(Rejected) }, []string{"checks"}},
	"notification_batch": {func() Message { return new(NotificationBatch) }, []string{"batch"}},
	"refresh":            {func() Message { return new(Refresh) }, []string{"seq", "first", "last", "count", "digest"}},
	"ack":                {func() Message { return new(Ack) }, []string{"seq"}},
	"request_status":     {func() Message { return new(RequestStatus) }, nil},
	"status_response":    {func() Message { return new(StatusResponse) }, []string{"statuses"}},
	"shutdown":           {func() Message { return new(Shutdown) }, nil},
	"error":              {func() Message { return new(Error) }, []string{"code", "message"}},
}

// DecodeError is a line that is no message.
type DecodeError struct {
	// Code is what answers it: CodeMalformed or CodeUnknownType.
	Code string
	// Reason says what is wrong.
	Reason string
}

func (e *DecodeError) Error() string { return e.Reason }

func malformed(format string, args ...any) error {
	return &DecodeError{CodeMalformed, fmt.Sprintf(format, args...)}
}

// Decode reads one line, with or without its \n. Unknown fields are ignored.
// The error, if any, is a *DecodeError: the line is not JSON, or not UTF-8, or
// its type is unknown, or it lacks a field that its type needs.
func Decode(line []byte) (Message, error) {
	if !utf8.Valid(line) {
		return nil, malformed("the line is not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return nil, malformed("%v", err)
	}
	var name *string
	if err := json.Unmarshal(fields["type"], &name); err != nil || name == nil {
		return nil, malformed("type: not a string")
	}
	kind, ok := messages[*name]
	if !ok {
		return nil, &DecodeError{CodeUnknownType, fmt.Sprintf("unknown message type %.80q", *name)}
	}
	for _, field := range kind.needed {
		if value, ok := fields[field]; !ok || string(value) == "null" {
			return nil, malformed("%s: %s is missing", *name, field)
		}
	}
	message := kind.empty()
	if err := json.Unmarshal(line, message); err != nil {
		return nil, malformed("%s: %v", *name, err)
	}
	if batch, ok := message.(*NotificationBatch); ok && batch.Batch.Notifications == nil {
		return nil, malformed("notification_batch: notifications is missing")
	}
	return message, nil
}

// Encode writes a message as a line, its \n included. It panics on a message
// that JSON cannot hold, which none of the types above is, except for an instant
// outside of the years 0 to 9999, which comes from no clock.
//
// Invalid UTF-8 in a text becomes U+FFFD; [Bytes] keep it.
func Encode(message Message) []byte {
	body, err := marshal(message)
	if err != nil {
		panic(fmt.Sprintf("encode %s: %v", message.messageType(), err))
	}
	var line strings.Builder
	line.Grow(len(body) + 32)
	line.WriteString(`{"type":"` + message.messageType() + `"`)
	if len(body) > len("{}") {
		line.WriteByte(',')
	}
	line.Write(body[1:])
	line.WriteByte('\n')
	return []byte(line.String())
}
