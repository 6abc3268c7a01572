//! What operators say of checks, with the real programs: the engine hears it, and it outlives kill
//! -9.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use chain::{Backend, Chain, check, start_server, wait_until};
use hc_testkit::admin;
use serde_json::{Value, json};

/// Status and body of an answer of the admin API.
fn ask(chain: &Chain, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if method == "GET" { String::new() } else { body.to_string() };
    admin::ask(&admin_socket(chain), &format!("{method} {path}"), &body)
}

fn admin_socket(chain: &Chain) -> std::path::PathBuf {
    chain.dir.path().join("hc-admin.sock")
}

/// Sets an override of check 1, and gives what the answer says.
#[track_caller]
fn set(chain: &Chain, fields: Value) -> String {
    let mut request = json!({"of": {"checks": ["1"]}, "reason": "a test"});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (status, answer) = ask(chain, "POST", "/api/v1/overrides", &request);
    assert_eq!(status, 200, "{answer}");
    answer["done"].as_str().unwrap().to_owned()
}

#[track_caller]
fn withdraw(chain: &Chain, kind: &str) {
    let request = json!({"kind": kind, "of": {"checks": ["1"]}});
    let (status, answer) = ask(chain, "POST", "/api/v1/overrides/withdraw", &request);
    assert_eq!((status, &answer["done"]), (200, &json!("1 override is ended")), "{answer}");
}

fn show(chain: &Chain) -> Value {
    ask(chain, "GET", "/api/v1/checks/1", &Value::Null).1
}

fn log(chain: &Chain) -> String {
    std::fs::read_to_string(chain.path("server.log")).unwrap()
}

/// More probes of a backend have begun and, since those of one check do not overlap, ended.
fn wait_probes(backend: &Backend) {
    let before = backend.connections();
    wait_until("more probes", || backend.connections() >= before + 3);
}

#[test]
fn a_force_outlives_kill_9_and_expires_by_itself() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    let from = chain.engine.mark();
    let done = set(&chain, json!({"kind": "force", "health": "unhealthy", "for": "12s"}));
    assert!(
        done.starts_with("1 check is forced unhealthy until ") && !done.contains("not on the disk"),
        "{done}"
    );
    let told = chain.wait_told(from, 1, "unhealthy");
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains("forced unhealthy by ") && message.ends_with(": a test"), "{told}");
    wait_probes(&backend);
    let shown = show(&chain);
    assert_eq!(
        (&shown["health"], &shown["reported"]["health"]),
        (&json!("healthy"), &json!("unhealthy")),
        "{shown}"
    );
    assert_eq!(
        (&shown["overrides"][0]["kind"], &shown["overrides"][0]["uid"]),
        (&json!("force"), &json!(0)),
        "{shown}"
    );
    assert!(shown["explanation"][0].as_str().unwrap().starts_with("forced unhealthy by "), "{shown}");
    let (_, metrics) = ask(&chain, "GET", "/metrics", &Value::Null);
    assert!(metrics.as_str().unwrap().contains("hc_overrides{kind=\"force\"} 1\n"), "{metrics}");

    chain.server.kill();
    let from = chain.engine.mark();
    chain.server = start_server(chain.dir.path());
    chain.wait_told(from, 1, "unhealthy");
    wait_probes(&backend);
    assert_eq!(chain.told(1), ["healthy", "unhealthy"], "nobody hears what probes find");
    chain.wait_told(from, 1, "healthy");
    assert_eq!(chain.told(1), ["healthy", "unhealthy", "healthy"]);
    assert!(log(&chain).contains("an override is set") && log(&chain).contains("an override has expired"));
    assert_eq!(ask(&chain, "GET", "/api/v1/overrides", &Value::Null).1, json!({"overrides": []}));
}

#[test]
fn a_muted_check_is_kept_over_a_restart_and_the_latest_is_told_at_the_end() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    set(&chain, json!({"kind": "mute", "forever": true}));
    drop(backend);
    wait_until("probes find it", || show(&chain)["health"] == "unhealthy");
    chain.server.kill();
    let from = chain.engine.mark();
    chain.server = start_server(chain.dir.path());
    chain.wait_told(from, 1, "healthy");
    wait_until("probes find it again", || show(&chain)["health"] == "unhealthy");
    assert_eq!(chain.told(1), ["healthy"]);
    withdraw(&chain, "mute");
    chain.wait_told(from, 1, "unhealthy");
    assert!(log(&chain).contains("an override is ended"));
}

