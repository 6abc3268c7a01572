//! Running other programs: what is run is shown, and what fails is named.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

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

/// Runs a program to its end with our standard output and error. Its standard input is empty: nothing here asks.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = shown(command);
    println!("$ {text}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
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

/// Runs a program and hands each line of its standard output to `line` while it runs. Returns whether it succeeded.
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

/// Where a program is found: in `PATH`, or in the places of system programs that `PATH` of a plain user lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
