//! Runs steps: each in turn where the whole machine is its own, two at a time where most of each is
//! waiting.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::report::{Done, Report, seconds};
use super::{Load, Run, Step};
use crate::integration::our_program;
use crate::setup;
use crate::workspace::Workspace;

/// The option of `cargo xtask ci` by which a process is told to run one step for another process.
pub(super) const REPORT: &str = "--report";

/// Runs the steps, at most `jobs` at a time, and begins them in this order.
///
/// Beside others a step runs in a process of its own, whose output is shown when it has ended, so
/// that steps do not talk into each other.
#[allow(clippy::disallowed_methods, reason = "we show how long steps take")]
pub(super) fn all(workspace: &Workspace, steps: &[&Step], jobs: usize, keep_going: bool) -> Result<Report> {
    let begin = Instant::now();
    let places = Places { jobs, state: Mutex::default(), changed: Condvar::new() };
    thread::scope(|scope| {
        for (index, step) in steps.iter().enumerate() {
            let Some(place) = places.take(step.load, keep_going) else { break };
            println!("\n=== {} ({} of {}): {}", step.name, index + 1, steps.len(), step.shows);
            if jobs == 1 || step.load == Load::Whole {
                place.leave(here(workspace, step));
            } else {
                scope.spawn(move || place.leave(elsewhere(workspace, step)));
            }
        }
    });
    let done = places.state.into_inner().unwrap_or_else(PoisonError::into_inner).done;
    Ok(Report { left_out: steps.len() - done.len(), done, took: begin.elapsed() })
}

/// How many steps run, and how those went that have ended.
struct Places {
    jobs: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    done: Vec<Done>,
}

/// A step's permission to run.
struct Place<'a>(&'a Places);

impl Places {
    /// Waits until a step of this kind may run. `None`: none may any more, since one has failed.
    fn take(&self, load: Load, keep_going: bool) -> Option<Place<'_>> {
        let most = match load {
            Load::Whole => 0,
            Load::Part => self.jobs - 1,
        };
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self
            .changed
            .wait_while(state, |state| state.running > most)
            .unwrap_or_else(PoisonError::into_inner);
        if !keep_going && state.done.iter().any(|done| done.error.is_some()) {
            return None;
        }
        state.running += 1;
        Some(Place(self))
    }
}

impl Place<'_> {
    fn leave(self, done: Done) {
        match &done.error {
            None => println!("=== {}: ok, {}", done.name, seconds(done.took)),
            // The reason in full stands at the end.
            Some(error) => {
                let reason = error.lines().next().unwrap_or_default();
                println!("=== {}: FAILED, {}: {reason}", done.name, seconds(done.took));
            }
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        state.done.push(done);
        self.0.changed.notify_all();
    }
}

/// Runs a step in this process, on a machine that has what it needs. One that lacks it and cannot
/// get it fails this step alone.
#[allow(clippy::disallowed_methods, reason = "we show how long steps take")]
pub(super) fn here(workspace: &Workspace, step: &Step) -> Done {
    let (begin, cpu) = (Instant::now(), cpu_of_children());
    let result = setup::ensure(workspace, step.needs).and_then(|()| match step.run {
        Run::Check(check) => check(workspace).map(|()| None),
        Run::Tests(tests) => tests(workspace).map(Some),
    });
    let (error, tally) = match result {
        Ok(tally) => (tally.as_ref().and_then(|tally| tally.verdict().err()), tally),
        Err(error) => (Some(error), None),
    };
    Done {
        name: step.name.into(),
        took: begin.elapsed(),
        cpu: cpu_of_children().saturating_sub(cpu),
        error: error.map(|error| format!("{error:#}")),
        tally,
    }
}

/// Runs a step in a process of its own, and shows what it said when it has ended.
#[allow(clippy::disallowed_methods, reason = "we show how long steps take")]
fn elsewhere(workspace: &Workspace, step: &Step) -> Done {
    let begin = Instant::now();
    process(workspace, step.name).unwrap_or_else(|error| Done {
        name: step.name.into(),
        took: begin.elapsed(),
        cpu: Duration::ZERO,
        error: Some(format!("{error:#}")),
        tally: None,
    })
}

fn process(workspace: &Workspace, step: &str) -> Result<Done> {
    let directory = workspace.target().join("ci");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let (log, report) =
        (directory.join(step).with_extension("log"), directory.join(step).with_extension("json"));
    let _ = fs::remove_file(&report);
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = Command::new(our_program()?)
        .args(["ci", step, REPORT])
        .arg(&report)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot run ourselves")?;
    show(&log);
    // It succeeds whenever it has written its report.
    if !status.success() {
        bail!("its process ended early: {status}");
    }
    Done::read(&report)
}

/// Shows what a step said, in one piece.
fn show(log: &Path) {
    let said = fs::read(log).unwrap_or_default();
    print!("\n{}", String::from_utf8_lossy(&said));
}

/// Processor time of all children that have ended and were waited for, and of theirs. Zero where
/// the kernel does not say.
fn cpu_of_children() -> Duration {
    /// `USER_HZ` is 100 on every Linux.
    const TICK: Duration = Duration::from_millis(10);

    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which is field 2, may hold spaces. `cutime` and `cstime` are the fields 16 and 17 of
    // proc(5), so the 14th and 15th behind it.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').skip(13).take(2));
    fields.into_iter().flatten().filter_map(|ticks| ticks.parse::<u32>().ok()).map(|ticks| TICK * ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(error: Option<&str>) -> Done {
        let zero = Duration::ZERO;
        Done { name: "a".into(), took: zero, cpu: zero, error: error.map(Into::into), tally: None }
    }

    #[test]
    fn processor_time_of_children_grows() {
        let before = cpu_of_children();
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", spin]).status().unwrap().success());
        assert!(cpu_of_children() > before);
    }

    #[test]
    fn a_step_waits_for_its_place() {
        let places = Places { jobs: 2, state: Mutex::default(), changed: Condvar::new() };
        let take = |load| places.take(load, false).unwrap();
        let (first, second) = (take(Load::Part), take(Load::Part));
        let running = || places.state.lock().unwrap().running;
        thread::scope(|scope| {
            // Neither a third one nor one that wants the machine for itself has a place now, which the
            // order of what follows shows: `leave` is what lets them go on.
            let third = scope.spawn(|| take(Load::Part).leave(done(None)));
            first.leave(done(None));
            third.join().unwrap();
            assert_eq!(running(), 1);
            let whole = scope.spawn(|| {
                let place = take(Load::Whole);
                assert_eq!(running(), 1);
                place.leave(done(None));
            });
            second.leave(done(None));
            whole.join().unwrap();
        });
        assert_eq!(places.state.lock().unwrap().done.len(), 4);
    }

    #[test]
    fn after_a_failure_nothing_is_begun() {
        let places = Places { jobs: 2, state: Mutex::default(), changed: Condvar::new() };
        places.take(Load::Part, false).unwrap().leave(done(Some("why")));
        assert!(places.take(Load::Part, false).is_none());
        assert!(places.take(Load::Part, true).is_some());
    }
}
