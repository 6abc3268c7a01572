package e2e

import (
	"bytes"
	"encoding/json"
	"net/rpc"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/seesaw/engine/config"
	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// clusters holds cluster.pb files, and beside each the checks that the real
// engine makes of it. hc-config reads the same files and must come to the same.
const clusters = "../../../crates/hc-config/tests/seesaw"

// updateEnv makes TestClusterChecks write the files instead of comparing:
// HC_UPDATE=1 cargo xtask integration TestClusterChecks
const updateEnv = "HC_UPDATE"

// TestClusterChecks: what hc-config is held against is what the engine hands out.
func TestClusterChecks(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(clusters, "*.pb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no clusters: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".pb"), func(t *testing.T) {
			expected := strings.TrimSuffix(file, ".pb") + ".json"
			got := settledChecks(t, file)
			if os.Getenv(updateEnv) != "" {
				if err := os.WriteFile(expected, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the engine hands out\n%s\nand %s has\n%s", got, expected, want)
			}
		})
	}
}

// TestRefusedClusters: the engine refuses what hc-config must refuse.
func TestRefusedClusters(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(clusters, "refused", "*.pb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no clusters: %v", err)
	}
	for _, file := range files {
		if _, err := config.ReadConfig(file, "dev"); err == nil {
			t.Errorf("%s: the engine takes it", file)
		} else {
			t.Logf("%s: %v", filepath.Base(file), err)
		}
	}
}

// quiet is how long no more checks must come: the engine makes those of its ten
// vservers within milliseconds.
const quiet = time.Second

// settledChecks waits until the engine has made all checks of the file, which
// shows only in that no more come. The first set that is right may be one on the
// way to another.
func settledChecks(t *testing.T, file string) []byte {
	t.Helper()
	fetch := startedEngine(t, file)
	var last []byte
	since := time.Now()
	eventually(t, 6*patience, "no more checks come", func() bool {
		if next := fetch(); !bytes.Equal(next, last) {
			last, since = next, time.Now()
		}
		return len(last) > 0 && time.Since(since) > quiet
	})
	return last
}

// startedEngine starts the engine on a cluster and returns how to ask it for its
// checks: as hc-proxy converts them, one a line, in an order of their own. Nil
// while it has none.
func startedEngine(t *testing.T, file string) func() []byte {
	t.Helper()
	absolute, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newChainOn(t, logDir(t), func(dir string) (config, clusterPB string) { return writeEngineConfig(t, dir), absolute })
	w.startEngine()
	return func() []byte { return engineChecks(t, w.engineSocket) }
}

// mark and id are the engine's choice of the moment.
var chosen = regexp.MustCompile(`"(id|mark)":\d+,?`)

func engineChecks(t *testing.T, socket string) []byte {
	t.Helper()
	seesaw.RegisterGob()
	client, err := rpc.Dial("unix", socket)
	if err != nil {
		return nil
	}
	defer client.Close()
	var reply seesaw.Checks
	if err := client.Call("SeesawEngine.Healthchecks", seesaw.NewContext(), &reply); err != nil {
		t.Fatal(err)
	}
	set, dropped := convert.ToSet(reply.Configs)
	if len(dropped) > 0 {
		t.Fatalf("hc-proxy cannot convert %v", dropped)
	}
	var lines []string
	for _, check := range set {
		if !json.Valid(check) {
			t.Fatalf("not JSON: %s", check)
		}
		lines = append(lines, chosen.ReplaceAllString(string(check), ""))
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	return []byte("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}
