//! Programs that a test, a benchmark or the demo starts, and that end with it.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for what should come at once, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked at what nothing reports, such as the end of a process.
const LOOK: Duration = Duration::from_millis(5);

/// How many lines of a log are shown when something went wrong.
const TAIL: usize = 20;

/// A child that is killed when it is dropped, and the lines that it writes to standard output.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    reader: Option<JoinHandle<()>>,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts a program whose standard output is read and kept, and whose standard error is
    /// appended to `log`.
    ///
    /// # Panics
    /// When the program cannot be started; [`try_start`](Self::try_start) does not.
    #[track_caller]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        Self::try_start(command, log).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a program whose standard output is read and kept, and whose standard error is
    /// appended to `log`.
    ///
    /// # Errors
    /// When the program cannot be started or the log not be opened.
    pub fn try_start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let mut process = Self::spawn(command.stdout(Stdio::piped()), log)?;
        let output = Arc::clone(&process.output);
        process.reader = process.child.stdout.take().map(|stdout| {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    output.lock().push(line);
                    output.changed.notify_all();
                }
            })
        });
        Ok(process)
    }

    /// Starts a program all of whose output is appended to `log`.
    ///
    /// # Errors
    /// When the program cannot be started or the log not be opened.
    pub fn try_start_logged(command: &mut Command, log: &Path) -> io::Result<Self> {
        let file = open(log)?;
        Self::spawn(command.stdout(file), log)
    }

    fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let name =
            Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stderr(open(log)?)
            .spawn()
            .map_err(|error| named(&error, &format!("cannot start {name}")))?;
        Ok(Self { name, log: log.to_owned(), child, reader: None, output: Arc::default() })
    }

    /// Waits until a line at or after `from` is as wanted, and returns its number.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    #[track_caller]
    pub fn wait_line(&self, from: usize, what: &str, wanted: impl Fn(&str) -> bool) -> usize {
        let mut at = from;
        let found = self.wait_lines(PATIENCE, |lines| {
            at += lines.get(at..)?.iter().position(|line| wanted(line))?;
            Some(at)
        });
        found.unwrap_or_else(|| {
            let lines = self.lines();
            panic!("{what} did not come; lines since: {:#?}", &lines[from.min(lines.len())..])
        })
    }

    /// Waits until the lines so far satisfy `wanted`, for `limit` at most.
    pub fn wait_lines<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        let mut found = None;
        let waited = self.output.changed.wait_timeout_while(self.output.lock(), limit, |lines| {
            found = wanted(lines);
            found.is_none()
        });
        drop(waited);
        found
    }

    /// The lines of its standard output so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.lock().clone()
    }

    /// The line of this number, from 0.
    ///
    /// # Panics
    /// When there are not that many.
    #[track_caller]
    #[must_use]
    pub fn line(&self, at: usize) -> String {
        self.output.lock()[at].clone()
    }

    /// How many lines there are.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.output.lock().len()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if let Some(status) = self.ended()? {
            return Err(io::Error::other(format!("{} has ended: {status}", self.name)));
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[track_caller]
    pub fn kill(&mut self) {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM).unwrap_or_else(|error| panic!("{error}"));
        self.wait()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_end(PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for the end, for `limit` at most.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when it does not end.
    #[allow(clippy::disallowed_methods, reason = "the end of a real process is awaited in real time")]
    pub fn wait_end(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                let text = format!("{} did not end within {limit:?}", self.name);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(LOOK);
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|error| named(&error, &self.name))
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// When the system cannot say.
    #[track_caller]
    pub fn running(&mut self) -> bool {
        self.ended().unwrap_or_else(|error| panic!("{error}")).is_none()
    }

    /// The last lines of its log, under its name.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        format!("--- {}\n{}\n", self.name, lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a process that has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn open(log: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|error| named(&error, &format!("cannot write {}", log.display())))
}

fn named(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Waits until `done`, for `limit` at most. Returns whether it was.
#[allow(clippy::disallowed_methods, reason = "real processes are awaited in real time")]
pub fn wait_for(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

/// Waits until `done`.
///
/// # Panics
/// When it is not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(wait_for(PATIENCE, done), "{what}: not within {PATIENCE:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that runs `script`, with its log in a directory of its own.
    fn start(script: &str) -> Process {
        let log = std::env::temp_dir().join(format!("hc-testkit-{}-{script:.8}", std::process::id()));
        let process = Process::start(Command::new("sh").args(["-c", script]), &log);
        wait_until("the log", || log.exists());
        process
    }

    #[test]
    fn lines_are_kept_and_the_process_ends_on_sigterm() {
        let mut process = start("trap 'exit 3' TERM; echo one; echo two; while :; do sleep 0.01; done");
        assert_eq!(process.wait_line(0, "two", |line| line == "two"), 1);
        assert_eq!((process.line(0), process.mark()), ("one".to_owned(), 2));
        assert_eq!(process.terminate().code(), Some(3));
        let _ = fs::remove_file(&process.log);
    }

    #[test]
    fn the_log_of_a_process_that_ended_is_shown() {
        let mut process = start("echo oh no >&2; exit 1");
        assert_eq!(process.wait().code(), Some(1));
        assert_eq!(process.log_tail(), "--- sh\noh no\n");
        process.signal(Signal::TERM).unwrap_err();
        let _ = fs::remove_file(&process.log);
    }

    #[test]
    fn a_process_dies_with_its_value() {
        let process = start("exec sleep 1000");
        let (pid, log) = (Pid::from_child(&process.child), process.log.clone());
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
        let _ = fs::remove_file(log);
    }
}
