package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

type reply struct {
	N        uint64 `json:"n"`
	Success  *bool  `json:"success"`
	Message  string `json:"message"`
	Duration int64  `json:"duration_ns"`
	Panic    string `json:"panic"`
	Error    string `json:"error"`
}

// listen accepts and closes, and returns the port.
func listen(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().(*net.TCPAddr).Port
}

func ask(t *testing.T, parallel int, lines ...string) map[uint64]reply {
	t.Helper()
	var out strings.Builder
	if err := run(strings.NewReader(strings.Join(lines, "\n")+"\n"), &out, parallel); err != nil {
		t.Fatal(err)
	}
	replies := make(map[uint64]reply)
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var r reply
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		replies[r.N] = r
	}
	if len(replies) != len(lines) {
		t.Fatalf("%d lines gave %d answers:\n%s", len(lines), len(replies), out.String())
	}
	return replies
}

func TestVerdicts(t *testing.T) {
	port := listen(t)
	replies := ask(t, 2,
		fmt.Sprintf(`{"n":1,"timeout":"5s","checker_type":"tcp","ip":"127.0.0.1","port":%d}`, port),
		fmt.Sprintf(`{"n":2,"timeout":"5s","checker_type":"tcp","ip":"127.0.0.1","port":%d,"receive":"x"}`, port),
		fmt.Sprintf(`{"n":18446744073709551615,"timeout":"5s","checker_type":"http","ip":"127.0.0.1","port":%d,"method":"GE T"}`, port),
		`{"n":4,"timeout":"5s","checker_type":"smtp","ip":"127.0.0.1"}`,
		`{"n":5,"timeout":5}`,
		`no JSON`,
	)
	if r := replies[1]; r.Success == nil || !*r.Success || r.Duration <= 0 || r.Message != fmt.Sprintf("TCP connect to 127.0.0.1:%d", port) {
		t.Errorf("an open port gave %+v", r)
	}
	if r := replies[2]; r.Success == nil || *r.Success || r.Message == "" {
		t.Errorf("a wrong answer gave %+v", r)
	}
	if r := replies[1<<64-1]; r.Success != nil || r.Panic == "" {
		t.Errorf("what panics gave %+v", r)
	}
	for _, n := range []uint64{0, 4, 5} {
		if r := replies[n]; r.Success != nil || r.Error == "" {
			t.Errorf("line %d gave %+v", n, r)
		}
	}
}

// With -parallel 1 a caller can ask, read the answer, and ask again.
func TestAnswersComeAtOnce(t *testing.T) {
	port := listen(t)
	in, questions := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(in, out, 1) }()
	reader := bufio.NewReader(answers)
	for n := range 3 {
		fmt.Fprintf(questions, `{"n":%d,"timeout":"5s","checker_type":"tcp","ip":"127.0.0.1","port":%d}`+"\n", n, port)
		line, err := reader.ReadString('\n')
		if err != nil || !strings.Contains(line, `"success":true`) {
			t.Fatalf("answer %q, error %v", line, err)
		}
	}
	questions.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnOutputThatFailsIsAnError(t *testing.T) {
	_, out := io.Pipe()
	out.Close()
	if err := run(strings.NewReader("no JSON\n"), out, 1); err == nil {
		t.Error("no error")
	}
}