#[test]
fn a_paused_check_is_not_probed_not_even_after_a_restart() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let other = Backend::start("127.0.0.1:0", b"hello");
    let checks =
        json!([check(1, backend.address, &json!("hello")), check(2, other.address, &json!("hello"))]);
    let mut chain = Chain::start(&checks);
    chain.wait_told(0, 1, "healthy");
    set(&chain, json!({"kind": "pause", "forever": true}));
    // One may have been in flight.
    wait_probes(&other);
    let before = backend.connections();
    wait_probes(&other);
    assert_eq!(backend.connections(), before);
    let (status, answer) = ask(&chain, "POST", "/api/v1/checks/1/probe", &Value::Null);
    assert_eq!((status, &answer["error"]), (409, &json!("1 is paused: `hcctl resume` lets it be probed")));

    chain.server.kill();
    let from = chain.engine.mark();
    chain.server = start_server(chain.dir.path());
    chain.wait_told(from, 2, "healthy");
    wait_probes(&other);
    assert_eq!((backend.connections(), chain.told(1)), (before, vec!["healthy".to_owned()]));
    withdraw(&chain, "pause");
    wait_probes(&backend);
    chain.wait_told(from, 1, "healthy");
}

/// The engine derives its ids from its pid, so a restarted one has others for the same checks.
#[test]
fn an_override_finds_its_check_under_another_id() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    set(&chain, json!({"kind": "force", "health": "unhealthy", "forever": true}));
    chain.wait_told(0, 1, "unhealthy");
    chain.engine.kill();
    chain.set_checks(&json!([check(77, backend.address, &json!("hello"))]));
    chain.engine = chain::start_engine(chain.dir.path());
    chain.wait_told(0, 77, "unhealthy");
    wait_probes(&backend);
    assert_eq!(chain.told(77), ["unhealthy"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    let force = |more: Value| {
        let mut request = json!({"kind": "force", "health": "unhealthy", "reason": "r", "for": "1h"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = ask(&chain, "POST", "/api/v1/overrides", &request);
        (status, answer["error"].as_str().unwrap_or_default().to_owned())
    };
    for (more, status, words) in [
        (json!({"of": {"checks": ["2"]}}), 404, "no check with the id or name \"2\""),
        (json!({"of": {}}), 409, "no check is named"),
        (json!({"of": {"filter": "limit=5"}}), 409, "a filter that takes every check"),
        (json!({"of": {"filter": "nam=web"}}), 409, "nam: not known"),
        (json!({"of": {"filter": "name=web*"}}), 404, "no check is meant by that"),
        (json!({"of": {"checks": ["1"]}, "reason": " "}), 409, "reason: needed"),
        (json!({"of": {"checks": ["1"]}, "forever": true}), 409, "how long"),
        (json!({"of": {"checks": ["1"]}, "why": "x"}), 400, "the body: unknown field `why`"),
    ] {
        let (got, error) = force(more.clone());
        assert!(got == status && error.starts_with(words), "{more}: {got} {error}");
    }
    let request = json!({"kind": "force", "of": {"checks": ["1"]}});
    assert_eq!(ask(&chain, "POST", "/api/v1/overrides/withdraw", &request).0, 404);
    assert_eq!(chain.told(1), ["healthy"]);
}

/// An override of a check that was removed is kept, so its name is known; to set another one of it
/// does nothing.
#[test]
fn a_check_that_does_not_run_is_named_where_overrides_are_set() {
    let (first, second) = (Backend::start("127.0.0.1:0", b"hello"), Backend::start("127.0.0.1:0", b"hello"));
    let checks = [check(1, first.address, &json!("hello")), check(2, second.address, &json!("hello"))];
    let chain = Chain::start(&json!(checks));
    chain.wait_told(0, 1, "healthy");
    chain.wait_told(0, 2, "healthy");
    set(&chain, json!({"kind": "pause", "forever": true}));
    chain.set_checks(&json!([checks[1]]));
    wait_until("it is gone", || ask(&chain, "GET", "/api/v1/checks/1", &Value::Null).0 == 404);
    let both = json!({"checks": ["1", "2"]});
    let done = set(&chain, json!({"kind": "force", "health": "healthy", "forever": true, "of": both}));
    assert_eq!(
        done,
        "1 check is forced healthy until somebody ends that; but 1 does not run and is left as it was"
    );
    let alone = json!({"kind": "pause", "forever": true, "of": {"checks": ["1"]}, "reason": "a test"});
    let (status, answer) = ask(&chain, "POST", "/api/v1/overrides", &alone);
    let error = "no check is meant by that: 1 does not run and is left as it was";
    assert_eq!((status, &answer["error"]), (404, &json!(error)));
}
