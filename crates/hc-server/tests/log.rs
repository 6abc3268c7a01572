//! The log as JSON keeps one schema, `docs/log.schema.json`: over a life of the real program, and
//! in each place that logs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hc_testkit::admin::ask_text;
use rig::{Rig, backend, wait_until};
use rustix::process::Signal;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema() -> Value {
    let text = fs::read_to_string(root().join("docs/log.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What is wrong with `value` by `schema`, whose keywords are those that the schema of the log has:
/// one that is not known here ends the test, since it would say nothing.
fn problems(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (keyword, says) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" => true,
            "type" => match says.as_str().unwrap() {
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "object" => value.is_object(),
                other => panic!("type {other}"),
            },
            "enum" => says.as_array().unwrap().contains(value),
            // Of what is of another type these say nothing.
            "minimum" => value.as_f64().is_none_or(|number| Some(number) >= says.as_f64()),
            "minLength" => value.as_str().is_none_or(|text| Some(text.len() as u64) >= says.as_u64()),
            "format" if says == "date-time" => {
                value.as_str().is_none_or(|time| humantime::parse_rfc3339(time).is_ok())
            }
            "required" => {
                says.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, of_key) in says.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        problems.extend(self::problems(of_key, value, &format!("{at}.{key}")));
                    }
                }
                true
            }
            other => panic!("the test does not know the keyword {other:?} of the schema"),
        };
        if !holds {
            problems.push(format!("{at}: {keyword} {says} does not hold for {value}"));
        }
    }
    problems
}

/// Holds one line against the schema. A line of hc-server itself has no field that the schema does
/// not have.
#[track_caller]
fn is_valid(schema: &Value, line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut wrong = problems(schema, &value, "line");
    if value["target"].as_str().is_some_and(|target| target.starts_with("hc_")) {
        let known = schema["properties"].as_object().unwrap();
        let keys = value.as_object().unwrap().keys();
        wrong.extend(keys.filter(|key| !known.contains_key(*key)).map(|key| format!("{key} is unknown")));
    }
    assert!(wrong.is_empty(), "{wrong:?}\n{line}");
    value
}

#[test]
fn what_breaks_the_schema_is_found() {
    let schema = schema();
    let line = |more: &str| {
        let text = format!(
            "{{\"timestamp\":\"2026-01-02T03:04:05.678901Z\",\"level\":\"INFO\",\"message\":\"m\",\"target\":\"hc_server\"{more}}}"
        );
        problems(&schema, &serde_json::from_str(&text).unwrap(), "line")
    };
    assert_eq!(line(""), Vec::<String>::new());
    assert_eq!(line(",\"id\":7").len(), 1, "an id is text");
    assert_eq!(line(",\"checks\":\"7\"").len(), 1);
    assert_eq!(line(",\"checks\":-1").len(), 1);
    assert_eq!(line(",\"level\":\"info\"").len(), 1);
    assert_eq!(line(",\"timestamp\":\"yesterday\"").len(), 1);
    assert_eq!(problems(&schema, &serde_json::json!({}), "line").len(), 1);
}

fn checks(port: u16, more: &str) -> String {
    format!(
        "[defaults]\ninterval = \"100ms\"\nfall = 1\n[[check]]\nname = \"web\"\ntarget = \"127.0.0.1:{port}\"\ntcp = {{}}\n{more}"
    )
}

