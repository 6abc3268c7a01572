package wire

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

const examples = "../../../wire/v1"

// Every committed example reads and writes back byte for byte, its checks too,
// and every type of message has an example.
func TestExamplesReadAndWriteBack(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			line, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			message, err := Decode(line)
			if err != nil {
				t.Fatal(err)
			}
			seen[message.messageType()] = true
			want := string(trimNewline(line)) + "\n"
			if got := string(Encode(message)); got != want {
				t.Errorf("wrote\n%swant\n%s", got, want)
			}
			for _, raw := range checksOf(message) {
				var check Check
				if err := json.Unmarshal(raw, &check); err != nil {
					t.Fatal(err)
				}
				if got, err := check.Encode(); err != nil || string(got) != string(raw) {
					t.Errorf("wrote %s (%v)\nwant %s", got, err, raw)
				}
			}
		})
	}
	for name := range messages {
		if !seen[name] {
			t.Errorf("no example of %s", name)
		}
	}
}

func trimNewline(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}

func checksOf(message Message) []json.RawMessage {
	switch m := message.(type) {
	case *UpdateConfigs:
		return m.Configs
	case *UpdateDelta:
		return m.Upsert
	}
	return nil
}
