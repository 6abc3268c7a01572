package chain

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	enginerpc "github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/fakeengine"
	"github.com/hc-server/hc/proxy/internal/peertest"
)

// The checks of before run on, and an engine that answers sensibly is heard again.
func TestAnAnswerThatIsTooLongChangesNothing(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1, 2), fakeengine.Behavior{})
	p := c.server.Greet()
	first := full(t, p, 1, 2)
	e.close()

	listener, err := net.Listen("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		defer close(asked)
		for range 3 {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// Its fetch, the announcement, and the end of the connection, which is the
			// proxy's doing.
			conn.SetDeadline(time.Now().Add(peertest.Within))
			buf := make([]byte, 64<<10)
			_, err = conn.Read(buf)
			if err == nil {
				_, err = conn.Write(binary.BigEndian.AppendUint64([]byte{0xf8}, enginerpc.MaxAnswer+1))
			}
			for err == nil {
				_, err = conn.Read(buf)
			}
			conn.Close()
			if os.IsTimeout(err) {
				t.Error("the connection goes on")
			}
		}
	})
	defer tasks.Wait()
	defer listener.Close()
	select {
	case <-asked:
	case <-time.After(3 * peertest.Within):
		t.Fatal("not asked again")
	}
	listener.Close()

	c.engine(ports(1, 2, 3), fakeengine.Behavior{})
	// The first word after the first set is the new engine's.
	if second := full(t, p, 1, 2, 3); second != first+1 {
		t.Errorf("generation %d after %d", second, first)
	}
}
