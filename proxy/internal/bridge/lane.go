package bridge

import (
	"errors"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/kept"
	"github.com/hc-server/hc/proxy/internal/metrics"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/server"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// perCall is how many checks of a refresh the engine hears of in one call: as many
// as Seesaw's own batches have.
const perCall = 100

// lane is what waits to be told to the engine, one call at a time: a batch, and
// the rest of a refresh. They take turns, so a batch waits for one call of a refresh
// at most, and a refresh goes on whatever comes in.
type lane struct {
	batch   *wire.NotificationBatch
	refresh *refresh
	// batchNext is whose turn it is when both wait.
	batchNext bool
	// ofBatch is whether the call that the engine has tells it a batch.
	ofBatch bool
}

func (l *lane) clear() { l.batch, l.refresh = nil, nil }

// refresh is one that hc-server waits for.
type refresh struct {
	seq    uint64
	cursor kept.Cursor
	// The engine that it was begun for.
	conn *engine.Conn
	// The full set that it is about.
	whole uint64
}

// answer is what the engine said to a call.
type answer struct {
	link *server.Link
	err  error
	// Of a batch.
	seq           *uint64
	generation    *uint64
	notifications []*seesaw.Notification
	// Of a part of a refresh.
	refresh *refresh
}

// deliver takes a batch for the engine. hc-server has one batch outstanding at a
// time; one that comes while another, over a link before this one, is still under
// way, is refused and comes again.
func (r *run) deliver(batch *wire.NotificationBatch) {
	r.options.Metrics.Batches.Add(1)
	r.options.Metrics.Notifications.Add(uint64(len(batch.Batch.Notifications)))
	r.core.Begun(batch)
	result := answer{link: r.link, seq: batch.Seq}
	result.err = r.core.Admit(batch)
	if result.err == nil && (r.lane.batch != nil || r.delivering && r.lane.ofBatch) {
		result.err = errBusy
	}
	if result.err != nil {
		r.refuse(result)
		return
	}
	if r.options.Shadow != nil {
		r.options.Shadow.Batch(batch.Batch.Notifications)
		r.acknowledge(result)
		return
	}
	r.lane.batch = batch
	r.next()
}

// refresh takes a refresh; one that is under way is not awaited any more.
func (r *run) refresh(message *wire.Refresh) {
	r.lane.refresh = nil
	if err := r.core.Refresh(message); err != nil {
		differs := errors.Is(err, errDiffers)
		if differs {
			r.options.Metrics.Differing.Add(1)
		} else {
			r.options.Metrics.Refused[refusal(err)].Add(1)
		}
		r.link.Send(&wire.Ack{Seq: message.Seq, Error: err.Error(), Differs: differs})
		return
	}
	r.lane.refresh = &refresh{
		seq: message.Seq, cursor: kept.NewCursor(int(message.First), int(message.Last)), conn: r.conn, whole: r.core.whole,
	}
	r.next()
}

// next makes the next call to the engine, aside, if it has none.
func (r *run) next() {
	for !r.delivering {
		batch, refresh := r.lane.batch, r.lane.refresh
		switch {
		case batch != nil && (r.lane.batchNext || refresh == nil):
			r.lane.batch, r.lane.batchNext = nil, false
			r.tellBatch(batch)
		case refresh != nil:
			r.lane.batchNext = true
			r.tellKept(refresh)
		default:
			return
		}
	}
}

func (r *run) tellBatch(batch *wire.NotificationBatch) {
	result := answer{link: r.link, seq: batch.Seq, generation: batch.Generation}
	// Since it came the engine may have gone.
	if result.err = r.core.Admit(batch); result.err != nil {
		r.refuse(result)
		return
	}
	result.notifications = convert.ToSeesaw(batch.Batch.Notifications)
	r.call(result)
}

func (r *run) tellKept(refresh *refresh) {
	result := answer{link: r.link, seq: &refresh.seq, refresh: refresh}
	switch {
	case refresh.conn != r.conn:
		result.err = errNoEngine
	case refresh.whole != r.core.whole:
		result.err = errOtherSet
	default:
		result.notifications = r.core.Next(&refresh.cursor, perCall)
	}
	if len(result.notifications) == 0 {
		r.refreshEnds(result)
		return
	}
	r.options.Metrics.ToldAgain.Add(uint64(len(result.notifications)))
	r.call(result)
}

func (r *run) call(result answer) {
	r.delivering, r.lane.ofBatch = true, result.refresh == nil
	conn := r.conn
	r.tasks.Go(func() {
		result.err = conn.HealthState(result.notifications)
		r.answers <- result
	})
}

func (r *run) answered(result answer, now time.Time) {
	r.delivering = false
	r.progress.told()
	r.options.Metrics.Deliveries.Ended(now, result.err)
	if result.refresh == nil {
		r.batchEnds(result)
	} else if result.err != nil {
		r.refreshEnds(result)
	}
	r.next()
}

// batchEnds keeps what the engine has taken, unless hc-server has not awaited that
// for long.
func (r *run) batchEnds(result answer) {
	if result.err == nil && result.link == r.link {
		r.core.Told(result.generation, result.notifications)
	}
	r.acknowledge(result)
}

func (r *run) acknowledge(result answer) {
	r.eventLog.delivered(result.err)
	if result.link != r.link || result.link == nil || result.seq == nil {
		return
	}
	ack := &wire.Ack{Seq: *result.seq}
	if result.err != nil {
		ack.Error = "engine: " + result.err.Error()
	}
	r.link.Send(ack)
	r.options.Metrics.Kept.Store(int64(r.core.Kept()))
}

func (r *run) refuse(result answer) {
	r.options.Metrics.Refused[refusal(result.err)].Add(1)
	r.acknowledge(result)
}

// refreshEnds acknowledges a refresh whose last call has ended, or that failed.
func (r *run) refreshEnds(result answer) {
	if result.refresh != r.lane.refresh {
		return
	}
	r.lane.refresh = nil
	if result.err == nil {
		r.options.Metrics.Refreshes.Add(1)
	}
	r.acknowledge(result)
}

// refusal is how the metrics call the reason why something is not passed on.
func refusal(err error) metrics.Refusal {
	switch {
	case errors.Is(err, errNoEngine):
		return metrics.NoEngine
	case errors.Is(err, errNoSetYet):
		return metrics.NoSetYet
	case errors.Is(err, errBusy):
		return metrics.Busy
	}
	return metrics.OldGeneration
}
