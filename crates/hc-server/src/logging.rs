//! The log: to standard error, as text or as JSON.
//!
//! Whoever reads the log may stop reading, and a full disk or a stopped journal must not stop the
//! checks. So, once [`detach`] was called, lines are written by a thread of their own; what it does
//! not get rid of in time is lost, counted, and told.

mod limit;
mod lines;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata, warn};
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry, reload};

use self::limit::{HeldBack, Limiter, Limits};
use crate::config::{LogConfig, LogFormat, values};

/// Lines that wait to be written. Together with [`lines::LONGEST`] it bounds what a log that nobody
/// reads costs.
const WAITING: usize = 4096;

/// Starts logging for the whole process. Lines are written by whoever logs, until [`detach`] is
/// called.
///
/// # Errors
/// When the level does not parse (a [`Config`](crate::Config) that was read has been checked for
/// that), or when the process logs already.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let LogConfig { format, level } = config;
    let filter: Targets = level.parse()?;
    let lines = fmt::layer().with_writer(Lines { format: *format, urgent: true });
    let layer = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let limiter = Limiter { limits: &LIMITS, announce: || send(Job::Report) };
    let (filter, handle) = reload::Layer::new(filter);
    registry().with(layer.with_filter(filter.and(limiter))).try_init()?;
    let _ = LEVEL.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
    Ok(())
}

/// Changes what is logged.
type SetLevel = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

static LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Changes what is logged from now on.
///
/// # Errors
/// When the level does not parse, or this process does not log.
pub(crate) fn set_level(level: &str) -> Result<(), String> {
    let filter = values::log_level(level)?;
    let set = LEVEL.get().ok_or("this process does not log")?;
    set(filter)
}

/// What waits for the thread that writes.
enum Job {
    Line(Vec<u8>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
    /// Lines are held back: to be reported after a while.
    Report,
}

/// Lines of the start, errors left out, until [`release`].
static HELD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static RELEASED: AtomicBool = AtomicBool::new(false);

static QUEUE: OnceLock<SyncSender<Job>> = OnceLock::new();
static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes the lines of the start, which waited: a start that fails says one thing, why it failed.
pub fn release() {
    RELEASED.store(true, Ordering::Release);
    for line in std::mem::take(&mut *held()) {
        pass(line);
    }
}

fn held() -> std::sync::MutexGuard<'static, Vec<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on nobody who logs waits for the log. Starts a thread, so it has its place behind the
/// sandbox's begin.
///
/// # Errors
/// When the system gives no thread; lines are then written by whoever logs, as before.
pub fn detach() -> io::Result<()> {
    if QUEUE.get().is_some() {
        return Ok(());
    }
    let (queue, jobs) = sync_channel(WAITING);
    Builder::new().name("hc-log".to_owned()).spawn(move || write_lines(&jobs))?;
    let _ = QUEUE.set(queue);
    Ok(())
}

/// Waits until what was logged is written, but no longer than `patience`.
pub fn flush(patience: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = sync_channel(1);
    if queue.try_send(Job::Flush(done)).is_ok() {
        // At the end nobody is left to be told that it took too long.
        let _ = written.recv_timeout(patience);
    }
}

#[allow(clippy::disallowed_methods, reason = "the driver of the log reads the clock")]
fn write_lines(jobs: &Receiver<Job>) {
    let mut report_at: Option<Instant> = None;
    loop {
        let job = jobs.try_recv().or_else(|_| {
            // All that waited is written.
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                warn!(lines = lost, "the log was not read in time: lines are lost");
            }
            match report_at {
                Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            }
        });
        match job {
            // Nobody could be told of an error.
            Ok(Job::Line(line)) => _ = io::stderr().write_all(&line),
            Ok(Job::Flush(done)) => {
                report();
                write_all_of(jobs);
                _ = done.try_send(());
            }
            Ok(Job::Report) => report_at = report_at.or_else(|| Some(Instant::now() + limit::REPORT)),
            Err(RecvTimeoutError::Timeout) => {
                report_at = None;
                report();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Says how many lines of each kind were held back.
fn report() {
    for HeldBack { target, place, lines } in LIMITS.report() {
        warn!(
            source = format!("{target}:{place}"),
            lines, "too many lines of one kind: these were held back"
        );
    }
}

/// Writes the lines that wait, as after a report at the end.
fn write_all_of(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.try_recv() {
        if let Job::Line(line) = job {
            _ = io::stderr().write_all(&line);
        }
    }
}

/// Gives a line to the thread that writes, or writes it if there is none yet. What cannot be
/// written is lost: nobody could be told.
fn pass(line: Vec<u8>) {
    if QUEUE.get().is_some() {
        send(Job::Line(line));
    } else {
        _ = io::stderr().write_all(&line);
    }
}

/// Hands something to the thread that writes, if it can take it.
fn send(job: Job) {
    if let Some(queue) = QUEUE.get()
        && queue.try_send(job).is_err()
    {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes lines, one a call, as `fmt` gives them.
#[derive(Clone, Copy)]
struct Lines {
    format: LogFormat,
    /// An error, which is written also while the server starts.
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self {
        Self { urgent: *meta.level() == Level::ERROR, ..*self }
    }
}

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = match self.format {
            LogFormat::Text => lines::text(text),
            LogFormat::Json => lines::json(text),
        };
        if self.urgent || RELEASED.load(Ordering::Acquire) {
            pass(line);
        } else {
            let mut held = held();
            // Released meanwhile, by another thread?
            if RELEASED.load(Ordering::Acquire) {
                drop(held);
                pass(line);
            } else if held.len() < WAITING {
                held.push(line);
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
