//! `docs/quickstart.md`: every console block is run as it stands, in one shell, in namespaces of its own, since the page has ports.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long the whole page may take.
const LIMIT: &str = "120";

/// What stands between the outputs of two commands.
const MARK: &str = "--- the next command ---";

/// A command, and the lines that the page shows below it.
#[derive(Debug, Default)]
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), shown: Vec::new() });
            continue;
        }
        let step = steps.last_mut().unwrap();
        match line.strip_prefix("> ").or((line == ">").then_some("")) {
            Some(more) => write!(step.command, "\n{more}").unwrap(),
            None => step.shown.push(line.to_owned()),
        }
    }
    steps
}

/// Whether a line is as the page shows it: `…` stands for anything, and blanks for any number of them.
fn is_as_shown(line: &str, shown: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, shown) = (plain(line), plain(shown));
    let parts: Vec<&str> = shown.split('…').map(str::trim).collect();
    let [first, middle @ ..] = &parts[..] else { return false };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    if middle.is_empty() {
        return rest.is_empty();
    }
    middle.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// hcctl, beside hc-server.
fn hcctl() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_hc-server"));
    let folder = server.parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = folder.parent().unwrap();
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "hcctl", "--bin", "hcctl", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "hcctl does not build");
    folder.join("hcctl")
}

#[test]
fn lines_are_compared_as_the_page_shows_them() {
    assert!(is_as_shown("web/a  healthy  3s   http", "web/a  healthy  …  http"));
    assert!(is_as_shown("result:   TCP; connection refused", "result:  …connection refused"));
    assert!(!is_as_shown("web/b  healthy  3s  http", "web/a  healthy  …"));
    assert!(!is_as_shown("right: 2 checks, and 1 of host names", "right: 2 checks"));
}

#[test]
fn every_block_of_the_page_runs() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, for namespaces");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/quickstart.md");
    let steps = steps(&std::fs::read_to_string(page).unwrap());
    assert!(steps.len() > 20, "{steps:?}");
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in [PathBuf::from(env!("CARGO_BIN_EXE_hc-server")), hcctl()] {
        std::os::unix::fs::symlink(&program, bin.join(program.file_name().unwrap())).unwrap();
    }
    let mut script = "ip link set lo up\n".to_owned();
    for step in &steps {
        writeln!(script, "{}\necho '{MARK}'", step.command).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // All that it starts ends with it.
    let mut shell = Command::new("timeout")
        .args(["--signal", "KILL", LIMIT, "unshare", "--net", "--pid", "--fork", "--kill-child", "bash"])
        .current_dir(dir.path())
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(dir.path().join("output")).unwrap())
        .stderr(std::fs::File::create(dir.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let status = shell.wait().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let (output, stderr) = (read("output"), read("stderr"));
    let logs = format!("{output}\n{stderr}\n{}", read("quickstart/hc-server.log"));
    let outputs: Vec<&str> = output.split(&format!("{MARK}\n")).collect();
    assert_eq!(outputs.len(), steps.len() + 1, "{status}; it ended before the end of the page:\n{logs}");
    for (step, output) in steps.iter().zip(outputs) {
        // Standard error is shown for one command, which says nothing else.
        let all = if output.is_empty() { &stderr } else { output };
        let mut lines = all.lines();
        for shown in &step.shown {
            let is_there = lines.any(|line| is_as_shown(line, shown));
            assert!(is_there, "`{}` does not print {shown:?} but:\n{all}\n{logs}", step.command);
        }
    }
}
