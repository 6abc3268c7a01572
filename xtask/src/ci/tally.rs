//! What test runners did: their exit code decides, their counts are shown.

use std::fmt;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use self::output::{CargoOutput, GoEvents, NodeOutput};
use crate::command::{self, REPEATED};
use crate::workspace::Workspace;

mod output;

/// What one or more test runners did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// Ignored or skipped by the test itself.
    skipped: u64,
    /// Whether a runner's exit code was not 0.
    runner_failed: bool,
    /// The runners' closing lines, one for each test program that has tests.
    lines: Vec<String>,
    /// The last lines of the output of what failed, to be repeated at the end.
    said: Vec<String>,
}

impl Tally {
    /// An error if a runner failed, or if no test ran.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self {
            Self { runner_failed: true, failed: 0, .. } => bail!("a test program was not built or crashed"),
            Self { runner_failed: true, failed, .. } => bail!("{failed} tests failed"),
            Self { passed: 0, .. } => bail!("no test ran"),
            _ => Ok(()),
        }
    }

    /// Whether any test ran, or could not.
    pub(crate) fn has_run(&self) -> bool {
        self.passed > 0 || self.runner_failed
    }

    /// Prints the closing lines of the runners, what failed tests said last, and the totals.
    pub(crate) fn print(&self) {
        self.lines.iter().for_each(|line| println!("{line}"));
        if !self.said.is_empty() {
            println!("what failed tests said last:\n{}", command::indented(&self.said));
        }
        println!("{self}");
    }

    /// For another process of ours; [`from_json`](Self::from_json) reads it.
    pub(crate) fn to_json(&self) -> Value {
        let Self { passed, failed, skipped, runner_failed, lines, said } = self;
        json!({
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "runner_failed": runner_failed,
            "lines": lines,
            "said": said,
        })
    }

    /// Reads what [`to_json`](Self::to_json) made. What is missing is 0, or none.
    pub(crate) fn from_json(value: &Value) -> Self {
        let count = |key: &str| value[key].as_u64().unwrap_or_default();
        let lines = |key: &str| {
            let lines = value[key].as_array().into_iter().flatten();
            lines.filter_map(Value::as_str).map(Into::into).collect()
        };
        Self {
            passed: count("passed"),
            failed: count("failed"),
            skipped: count("skipped"),
            runner_failed: value["runner_failed"].as_bool().unwrap_or_default(),
            lines: lines("lines"),
            said: lines("said"),
        }
    }

    fn say(&mut self, lines: &[String]) {
        self.said.extend_from_slice(&lines[lines.len().saturating_sub(REPEATED)..]);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.runner_failed |= other.runner_failed;
        self.lines.extend(other.lines);
        self.said.extend(other.said);
    }
}

/// Runs the tests of the packages that `selection` selects: the test programs, `at_once` at a time,
/// then the examples of the documentation. `cargo test` runs one program after the other, and most
/// of them wait most of the time.
pub(crate) fn cargo_tests(workspace: &Workspace, selection: &[&str], at_once: usize) -> Result<Tally> {
    let mut programs = Vec::new();
    let mut build = workspace.cargo();
    build.arg("test").args(selection).args(["--no-run", "--message-format=json-render-diagnostics"]);
    if !command::stream(&mut build, |line| programs.extend(TestProgram::read(line)))? {
        bail!("the test programs were not built");
    }
    // What takes long is better begun early.
    programs.sort_by_key(|program| (!program.is_long(), program.path.clone()));
    let mut tally = in_parallel(programs, at_once, |program| program.run(workspace))?;
    tally += cargo_test(workspace.cargo().arg("test").args(selection).args(["--doc", "--no-fail-fast"]))?;
    Ok(tally)
}

/// A program with tests that cargo has built.
struct TestProgram {
    path: PathBuf,
    /// The directory of its package, where cargo runs it.
    directory: PathBuf,
}

impl TestProgram {
    /// Reads one of cargo's messages.
    fn read(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["reason"] == "compiler-artifact" && message["profile"]["test"] == true).then_some(())?;
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        Some(Self { path: message["executable"].as_str()?.into(), directory })
    }

    /// As the file is called, without cargo's hash.
    fn name(&self) -> &str {
        let file = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        file.rsplit_once('-').map_or(file, |(name, _)| name)
    }

    fn is_long(&self) -> bool {
        LONG.contains(&self.name())
    }

    /// What it says is shown when it has ended, so that programs do not talk into each other.
    #[allow(clippy::disallowed_methods, reason = "we show how long tests take")]
    fn run(&self, workspace: &Workspace) -> Result<Tally> {
        let begin = Instant::now();
        let mut command = Command::new(&self.path);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command.env("HC_BIN", workspace.bin()).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {}", self.path.display()))?;
        let said = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .concat();
        let mut read = CargoOutput::default();
        said.lines().for_each(|line| read.line(line));
        let tally = read.end(output.status.success());
        if output.status.success() {
            println!("ok    {} {:.1} s: {tally}", self.name(), begin.elapsed().as_secs_f64());
        } else {
            println!("FAIL  {}: {}\n{said}", self.path.display(), output.status);
        }
        Ok(tally)
    }
}

