//! The sinks of the configuration, of the real program in its sandbox.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use hc_testkit::admin::ask_text;
use rig::{Answer, Post, Receiver, Rig, backend, check, state_file, wait_until};
use serde_json::{Value, json};

#[test]
fn every_kind_at_once_beside_the_engine() {
    let receiver = Receiver::start(&[]);
    let hook = receiver.address;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut rig = Rig::start(|dir| {
        fs::write(dir.join("secret"), "hunter2\n").unwrap();
        let dir = dir.display();
        format!(
            r#"
            [[sink]]
            name = "events"
            kind = "log"
            path = "{dir}/events.log"
            [[sink]]
            name = "state"
            kind = "state-file"
            path = "{dir}/state.json"
            write_interval = "10ms"
            [[sink]]
            name = "hook"
            kind = "webhook"
            url = "http://{hook}/health?token=x"
            secret_file = "{dir}/secret"
            [[sink]]
            name = "script"
            kind = "command"
            command = ["/bin/sh", "-c", "echo $HC_ID $HC_HEALTH $HC_INITIAL >> {dir}/runs"]
            [[sink]]
            name = "batches"
            kind = "command"
            run = "batch"
            command = ["/bin/sh", "-c", "cat >> {dir}/batches; echo >> {dir}/batches"]
            [[sink]]
            name = "agent"
            kind = "haproxy-agent"
            listen = "127.0.0.1:{port}"
            server = "s{{id}}"
            [[sink]]
            name = "named"
            kind = "log"
            path = "{dir}/named.log"
            names = ["*"]
            "#
        )
    });
    let (first, second) = (backend(), backend());
    let mut engine = rig.engine(&json!([check(1, first.address()), check(2, second.address())]));
    engine.wait(1, "healthy");
    receiver.wait(2, "healthy");
    drop(first);
    engine.wait(1, "unhealthy");
    receiver.wait(1, "unhealthy");
    wait_until("the state file", || {
        state_file(&rig.path("state.json")) == [(1, "unhealthy".into()), (2, "healthy".into())].into()
    });
    let read = |name: &str| fs::read_to_string(rig.path(name)).unwrap_or_default();
    let states: Value = serde_json::from_str(&read("state.json")).unwrap();
    let since = |id: &str| {
        let shown: Value = serde_json::from_str(&rig.get(&format!("/api/v1/checks/{id}"))).unwrap();
        shown["since"].clone()
    };
    assert_eq!(states["checks"][0]["since"], since("1"), "{states}");
    assert_eq!(states["checks"][1]["since"], since("2"), "{states}");
    wait_until("the script ran", || read("runs").contains("1 unhealthy false\n"));
    assert!(read("runs").contains("1 healthy true\n") && read("runs").contains("2 healthy true\n"));
    wait_until("the batch ran", || read("batches").contains("\"unhealthy\""));
    wait_until("the log", || read("events.log").lines().count() == 3);
    let lines: Vec<Value> =
        read("events.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[2]["id"], &lines[2]["reason"]), (&json!("1"), &json!("refused")));
    let ask = |name: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        writeln!(stream, "{name}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!((&*ask("s1"), &*ask("s2"), &*ask("s3")), ("down\n", "up\n", "\n"));
    // Seesaw's checks have no names.
    assert!(!rig.path("named.log").exists());

    let post = receiver.posts().pop().unwrap();
    let signature = post.header("HC-Signature").unwrap();
    let seconds = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    let at = UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(signature, hc_sinks::sign(&"hunter2".into(), at, &post.body));
    assert!(post.head.starts_with("POST /health?token=x HTTP/1.1"));

    // What is removed is forgotten, and begins again as something new.
    engine.set(&json!([check(2, second.address())]));
    wait_until("the state file", || state_file(&rig.path("state.json")) == [(2, "healthy".into())].into());
    wait_until("the agent forgets", || ask("s1") == "\n");
    let other = backend();
    engine.set(&json!([check(1, other.address()), check(2, second.address())]));
    receiver.wait(1, "healthy");
    let events = receiver.posts().pop().unwrap().events();
    assert_eq!((&events[0]["id"], &events[0]["initial"]), (&json!("1"), &json!(true)));

    let metrics = rig.get("/metrics");
    for name in ["hc-proxy", "events", "state", "hook", "script", "batches", "agent", "named"] {
        assert!(metrics.contains(&format!("=\"{name}\"")), "{name}: {metrics}");
    }
    assert!(rig.log().contains("in the sandbox"));
    assert_eq!(rig.server.terminate().code(), Some(0), "{}", rig.log());
}

/// Overrides are events of a kind of their own: those who ask for them get them, and nobody else.
/// State files have them too.
#[test]
fn what_happens_to_overrides_is_told_to_those_who_ask_for_it() {
    let receiver = Receiver::start(&[Answer::Status(503)]);
    let hook = receiver.address;
    let rig = Rig::start(|dir| {
        let dir = dir.display();
        format!(
            r#"
            [[sink]]
            name = "hook"
            kind = "webhook"
            url = "http://{hook}/"
            events = ["override"]
            [[sink]]
            name = "log"
            kind = "log"
            path = "{dir}/log"
            events = ["health", "override"]
            [[sink]]
            name = "old"
            kind = "log"
            path = "{dir}/old"
            [[sink]]
            name = "script"
            kind = "command"
            command = ["/bin/sh", "-c", "echo $HC_EVENT $HC_CHANGE $HC_OVERRIDE $HC_NAME $HC_HEALTH $HC_BY >> {dir}/runs"]
            events = ["override"]
            [[sink]]
            name = "filtered"
            kind = "log"
            path = "{dir}/filtered"
            names = ["web-*"]
            events = ["override"]
            [[sink]]
            name = "state"
            kind = "state-file"
            path = "{dir}/state.json"
            write_interval = "10ms"
            "#
        )
    });
    let backend = backend();
    let engine = rig.engine(&json!([check(1, backend.address())]));
    engine.wait(1, "healthy");
    let read = |name: &str| fs::read_to_string(rig.path(name)).unwrap_or_default();
    wait_until("the first line", || read("log").lines().count() == 1);
    let post = |path: &str, body: Value| {
        let (status, answer) =
            ask_text(&rig.path("hc-admin.sock"), &format!("POST {path}"), &body.to_string());
        assert_eq!(status, 200, "{answer}");
    };
    let of = json!({"checks": ["1"]});
    let force = json!({"kind": "force", "health": "unhealthy", "of": of, "for": "1h", "reason": "a test"});
    post("/api/v1/overrides", force);
    // The file need not be there yet.
    let state =
        || serde_json::from_str::<Value>(&read("state.json")).unwrap_or_default()["checks"][0].clone();
    wait_until("the state file has it", || state()["overrides"][0]["reason"] == "a test");
    assert_eq!(
        (&state()["health"], &state()["overrides"][0]["kind"]),
        (&json!("unhealthy"), &json!("force"))
    );
    // Not overtaken by the end.
    wait_until("the logs", || read("log").lines().count() == 3 && read("old").lines().count() == 2);
    post("/api/v1/overrides/withdraw", json!({"kind": "force", "of": of}));
    wait_until("the state file has it no more", || state().get("overrides").is_none());
    // Healthy, unhealthy by force, healthy; and what happened to the force.
    wait_until("the log", || read("log").lines().count() == 5);
    wait_until("the commands ran", || read("runs").lines().count() == 2);
    let lines: Vec<Value> = read("log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (overrides, health): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["event"] == "override");
    assert_eq!((overrides.len(), health.len()), (2, 3), "{lines:?}");
    assert_eq!((&overrides[0]["change"], &overrides[1]["change"]), (&json!("set"), &json!("withdrawn")));
    assert_eq!(overrides[1]["override"]["ids"], json!(["1"]));
    assert_eq!(overrides[1]["ended_by"], overrides[0]["override"]["by"]);
    let by = overrides[1]["ended_by"].as_str().unwrap();
    let expected = ["set", "withdrawn"].map(|change| format!("override {change} force 1 unhealthy {by}\n"));
    assert_eq!(read("runs"), expected.concat());
    wait_until("the other log", || read("old").lines().count() == 3);
    assert!(!read("old").contains("override\":{"), "{}", read("old"));
    assert!(!rig.path("filtered").exists(), "Seesaw's checks have no names");
    // The first post was refused, and nothing of it is lost.
    let body = |post: &Post| serde_json::from_slice::<Value>(&post.body).unwrap();
    let bodies = || receiver.posts().iter().map(body).collect::<Vec<_>>();
    let length = |body: &Value| body["overrides"].as_array().unwrap().len();
    let changes = || bodies().iter().skip(1).map(length).sum::<usize>();
    wait_until("the webhook", || changes() >= 2);
    assert!(bodies().iter().all(|body| body["events"] == json!([])), "{:?}", bodies());

    // The same in the journal.
    let journal: Value = serde_json::from_str(&rig.get("/api/v1/transitions")).unwrap();
    let changes = journal["overrides"].as_array().unwrap().iter().map(|one| &one["change"]);
    assert_eq!(changes.collect::<Vec<_>>(), ["set", "withdrawn"]);
    assert_eq!(journal["transitions"].as_array().unwrap().len(), 1, "{journal}");
}

/// One request about more checks than the journal keeps: who hears of changes hears how many are
/// lost, and a state file has all of them.
#[test]
fn changes_of_overrides_that_are_lost_are_counted() {
    let receiver = Receiver::start(&[]);
    let hook = receiver.address;
    let mut rig = Rig::start(|dir| {
        let dir = dir.display();
        format!(
            r#"
            [admin]
            journal = 3
            [[sink]]
            name = "hook"
            kind = "webhook"
            url = "http://{hook}/"
            events = ["override"]
            [[sink]]
            name = "log"
            kind = "log"
            path = "{dir}/log"
            events = ["override"]
            [[sink]]
            name = "script"
            kind = "command"
            command = ["/bin/sh", "-c", "echo $HC_EVENT $HC_MISSED $HC_CHANGE >> {dir}/runs"]
            events = ["override"]
            [[sink]]
            name = "state"
            kind = "state-file"
            path = "{dir}/state.json"
            write_interval = "10ms"
            interval = "1h"
            "#
        )
    });
    let backends: Vec<_> = (0..8).map(|_| backend()).collect();
    let checks: Vec<Value> = (1..).zip(&backends).map(|(id, backend)| check(id, backend.address())).collect();
    let engine = rig.engine(&json!(checks));
    (1..=8).for_each(|id| engine.wait(id, "healthy"));
    let read = |name: &str| fs::read_to_string(rig.path(name)).unwrap_or_default();
    wait_until("the state file", || state_file(&rig.path("state.json")).len() == 8);
    let ids: Vec<String> = (1..=8).map(|id: u64| id.to_string()).collect();
    let mute = json!({"kind": "mute", "of": {"checks": ids}, "forever": true, "reason": "a test"});
    let (status, answer) = ask_text(&rig.path("hc-admin.sock"), "POST /api/v1/overrides", &mute.to_string());
    assert_eq!(status, 200, "{answer}");

    let is_muted = |check: &Value| check["overrides"][0]["reason"] == "a test";
    wait_until("the state file has all of them", || {
        let states: Value = serde_json::from_str(&read("state.json")).unwrap();
        states["checks"].as_array().unwrap().iter().all(is_muted)
    });
    wait_until("the log", || read("log").lines().count() == 4);
    let lines: Vec<Value> = read("log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["event"], &lines[0]["missed"]), (&json!("overrides_missed"), &json!(5)));
    assert!(lines[1..].iter().all(|line| line["event"] == "override"), "{lines:?}");
    wait_until("the commands ran", || read("runs").lines().count() == 4);
    assert_eq!(read("runs"), format!("overrides_missed 5\n{}", "override set\n".repeat(3)));
    wait_until("the webhook", || !receiver.posts().is_empty());
    let body: Value = serde_json::from_slice(&receiver.posts()[0].body).unwrap();
    assert_eq!((&body["overrides_missed"], body["overrides"].as_array().unwrap().len()), (&json!(5), 3));
    let warning = "changes of overrides are lost to a sink";
    assert_eq!(rig.log().matches(warning).count(), 3, "of a state file nothing is: {}", rig.log());
    assert_eq!(rig.server.terminate().code(), Some(0), "{}", rig.log());
}
