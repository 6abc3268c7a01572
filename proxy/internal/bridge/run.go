package bridge

import (
	"context"
	"sync"
	"time"

	log "github.com/golang/glog"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/metrics"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/server"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// Options say what to join.
type Options struct {
	// EngineSocket is the path of the engine's Unix socket.
	EngineSocket string
	// EngineTimeout bounds the dial and each call; [engine.Timeout] is Seesaw's.
	EngineTimeout time.Duration
	// FetchInterval is the time between two fetches of an engine that is not
	// young any more. Above 0.
	FetchInterval time.Duration
	// DialServer connects to hc-server.
	DialServer server.Dialer
	// Version is told to hc-server, for its log.
	Version string
	// Shadow, if it is not nil, hears what the engine would be told; the engine
	// is told nothing then.
	Shadow Shadow
	// Keep is whether statuses are kept and told to the engine again from here, if
	// hc-server can do with that. Not with a Shadow, which wants each probe.
	Keep bool
	// Metrics counts what happens. Nil if nobody wants to know.
	Metrics *metrics.Metrics
	// Watchdog is fed while the bridge makes progress.
	Watchdog Watchdog
}

// Shadow hears of checks and of their health in place of the engine. Its methods
// return at once.
type Shadow interface {
	// Checks is called with each set of the engine that is another one than
	// before, or the first of an epoch, before hc-server is told.
	Checks(configs map[uint64]*seesaw.Config)
	// Batch is called with each batch that the engine would have been given.
	Batch(notifications []wire.Notification)
	// Rejected is called with the checks that hc-server does not run.
	Rejected(checks []wire.Rejection)
}

// Run joins the two until the context ends, whatever becomes of either. It then
// takes leave of hc-server, within a third of a second, and returns when all
// that it started has ended.
func Run(ctx context.Context, options Options) {
	if options.Metrics == nil {
		options.Metrics = new(metrics.Metrics)
	}
	r := &run{
		options:  options,
		core:     NewCore(uint64(time.Now().UnixMicro())),
		schedule: schedule{interval: options.FetchInterval},
		fetches:  make(chan fetch, 1),
		answers:  make(chan answer, 1),
	}
	fromEngine, fromServer := make(chan engine.Event), make(chan server.Event)
	r.tasks.Go(func() { engine.Keep(ctx, options.EngineSocket, options.EngineTimeout, fromEngine) })
	hello := wire.Hello{Version: options.Version}
	if options.Keep && options.Shadow == nil {
		hello.Capabilities = []string{wire.CapabilityKeep}
	}
	r.tasks.Go(func() { server.Keep(ctx, options.DialServer, hello, fromServer) })
	timer := time.NewTimer(0)
	var looks <-chan time.Time
	if every := options.Watchdog.Every; every > 0 {
		r.progress = newProgress(every, options.EngineTimeout)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		looks = ticker.C
	}
	for ctx.Err() == nil {
		r.arm(timer)
		select {
		case event := <-fromEngine:
			r.engineEvent(event, time.Now())
		case event := <-fromServer:
			r.serverEvent(event)
		case result := <-r.fetches:
			r.fetched(result, time.Now())
		case result := <-r.answers:
			r.answered(result, time.Now())
		case <-timer.C:
			r.fetch(time.Now())
		case <-looks:
			r.look()
		case <-ctx.Done():
		}
	}
	timer.Stop()
	if r.link != nil {
		r.link.Leave()
	}
	r.tasks.Wait()
}

// run is the driver: it owns the clock, the connections and at most one fetch
// and one delivery at a time, each of which ends within the engine's timeout.
// Nothing in its loop waits for either peer.
type run struct {
	options  Options
	core     *Core
	schedule schedule
	tasks    sync.WaitGroup
	eventLog eventLog
	progress progress

	conn     *engine.Conn
	fetching bool
	fetches  chan fetch

	link *server.Link
	lane lane
	// delivering is whether the engine has a call that tells it of health.
	delivering bool
	answers    chan answer
}

// fetch is the result of one. A nil set is an engine without a map of checks.
type fetch struct {
	conn    *engine.Conn
	asked   time.Time
	configs map[uint64]*seesaw.Config // nil without a shadow
	set     convert.Set
	dropped map[uint64]string
	err     error
}

// arm sets the timer for the next fetch.
func (r *run) arm(timer *time.Timer) {
	if r.conn == nil || r.fetching {
		timer.Stop()
		return
	}
	timer.Reset(time.Until(r.schedule.due))
}

func (r *run) engineEvent(event engine.Event, now time.Time) {
	r.conn = event.Conn
	if event.Conn == nil {
		r.options.Metrics.Engine.Down()
		r.core.EngineDown()
		r.eventLog.engineDown(event.Err)
		r.next()
		return
	}
	r.options.Metrics.Engine.Up()
	r.core.EngineUp()
	r.schedule.begin(now)
	r.eventLog.engineUp(r.options.EngineSocket, event.Conn.Epoch)
}

// fetch asks the engine, aside.
func (r *run) fetch(now time.Time) {
	if r.conn == nil || r.fetching {
		return
	}
	r.fetching = true
	r.eventLog.fetching()
	conn := r.conn
	r.tasks.Go(func() {
		result := fetch{conn: conn, asked: now}
		var checks *seesaw.Checks
		if checks, result.err = conn.Healthchecks(); result.err == nil && checks.Configs != nil {
			result.set, result.dropped = convert.ToSet(checks.Configs)
			if r.options.Shadow != nil {
				result.configs = checks.Configs
			}
		}
		r.fetches <- result
	})
}

func (r *run) fetched(result fetch, now time.Time) {
	r.fetching = false
	r.progress.fetched()
	r.options.Metrics.Fetches.Ended(now, result.err)
	if name := seesaw.LearnUnknown(result.err); name != "" {
		log.Errorf("The engine has checks of type %s, which this version of hc-proxy does not know: they do not run, all others do", name)
	}
	if result.conn != r.conn {
		return
	}
	r.schedule.asked(now, result.err != nil)
	if result.err != nil {
		r.eventLog.fetchFailed(result.err)
		return
	}
	if result.set == nil {
		if r.schedule.young(result.asked) {
			log.V(1).Info("The engine has just started and has not built its healthchecks yet")
			return
		}
		result.set = convert.Set{}
	}
	messages, isNew := r.core.Fetched(result.set)
	if r.options.Shadow != nil && isNew {
		r.options.Shadow.Checks(result.configs)
	}
	r.eventLog.fetched(result.set, result.dropped, len(messages) > 0)
	r.options.Metrics.Checks.Store(int64(len(result.set)))
	r.options.Metrics.LeftOut.Store(int64(len(result.dropped)))
	r.options.Metrics.Rejected.Store(int64(len(r.eventLog.rejections)))
	r.tell(messages)
}

func (r *run) tell(messages []wire.Message) {
	if r.link == nil || len(messages) == 0 {
		return
	}
	switch messages[0].(type) {
	case *wire.UpdateConfigs:
		r.options.Metrics.FullSets.Add(1)
	case *wire.UpdateDelta:
		r.options.Metrics.Deltas.Add(1)
	}
	r.link.Send(messages...)
}

func (r *run) serverEvent(event server.Event) {
	switch {
	case event.Link == nil:
		r.link = nil
		r.lane.clear()
		r.options.Metrics.Server.Down()
		r.core.ServerDown()
		r.core.Keep(false)
		r.options.Metrics.Kept.Store(0)
		r.eventLog.serverDown(event.Err)
	case event.Message == nil:
		r.link = event.Link
		r.options.Metrics.Server.Up()
		r.core.Keep(event.Link.Keeps)
		r.eventLog.serverUp(event.Link.ServerVersion)
		r.tell(r.core.ServerUp())
	default:
		r.message(event.Message)
	}
}

func (r *run) message(message wire.Message) {
	switch m := message.(type) {
	case *wire.NotificationBatch:
		r.deliver(m)
	case *wire.Refresh:
		r.refresh(m)
	case *wire.RequestConfigs:
		log.Infof("hc-server asks for all healthchecks: %s", m.Reason)
		r.tell(r.core.RequestConfigs())
	case *wire.Rejected:
		r.eventLog.rejected(m.Checks)
		if r.options.Shadow != nil {
			r.options.Shadow.Rejected(m.Checks)
		}
		r.options.Metrics.Rejected.Store(int64(len(r.eventLog.rejections)))
	case *wire.Error:
		log.Warningf("hc-server reports an error (%s): %s", m.Code, m.Message)
	case *wire.StatusResponse:
		log.V(1).Infof("hc-server sent the status of %d healthchecks", len(m.Statuses))
	default:
		r.tell([]wire.Message{&wire.Error{Code: wire.CodeUnexpected, Message: "hc-proxy does not take this message now"}})
	}
}