#[test]
fn each_line_of_a_life_keeps_to_the_schema() {
    let first = backend();
    let address = first.address();
    let file = |dir: &Path| dir.join("checks.toml");
    let mut rig = Rig::start(|dir| {
        fs::write(file(dir), checks(address.port(), "")).unwrap();
        format!(
            "[source]\nkind = \"file\"\nfiles = [{:?}]\n[state]\ninterval = \"50ms\"\n[log]\nformat = \"json\"\nlevel = \"info,hc_manager=debug\"\n\
             [[sink]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n",
            file(dir)
        )
    });
    let logged = |message: &str| {
        let quoted = format!("\"message\":\"{message}");
        rig.log().matches(&quoted).count()
    };
    let wait = |message: &str, times: usize| wait_until(message, || logged(message) >= times);
    let reload = || ask_text(&rig.path("hc-admin.sock"), "POST /api/v1/reload", "").0;
    wait("ready", 1);
    wait("health changed", 1);
    drop(first);
    wait("health changed", 2);
    let _second = hc_testkit::backend::Backend::start_at(address, Vec::new()).unwrap();
    wait("health changed", 3);
    let more = format!("[[check]]\nname = \"web2\"\ntarget = \"127.0.0.2:{}\"\ntcp = {{}}\n", address.port());
    fs::write(file(rig.dir.path()), checks(address.port(), &more)).unwrap();
    assert_eq!(reload(), 200);
    wait("the files of checks were read again", 1);
    fs::write(file(rig.dir.path()), "[[check]]\nnam = 1\n").unwrap();
    assert_eq!(reload(), 409);
    wait("the old checks stand", 1);
    wait("batch not delivered; trying again", 1);
    let pid = rustix::process::Pid::from_raw(rig.server.id().try_into().unwrap()).unwrap();
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    signal(Signal::USR1);
    wait("state: checks", 1);
    signal(Signal::ALARM);
    wait("signal ignored", 1);
    assert!(rig.server.terminate().success());

    let (schema, log) = (schema(), rig.log());
    let lines: Vec<Value> = log.lines().map(|line| is_valid(&schema, line)).collect();
    let messages: BTreeSet<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    for message in [
        "ready",
        "in the sandbox",
        "checks come from files",
        "set of checks in effect",
        "health changed",
        "probe ended",
        "the files of checks are wrong",
        "state: news for the engine",
        "signal ignored",
        "stopping",
        "stopped",
    ] {
        assert!(messages.contains(message), "{message} in {messages:?}");
    }
    let changed = |line: &&Value| line["message"] == "health changed";
    let change = lines.iter().find(changed).unwrap();
    assert_eq!(
        (&change["from"], &change["to"], &change["label"]),
        (&"unknown".into(), &"healthy".into(), &"pass".into())
    );
    assert!(change["id"].as_str().unwrap().parse::<u64>().is_ok());
}

/// The arguments of each line in a source file that logs, as text.
fn calls(source: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for name in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for (at, _) in source.match_indices(name) {
            let is_macro = !source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_macro {
                calls.push(arguments(&source[at + name.len()..]));
            }
        }
    }
    calls
}

/// What stands between commas, up to the bracket that closes.
fn arguments(text: &str) -> Vec<String> {
    let (mut all, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0_usize, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        all.last_mut().unwrap().push(c);
    }
    all.iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}

/// The name of a field: `name = value`, `name`, `%name` or `?name`. `None` for the message.
fn field(argument: &str) -> Option<&str> {
    let name = argument.split_once(" = ").map_or(argument, |(name, _)| name).trim_start_matches(['%', '?']);
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    is_name.then_some(name)
}

fn sources(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

#[test]
fn every_field_that_the_program_logs_is_in_the_schema() {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        sources(&entry.unwrap().path().join("src"), &mut files);
    }
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        for name in calls(&source).iter().flatten().filter_map(|argument| field(argument)) {
            found.entry(name.to_owned()).or_insert_with(|| path.clone());
        }
    }
    assert!(found.len() > 50, "{found:?}");
    let schema = schema();
    let known = schema["properties"].as_object().unwrap();
    let missing: Vec<_> = found.iter().filter(|(name, _)| !known.contains_key(*name)).collect();
    assert!(missing.is_empty(), "these fields are not in docs/log.schema.json: {missing:?}");
    let always = ["timestamp", "level", "message", "target"];
    for taken in always {
        assert!(!found.contains_key(taken), "a field {taken} would be there twice: {:?}", found[taken]);
    }
    let stale: Vec<_> =
        known.keys().filter(|name| !always.contains(&name.as_str()) && !found.contains_key(*name)).collect();
    assert!(stale.is_empty(), "nobody logs these: {stale:?}");
}
