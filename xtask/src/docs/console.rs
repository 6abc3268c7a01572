//! Runs the console blocks of a page as they stand, in one shell, in namespaces of its own, since
//! pages have ports.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::page::Page;

/// How many seconds a page may take.
const LIMIT: &str = "120";

/// What stands behind the output of each command, before its exit status.
const MARK: &str = "--- ended with ";

/// A command, and the lines that the page shows below it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(page: &Page) -> Vec<Step> {
    let blocks = page.blocks.iter().filter(|block| block.info == "console");
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks.flat_map(|block| block.text.lines()) {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), shown: Vec::new() });
            continue;
        }
        // The first line is a command, which another check sees to.
        let Some(step) = steps.last_mut() else { continue };
        match line.strip_prefix("> ").or((line == ">").then_some("")) {
            Some(more) => {
                step.command.push('\n');
                step.command.push_str(more);
            }
            None => step.shown.push(line.to_owned()),
        }
    }
    steps
}

/// Whether a line is as the page shows it: `…` stands for anything, and blanks for any number of
/// them.
fn is_as_shown(line: &str, shown: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, shown) = (plain(line), plain(shown));
    let parts: Vec<&str> = shown.split('…').map(str::trim).collect();
    let [first, middle @ .., last] = &parts[..] else { return line == shown };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    middle.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    }) && rest.ends_with(last)
}

/// Runs the commands of a page with the programs of `bin` before all others, and returns how many
/// there are.
///
/// # Errors
/// When one does not print what the page shows, or fails and the page shows nothing: pages show
/// failures, too, but then they show what the command says.
pub(super) fn run(page: &Page, bin: &Path) -> Result<usize> {
    let steps = steps(page);
    if steps.is_empty() {
        return Ok(0);
    }
    let dir = tempfile::tempdir().context("cannot make a directory")?;
    let mut script = "ip link set lo up\n".to_owned();
    for step in &steps {
        writeln!(script, "{}\necho \"{MARK}$?\"", step.command)?;
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let (output, stderr) = (dir.path().join("output"), dir.path().join("stderr"));
    // All that it starts ends with it.
    let mut shell = Command::new("timeout")
        .args(["--signal", "KILL", LIMIT, "unshare", "--net", "--pid", "--fork", "--kill-child", "bash"])
        .current_dir(dir.path())
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(File::create(&output)?)
        .stderr(File::create(&stderr)?)
        .spawn()
        .context("cannot start a shell")?;
    shell.stdin.take().context("standard input was piped")?.write_all(script.as_bytes())?;
    let status = shell.wait()?;
    let read = |file: &Path| {
        fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let (output, stderr) = (read(&output), read(&stderr));
    let name = page.path.display();
    // Of each step, and behind it how it ended, up to the line after it.
    let mut outputs = output.split(MARK);
    let mut begin = outputs.next().unwrap_or_default();
    let mut ends = Vec::new();
    for part in outputs {
        let (status, next) = part.split_once('\n').unwrap_or((part, ""));
        ends.push((begin, status));
        begin = next;
    }
    if ends.len() != steps.len() {
        bail!(
            "{name}: {status}; it ended before the end of the page:\n{output}\n{stderr}{}",
            logs(dir.path())
        );
    }
    for (step, (output, status)) in steps.iter().zip(ends) {
        if step.shown.is_empty() && status != "0" {
            bail!("{name}: `{}` ends with {status}:\n{output}\n{stderr}{}", step.command, logs(dir.path()));
        }
        // Standard error is shown for one command, which says nothing else.
        let all = if output.is_empty() { &stderr } else { output };
        let mut lines = all.lines();
        for shown in &step.shown {
            if !lines.any(|line| is_as_shown(line, shown)) {
                let command = &step.command;
                bail!(
                    "{name}: `{command}` does not print {shown:?} but:\n{all}\n{stderr}{}",
                    logs(dir.path())
                );
            }
        }
    }
    Ok(steps.len())
}

/// What the programs of a page have logged, in files in its directory or one below.
fn logs(dir: &Path) -> String {
    let mut text = String::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "log") {
                let log = fs::read(&path).unwrap_or_default();
                text.push_str(&format!("\n--- {}\n{}", path.display(), String::from_utf8_lossy(&log)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_as_the_page_shows_them() {
        assert!(is_as_shown("web/a  healthy  3s   http", "web/a  healthy  …  http"));
        assert!(is_as_shown("result:   TCP; connection refused", "result:  …connection refused"));
        assert!(!is_as_shown("web/b  healthy  3s  http", "web/a  healthy  …"));
        assert!(!is_as_shown("right: 2 checks, and 1 of host names", "right: 2 checks"));
        assert!(is_as_shown("web/a  healthy  3s  http", "…  3s  …"));
        assert!(!is_as_shown("web/a  healthy  3s  http, and more", "web/a  …  http"));
    }

    #[test]
    fn blocks_that_are_not_run_are_left_out() {
        let text = "```console\n$ cat <<END\n> a\n>\n> END\na\n```\n\n```console,not-run\n$ rm -r /\n```\n";
        let page = Page::parse(Path::new("p.md"), text);
        let step = Step { command: "cat <<END\na\n\nEND".to_owned(), shown: vec!["a".to_owned()] };
        assert_eq!(steps(&page), [step]);
    }

    #[test]
    fn what_a_page_shows_must_be_printed() {
        let right = Page::parse(Path::new("p.md"), "```console\n$ echo one; echo two\ntwo\n```\n");
        assert_eq!(run(&right, Path::new("/nowhere")).unwrap(), 1);
        let wrong = Page::parse(Path::new("p.md"), "```console\n$ echo one\ntwo\n```\n");
        let error = run(&wrong, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("p.md: `echo one` does not print \"two\" but:\none\n"), "{error}");
        let failed = Page::parse(Path::new("p.md"), "```console\n$ false | true\n$ (exit 3)\n```\n");
        let error = run(&failed, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("p.md: `(exit 3)` ends with 3:"), "{error}");
        let shown = Page::parse(Path::new("p.md"), "```console\n$ echo one; false\none\n```\n");
        assert_eq!(run(&shown, Path::new("/nowhere")).unwrap(), 1, "a failure that is shown");
    }
}
