//! The sinks of the configuration, of the real program in its sandbox.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use rig::{Receiver, Rig, backend, check, state_file, wait_until};
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