/// Programs of ours that take ten seconds or more. One that is missing here is only begun late.
const LONG: &[&str] =
    &["seeds", "limits", "signals", "corpus", "process", "laws", "resolver", "proxy", "guard", "places"];

/// Does `work` for each item, `at_once` at a time and in this order, and returns the sum.
fn in_parallel<T: Send>(
    items: Vec<T>,
    at_once: usize,
    work: impl Fn(T) -> Result<Tally> + Sync,
) -> Result<Tally> {
    let waiting = Mutex::new(items.into_iter());
    let worker = || -> Result<Tally> {
        let mut sum = Tally::default();
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { return Ok(sum) };
            sum += work(item)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        let mut sum = Tally::default();
        for worker in workers {
            sum += worker.join().map_err(|_| anyhow!("a thread that ran tests panicked"))??;
        }
        Ok(sum)
    })
}

/// Runs `cargo test` and shows its output as it comes.
fn cargo_test(command: &mut Command) -> Result<Tally> {
    let mut output = CargoOutput::default();
    let succeeded = command::stream(command, |line| {
        println!("{line}");
        output.line(line);
    })?;
    Ok(output.end(succeeded))
}

/// Runs `go test -json` and shows a line for each package and the output of the tests that fail.
pub(crate) fn go_test(command: &mut Command) -> Result<Tally> {
    let mut events = GoEvents::default();
    let succeeded = command::stream(command, |line| print!("{}", events.line(line)))?;
    events.tally.runner_failed = !succeeded;
    Ok(events.tally)
}

/// Runs commands that write the events of `go test -json`, `at_once` at a time and in this order. A
/// command that fails ends no other. Each has a name for the line that says how it went.
#[allow(clippy::disallowed_methods, reason = "we show how long tests take")]
pub(crate) fn go_tests(commands: Vec<(String, Command)>, at_once: usize) -> Result<Tally> {
    in_parallel(commands, at_once, |(name, mut command)| {
        let begin = Instant::now();
        let mut tally = go_test(&mut command)?;
        let word = match &tally {
            Tally { runner_failed: false, failed: 0, passed: 0, skipped: 1.., .. } => "skip",
            tally if tally.verdict().is_ok() => "ok",
            _ => "FAIL",
        };
        let line = format!("{word:5} {name} {:.1} s", begin.elapsed().as_secs_f64());
        println!("{line}");
        tally.lines.push(line);
        Ok(tally)
    })
}

/// Runs `node --test` with the reporter `tap` and shows its output as it comes.
pub(crate) fn node_tests(command: &mut Command) -> Result<Tally> {
    let mut output = NodeOutput::default();
    let succeeded = command::stream(command, |line| {
        println!("{line}");
        output.line(line);
    })?;
    Ok(output.end(succeeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_test_programs_were_built() {
        let message = |executable: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/crates/a/Cargo.toml","profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let program = TestProgram::read(&message(r#""/t/deps/limits-0123456789abcdef""#, true)).unwrap();
        assert_eq!((program.name(), program.is_long()), ("limits", true));
        assert_eq!(program.directory, Path::new("/w/crates/a"));
        assert!(TestProgram::read(&message(r#""/t/hc-server""#, false)).is_none());
        assert!(TestProgram::read(&message("null", true)).is_none());
        assert!(TestProgram::read(r#"{"reason":"build-finished"}"#).is_none());
    }

    #[test]
    fn another_process_reads_all_of_a_tally() {
        let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
        let tally = Tally {
            passed: 3,
            failed: 2,
            skipped: 1,
            runner_failed: true,
            lines: words(["ok", "FAIL"]),
            said: words(["why", "and where"]),
        };
        assert_eq!(Tally::from_json(&tally.to_json()), tally);
    }

    #[test]
    fn commands_run_beside_each_other_and_one_failure_ends_no_other() {
        let pass = r#"{"Action":"pass","Package":"p","Test":"TestA"}"#;
        let fail = r#"{"Action":"fail","Package":"p","Test":"TestB"}"#;
        let commands = [(fail, 1), (pass, 0), (pass, 0)].map(|(event, code)| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("echo '{event}'; exit {code}")]);
            ("name".to_owned(), command)
        });
        let tally = go_tests(commands.into(), 2).unwrap();
        assert_eq!(tally.to_string(), "2 passed, 1 failed, 0 skipped");
        assert_eq!(tally.lines.len(), 3);
        tally.verdict().unwrap_err();
    }
}
