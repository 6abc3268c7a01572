package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Bytes are bytes that need not be UTF-8. In JSON they are a string if they are
// UTF-8, else {"base64":"…"} (standard alphabet, padded).
type Bytes string

// MarshalJSON writes either form. HTML is not escaped, as nothing here is HTML.
func (b Bytes) MarshalJSON() ([]byte, error) {
	if isPlain(string(b)) {
		return quoted(string(b)), nil
	}
	if utf8.ValidString(string(b)) {
		return marshal(string(b))
	}
	return marshal(struct {
		Base64 []byte `json:"base64"`
	}{[]byte(b)})
}

// UnmarshalJSON reads either form. Null is neither.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, (*string)(b))
	}
	var object struct {
		Base64 *string `json:"base64"`
	}
	if err := json.Unmarshal(data, &object); err != nil || object.Base64 == nil {
		return errors.New(`not a string or {"base64":"…"}`)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(*object.Base64)
	if err != nil {
		return fmt.Errorf("base64: %w", err)
	}
	*b = Bytes(raw)
	return nil
}

// isPlain reports whether a text needs no escapes. Most do not, and a set of many
// checks is encoded at every fetch.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func quoted(plain string) []byte {
	return append(append(append(make([]byte, 0, len(plain)+2), '"'), plain...), '"')
}

// marshal is json.Marshal that leaves <, > and & as they are, like hc-server.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}), nil
}
