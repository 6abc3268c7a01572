//! hcctl where no server runs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A file of checks in `dir`.
fn file(dir: &Path, name: &str, checks: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, checks).unwrap();
    path.to_str().unwrap().to_owned()
}

fn alone(args: &[&str]) -> (String, i32) {
    let mut hcctl = Command::new(env!("CARGO_BIN_EXE_hcctl"));
    let Output { status, stdout, stderr } =
        hcctl.args(["--socket", "/nowhere/hc.sock"]).args(args).output().unwrap();
    (String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap(), status.code().unwrap())
}

#[test]
fn without_a_server_it_cannot_be_told() {
    let hcctl = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_hcctl")).args(args).output().unwrap();
    let output = hcctl(&["--socket", "/nowhere/hc.sock", "status"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("hcctl: cannot reach hc-server at /nowhere/hc.sock"), "{words}");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(hcctl(&["statsu"]).status.code(), Some(2));
    let output = hcctl(&["completions", "bash"]);
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("log-level"));
    let dir = tempfile::tempdir().unwrap();
    assert!(hcctl(&["man", dir.path().to_str().unwrap()]).status.success());
    assert!(dir.path().join("hcctl-status.1").exists());
}

#[test]
fn files_of_checks_are_validated_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let right = file(
        dir.path(),
        "right.toml",
        "[[check]]\nname = 'a'\ntarget = ['192.0.2.0/30', 'h.example']\nport = 80\ntcp = {}\n",
    );
    assert_eq!(alone(&["validate", &right]), ("right: 2 checks, and 1 of host names\n".to_owned(), 0));
    let wrong = file(dir.path(), "wro[n]g.toml", "[[check]]\nnam = 'a'\ntarget = '192.0.2.300'\nicmp = {}\n");
    let (text, status) = alone(&["validate", &right, &wrong]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), status), (3, 1), "{text}");
    assert!(lines.iter().all(|line| line.starts_with(&wrong)), "a file that is there is no glob: {text}");
    assert!(text.contains(":2:1: check.nam: is not a key of this table; did you mean `name`?"), "{text}");
    let (text, status) = alone(&["--json", "validate", &wrong]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["right"], &value["problems"][2]["line"], status),
        (&json!(false), &json!(3), 1),
        "{text}"
    );
    let (text, status) = alone(&["validate", &format!("{}/*.none", dir.path().display())]);
    assert!(status == 1 && text.contains("matches no file"), "{text}");
    let (text, status) = alone(&["validate", dir.path().to_str().unwrap()]);
    assert!(status == 1 && text.contains("is a directory"), "{text}");
    assert_eq!(alone(&["validate", "--max-checks", "2", &right]).1, 1);
    assert_eq!(alone(&["validate"]).1, 2);
}

#[test]
fn a_plan_without_a_server_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let files = file(dir.path(), "a.toml", "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\nicmp = {}\n");
    let (text, status) = alone(&["plan", &files]);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("1 checks\nprobes a second:    0.1\nsockets:            0 at once"), "{text}");
    let words =
        "How the running checks would change is not known: cannot reach hc-server at /nowhere/hc.sock";
    assert!(text.contains(words), "{text}");
    let (text, _) = alone(&["--json", "plan", &files]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(
        value["changes"].is_null() && value["no_server"].as_str().unwrap().contains("/nowhere"),
        "{text}"
    );
    assert_eq!(value["detection_seconds"], json!({ "mean": 10.0, "worst": 15.0, "slowest": "a" }));
}

/// The page of all commands, and that nothing is left out of it: help names every command too.
#[test]
fn the_reference_is_current() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/hcctl.md");
    let page = std::fs::read_to_string(docs).unwrap();
    let made =
        Command::new(env!("CARGO_BIN_EXE_hcctl")).arg("reference").env_clear().output().unwrap().stdout;
    assert!(page.as_bytes() == made, "docs/reference/hcctl.md is stale: run `cargo xtask reference`");
    let (help, _) = alone(&["--help"]);
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter_map(|line| {
            line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("    "))
        })
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 8, "{help}");
    for name in names {
        let heading = format!("\n## `hcctl {name}");
        assert!(page.contains(&heading), "{name} is not in the page");
        let (help, _) = alone(&[name, "--help"]);
        for option in help.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if !["help", "version"].contains(&option) {
                assert!(page.contains(&format!("| `--{option}")), "--{option} of {name} is not in the page");
            }
        }
    }
}
