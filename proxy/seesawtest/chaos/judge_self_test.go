package chaos

import (
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// The judge itself, on backends that are only a flag. What is proved by silence
// needs proof that it would have spoken.

const (
	healthy   = wire.StateHealthy
	unhealthy = wire.StateUnhealthy
)

func newTrial() (*judge, *backend) {
	b := &backend{kind: wire.TypeUDP, interval: time.Second, timeout: time.Second, retries: 1}
	b.isUp.Store(true)
	return newJudge(&fleet{backends: []*backend{b}}), b
}

func expectWrong(t *testing.T, j *judge, want int) {
	t.Helper()
	if wrong := j.wrongs(0); len(wrong) != want {
		t.Errorf("%d wrong, want %d: %q", len(wrong), want, wrong)
	}
}

func mustFlip(t *testing.T, j *judge, b *backend) {
	t.Helper()
	if err := j.flip(b); err != nil {
		t.Fatal(err)
	}
}

func TestJudgeKnowsAFalseDeath(t *testing.T) {
	j, b := newTrial()
	now := wall()
	j.hear(b, healthy, "", now, now)
	j.hear(b, unhealthy, "", now, now.Add(time.Second))
	expectWrong(t, j, 1)
}

func TestJudgeTakesNoUnknown(t *testing.T) {
	j, b := newTrial()
	j.hear(b, wire.StateUnknown, "", wall(), wall())
	expectWrong(t, j, 1)
}

func TestJudgeTakesNoIdOfAnotherEngine(t *testing.T) {
	j, _ := newTrial()
	j.stray(7)
	expectWrong(t, j, 1)
}

func TestJudgeKnowsAResurrection(t *testing.T) {
	j, b := newTrial()
	j.hear(b, healthy, "", wall(), wall())
	mustFlip(t, j, b)
	later := wall().Add(time.Second)
	j.hear(b, unhealthy, "", later, later)
	expectWrong(t, j, 0)
	j.hear(b, healthy, "", later.Add(time.Second), later.Add(time.Second))
	expectWrong(t, j, 1)
}

func TestJudgeTakesWhatAProbeCanHaveSeen(t *testing.T) {
	j, b := newTrial()
	before := wall()
	j.hear(b, healthy, "", before, before)
	mustFlip(t, j, b)
	j.hear(b, unhealthy, "", before, wall())
	if j.isPending(b) {
		t.Error("the flip down does not count as told by a probe that began before it")
	}
	j.hear(b, healthy, "", before, wall())
	expectWrong(t, j, 0)
	mustFlip(t, j, b)
	// It was down for a moment between the start of the probe and the word.
	j.hear(b, unhealthy, "", before, wall())
	expectWrong(t, j, 0)
	if !j.isPending(b) {
		t.Error("the flip up counts as told by a word that it is down")
	}
	j.hear(b, healthy, "", before.Add(-time.Hour), wall())
	if !j.isPending(b) {
		t.Error("the flip up counts as told by a word from before it")
	}
	j.hear(b, healthy, "", wall(), wall())
	if j.isPending(b) {
		t.Error("the flip up does not count as told")
	}
}

func TestJudgeMeasuresLateness(t *testing.T) {
	j, b := newTrial()
	mustFlip(t, j, b)
	flipped := wall()
	j.outages = []span{
		{from: flipped.Add(-time.Minute), to: flipped.Add(-time.Second)},
		{from: flipped.Add(time.Second), to: flipped.Add(4 * time.Second)},
		{from: flipped.Add(time.Minute)},
	}
	at := flipped.Add(b.detection(false) + 3*time.Second + 500*time.Millisecond)
	j.hear(b, unhealthy, "", at, at)
	late := j.verdicts().late
	if len(late) != 1 || late[0] < 499*time.Millisecond || late[0] > 600*time.Millisecond {
		t.Errorf("late by %v, want 500 ms", late)
	}
}

func TestJudgeMissesALostFlip(t *testing.T) {
	j, b := newTrial()
	mustFlip(t, j, b)
	j.giveUp()
	expectWrong(t, j, 0)
	p := j.records[0].pending
	p.before, p.after = p.before.Add(-2*lostAfter), p.after.Add(-2*lostAfter)
	j.giveUp()
	expectWrong(t, j, 1)
	if v := j.verdicts(); v.lost != 1 || v.reported != 0 {
		t.Errorf("%d lost, %d reported", v.lost, v.reported)
	}
}

func TestJudgeIsNotSettledBeforeAllIsToldAndTrue(t *testing.T) {
	j, b := newTrial()
	start := wall().Add(-time.Second)
	if up, all := j.silent(start); up != 1 || all != 1 {
		t.Errorf("%d and %d silent before the first word", up, all)
	}
	if j.settled(wall()) {
		t.Error("settled before the first word")
	}
	j.hear(b, healthy, "", wall(), wall())
	if _, all := j.silent(start); all != 0 || !j.settled(wall()) {
		t.Error("not settled after a true word")
	}
	mustFlip(t, j, b)
	if j.settled(wall().Add(time.Second)) {
		t.Error("settled before a flip is told")
	}
}

func TestFlat(t *testing.T) {
	rising := make([]int, 100)
	for i := range rising {
		rising[i] = i
	}
	r := &recorder{TB: t}
	flat(r, "rising", rising, 10)
	if r.errors != 1 {
		t.Error("a rise is taken for flat")
	}
	if s := slope(rising); s < 0.999 || s > 1.001 {
		t.Errorf("slope %f", s)
	}
	flat(t, "constant", make([]int, 100), 0)
}

// recorder stands in for the test that is told of errors.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.errors++ }

func TestJudgeKnowsACutOffNode(t *testing.T) {
	const message = "TCP connect to 127.0.0.1:80; no way to the backend from this node for 10 s: no local route"
	j, b := newTrial()
	now := wall()
	j.hear(b, healthy, "", now, now)
	j.cutBegins()
	j.hear(b, unhealthy, message, now.Add(11*time.Second), now.Add(11*time.Second))
	expectWrong(t, j, 0)
	j.cutOver()
	j.hear(b, healthy, "", now.Add(12*time.Second), now.Add(12*time.Second))
	expectWrong(t, j, 0)
	// Too soon, too late, and for another reason.
	for i, at := range []time.Duration{9 * time.Second, time.Minute, 11 * time.Second} {
		j, b = newTrial()
		now = wall()
		j.hear(b, healthy, "", now, now)
		j.cutBegins()
		if i == 1 {
			j.cutOver()
		}
		j.hear(b, unhealthy, []string{message, message, "timed out"}[i], now.Add(at), now.Add(at))
		expectWrong(t, j, 1)
	}
}
