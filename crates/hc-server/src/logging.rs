//! The log: to standard error, as text or as JSON.
//!
//! Whoever reads the log may stop reading, and a full disk or a stopped journal must not stop the checks. So, once
//! [`detach`] was called, lines are written by a thread of their own; what it does not get rid of in time is lost, counted,
//! and told.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use crate::config::{LogConfig, LogFormat};

/// Lines that wait to be written. Together with [`LONGEST`] it bounds what a log that nobody reads costs.
const WAITING: usize = 4096;

/// The longest line in bytes; of a longer one the rest is cut off.
const LONGEST: usize = 16 * 1024;

/// Starts logging for the whole process. Lines are written by whoever logs, until [`detach`] is called.
///
/// # Errors
/// When the level does not parse (a [`Config`](crate::Config) that was read has been checked for that), or when the
/// process logs already.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let LogConfig { format, level } = config;
    let filter: Targets = level.parse()?;
    let lines = fmt::layer().with_writer(Lines);
    let layer = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// What waits for the thread that writes.
enum Job {
    Line(Vec<u8>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Job>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// From now on nobody who logs waits for the log. Starts a thread, so it has its place behind the sandbox's begin.
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

fn write_lines(jobs: &Receiver<Job>) {
    loop {
        let job = jobs.try_recv().or_else(|_| {
            // All that waited is written.
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                warn!(lines = lost, "the log was not read in time: lines are lost");
            }
            jobs.recv()
        });
        match job {
            // Nobody could be told of an error.
            Ok(Job::Line(line)) => _ = io::stderr().write_all(&line),
            Ok(Job::Flush(done)) => _ = done.try_send(()),
            Err(_) => return,
        }
    }
}

/// Takes lines, one a call, as `fmt` gives them.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = one_line(text);
        match QUEUE.get() {
            None => io::stderr().write_all(&line)?,
            Some(queue) => {
                if queue.try_send(Job::Line(line)).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line that is one and stays one: what peers and backends say may be part of it, and must neither begin another line nor
/// speak to a terminal.
fn one_line(text: &[u8]) -> Vec<u8> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let shown = &text[..text.len().min(LONGEST)];
    let mut line = Vec::with_capacity(shown.len() + 4);
    for c in String::from_utf8_lossy(shown).chars() {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default().map(|c| u8::try_from(c).unwrap_or(b'?')));
        } else {
            line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    if shown.len() < text.len() {
        line.extend_from_slice("…".as_bytes());
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(String::from_utf8(one_line(text.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn a_line_stays_one_line() {
        check("plain é\tx\n", "plain é\tx\n");
        check("no\n2026 INFO forged\n", "no\\n2026 INFO forged\n");
        check("red \u{1b}[31m \u{9b}31m \r\n", "red \\u{1b}[31m \\u{9b}31m \\r\n");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let line = one_line("é".repeat(LONGEST).as_bytes());
        assert!(line.len() <= LONGEST + 8, "{}", line.len());
        assert!(line.ends_with("…\n".as_bytes()));
    }
}
