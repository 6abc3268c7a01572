//! Running other programs: what is run is shown, and what fails is named.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal as _, PipeReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The most lines of what failed that are repeated where it is told.
pub(crate) const REPEATED: usize = 40;

/// How long the rest of the output of a program that has ended is waited for.
const REST: Duration = Duration::from_secs(10);

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        text.push(' ');
        if arg.contains(' ') {
            text.push_str(&format!("'{arg}'"));
        } else {
            text.push_str(&arg);
        }
    }
    text
}

/// Runs a program to its end with our standard output and error. Its standard input is empty:
/// nothing here asks.
///
/// Where nobody watches, as in CI, all that it says goes to our standard output, and the error
/// repeats the last lines: of a long log the end may be all that is kept.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = shown(command);
    println!("$ {text}");
    command.stdin(Stdio::null());
    let (status, last) = if std::io::stdout().is_terminal() {
        (command.status().with_context(|| format!("cannot run `{text}`"))?, Vec::new())
    } else {
        record(command, REST).with_context(|| format!("cannot run `{text}`"))?
    };
    if status.success() {
        return Ok(());
    }
    if last.is_empty() {
        bail!("`{text}` failed: {status}");
    }
    bail!("`{text}` failed: {status}\n{}", indented(&last));
}

/// Lines one below the other, set off from what stands around them.
pub(crate) fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("    | {line}")).collect::<Vec<_>>().join("\n")
}

/// Runs a program, passes on what it says on either output, and returns the last of it. A program
/// that was left running in the background has the outputs, too; it is waited for no longer than
/// `rest`.
fn record(command: &mut Command, rest: Duration) -> Result<(ExitStatus, Vec<String>)> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command keeps its ends of the pipe as long as it lives, and the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let last = Arc::new(Mutex::new(VecDeque::new()));
    let (done, ended) = mpsc::sync_channel(1);
    thread::spawn({
        let last = Arc::clone(&last);
        move || {
            pass_on(reader, &last);
            let _ = done.send(());
        }
    });
    let status = child.wait()?;
    let _ = ended.recv_timeout(rest);
    let last = last.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
    Ok((status, last))
}

/// Prints what comes until the end, and keeps the last lines.
fn pass_on(reader: PipeReader, last: &Mutex<VecDeque<String>>) {
    for bytes in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&bytes).into_owned();
        println!("{line}");
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == REPEATED {
            last.pop_front();
        }
        last.push_back(line);
    }
}

/// Runs a program quietly and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{text}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{text}` failed: {}\n{}", output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{text}` wrote something that is not UTF-8"))
}

/// Runs a program and hands each line of its standard output to `line` while it runs. Returns
/// whether it succeeded.
pub(crate) fn stream(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let text = shown(command);
    println!("$ {text}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{text}`"))?;
    let stdout = child.stdout.take().context("standard output was piped")?;
    for bytes in BufReader::new(stdout).split(b'\n') {
        line(&String::from_utf8_lossy(&bytes.with_context(|| format!("cannot read what `{text}` says"))?));
    }
    Ok(child.wait().with_context(|| format!("cannot wait for `{text}`"))?.success())
}

/// Where a program is found: in `PATH`, or in the places of system programs that `PATH` of a plain
/// user lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_last_of_both_outputs_is_kept() {
        let (status, last) = record(&mut shell("seq 1 100; echo why >&2; exit 3"), REST).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(last.len(), REPEATED);
        assert_eq!(last[REPEATED - 2..], ["100", "why"]);
    }

    #[test]
    fn a_program_that_says_nothing_is_recorded_too() {
        let (status, last) = record(&mut shell("exit 0"), REST).unwrap();
        assert!(status.success() && last.is_empty());
    }

    #[test]
    fn the_end_does_not_wait_for_what_is_left_in_the_background() {
        // `cat` waits for the end of a pipe that this test holds open.
        let (held, _holder) = std::io::pipe().unwrap();
        let mut command = shell("exec 3<&0; echo why; cat <&3 & exit 3");
        command.stdin(held);
        let (status, last) = record(&mut command, Duration::from_secs(1)).unwrap();
        assert_eq!((status.code(), last), (Some(3), vec!["why".to_owned()]));
    }
}
