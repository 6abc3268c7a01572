use std::path::Path;

use super::*;
use crate::config::{Config, ConfigError};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/hc.toml"), text, std::iter::empty())
}

#[track_caller]
fn rejected(text: &str, words: &[&str]) {
    let error = parse(text).unwrap_err().to_string();
    for word in ["/etc/hc.toml: "].iter().chain(words) {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

/// A sink of this kind, with these lines from line 4 on.
#[track_caller]
fn wrong(kind: &str, lines: &str, words: &[&str]) {
    rejected(&format!("[[sink]]\nname = \"x\"\nkind = \"{kind}\"\n{lines}\n"), words);
}

#[test]
fn every_key_reads() {
    let config = parse(
        r#"
        [[sink]]
        name = "events"
        kind = "log"
        names = ["web-*", "db-?"]
        labels = { site = "ams" }
        groups = ["frontend"]
        batch_delay = "0s"
        batch_size = 10
        interval = "1m"
        path = "/var/log/x"
        mode = "0600"
        [[sink]]
        name = "state"
        kind = "state-file"
        path = "/run/x/state.json"
        write_interval = "5s"
        [[sink]]
        name = "hook"
        kind = "webhook"
        url = "https://example.com/x"
        secret_file = "/etc/x/secret"
        ca_file = "/etc/x/ca.pem"
        timeout = "1s"
        [[sink]]
        name = "script"
        kind = "command"
        command = ["/bin/x", "-v"]
        run = "batch"
        timeout = "1s"
        [[sink]]
        name = "lb"
        kind = "haproxy"
        socket = "/run/haproxy/admin.sock"
        server = "b/{name}"
        [[sink]]
        name = "lb2"
        kind = "haproxy"
        socket = "127.0.0.1:9999"
        [[sink]]
        name = "agent"
        kind = "haproxy-agent"
        listen = "[::1]:9998"
        "#,
    )
    .unwrap();
    assert_eq!(config.sinks.len(), 7);
    assert_eq!(plans(&config.sinks).unwrap().len(), 7);
}

#[test]
fn errors_name_file_line_and_key() {
    rejected("[[sink]]\nkind = \"log\"\n", &["line 1", "name"]);
    rejected("[[sink]]\nname = \"x\"\n", &["line 1", "kind"]);
    rejected("[[sink]]\nname = \"x\"\nkind = \"pager\"\n", &["line 3", "kind", "pager", "webhook"]);
    wrong("log", "paht = \"/x\"", &["line 4", "paht", "path"]);
    wrong("log", "mode = \"rw\"", &["line 4", "mode", "is not a file mode"]);
    wrong("log", "interval = \"0s\"", &["line 4", "interval", "must be above 0"]);
    wrong("log", "batch_size = 10001", &["line 4", "batch_size", "at most 10000"]);
    wrong("webhook", "url = \"ftp://x\"", &["line 4", "url", "http://"]);
    wrong("webhook", "url = \"http://u:p@x/\"", &["line 4", "url", "user name"]);
    wrong("haproxy", "socket = \"admin.sock\"", &["line 4", "socket", "neither an absolute path nor"]);
    wrong("haproxy", "server = \"{nam}\"", &["line 4", "server", "{nam}"]);
    wrong("haproxy-agent", "listen = \"9998\"", &["line 4", "listen"]);
    // What is right by itself and wrong together.
    wrong("state-file", "", &["line 1, column 1: sink \"x\": `path`: is needed"]);
    wrong("webhook", "", &["`url`: is needed"]);
    wrong("command", "", &["`command`: is needed"]);
    wrong("haproxy", "", &["`socket`: is needed"]);
    wrong("haproxy-agent", "", &["`listen`: is needed"]);
    wrong("log", "  path = \"x.log\"", &["line 4, column 3: sink \"x\": `path`: is not the absolute path"]);
    wrong("command", "command = []", &["line 4", "`command`: does not begin with the absolute path"]);
    wrong("command", "command = [\"sh\"]", &["line 4", "does not begin with the absolute path"]);
    wrong("command", "command = [\"/bin/sh\", \"a\\u0000\"]", &["line 4", "zero byte"]);
    wrong("command", "command = [\"/bin/sh\"]\nbatch_size = 2", &["line 5", "`batch_size`: only with"]);
    wrong(
        "log",
        "url = \"http://x/\"",
        &["line 4", "`url`: a sink of kind \"log\" has no such key, but path, mode"],
    );
}

#[test]
fn names_are_told_apart() {
    for name in ["", "a b", "é", "hc-proxy", "consumer-1"] {
        rejected(&format!("[[sink]]\nname = \"{name}\"\nkind = \"log\"\n"), &["line 2", "`name`: "]);
    }
    let twice = "[[sink]]\nname = \"x\"\nkind = \"log\"\n".repeat(2);
    rejected(&twice, &["line 5, column 1: sink \"x\": `name`: another sink has it"]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = "[[sink]]\nname = \"a\"\nkind = \"webhook\"\npath = \"/x\"\n[[sink]]\nname = \"b\"\nkind = \"command\"\n";
    rejected(
        text,
        &[
            "line 4, column 1: sink \"a\": `path`",
            "`url`: is needed",
            "line 5, column 1: sink \"b\": `command`",
        ],
    );
}

#[test]
fn files_that_are_not_as_they_should_be_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hc.toml");
    let here = dir.path().display();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    let check = |kind: &str, lines: &str, words: &[&str]| {
        let text = format!(
            "[[sink]]\nname = \"x\"\nkind = \"{kind}\"\n{}\n",
            lines.replace("HERE", &here.to_string())
        );
        std::fs::write(&path, text).unwrap();
        let error = Config::load(Some(&path), std::iter::empty()).unwrap_err().to_string();
        for word in [&*path.to_string_lossy()].iter().chain(words) {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    };
    check("state-file", "path = \"HERE/none/state\"", &["line 4", "`path`", "/none: No such file"]);
    check("state-file", "path = \"HERE\"", &["line 4", "`path`", "is a directory"]);
    check("log", "path = \"HERE/hc.toml/x\"", &["line 4", "`path`", "hc.toml is not a directory"]);
    let hook = "url = \"http://127.0.0.1/\"\n";
    check(
        "webhook",
        &format!("{hook}secret_file = \"HERE/none\""),
        &["line 5", "`secret_file`", "No such file"],
    );
    check(
        "webhook",
        &format!("{hook}secret_file = \"HERE/empty\""),
        &["line 5", "`secret_file`", "is empty"],
    );
    check(
        "webhook",
        &format!("{hook}secret_file = \"HERE\""),
        &["line 5", "`secret_file`", "Is a directory"],
    );
    check("webhook", &format!("{hook}ca_file = \"HERE/empty\""), &["line 5", "`ca_file`", "no certificate"]);
    check("webhook", &format!("{hook}ca_file = \"HERE\""), &["line 5", "`ca_file`"]);
    check("command", "command = [\"HERE/none\"]", &["line 4", "`command`", "No such file"]);
    check("command", "command = [\"HERE/empty\"]", &["line 4", "`command`", "is not a program"]);
}
