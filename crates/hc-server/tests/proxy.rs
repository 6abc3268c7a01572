//! hc-server with the real hc-proxy at its socket, and fake-engine behind that.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::Write as _;
use std::time::{Duration, Instant};

use chain::{Backend, Chain, check, connect, read_line, start_proxy, start_server, wait_until};
use serde_json::json;

#[test]
fn test_proxy_sends_ready_message() {
    let dir = tempfile::tempdir().unwrap();
    let _server = start_server(dir.path());
    let (_stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(
        read_line(&mut reader),
        json!({"type": "ready", "protocol": 1, "version": env!("CARGO_PKG_VERSION"), "capabilities": ["keep"]})
    );
}

#[test]
fn test_proxy_receives_config_updates() {
    let (first, second) = (Backend::start("127.0.0.1:0", b"hello"), Backend::start("[::1]:0", b"hello"));
    let chain = Chain::start(&json!([check(1, first.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    assert_eq!(second.connections(), 0);

    chain.set_checks(&json!([check(2, second.address, &json!("hello"))]));
    chain.wait_told(0, 2, "healthy");
    // What was removed is probed no more: the second goes on, the first stands still.
    let (before, second_before) = (first.connections(), second.connections());
    wait_until("five more probes of the second", || second.connections() >= second_before + 5);
    assert_eq!(first.connections(), before);

    // An empty set is a set.
    chain.set_checks(&json!([]));
    let (mut seen, mut since) = (second.connections(), Instant::now());
    wait_until("no probe for five intervals", || {
        if second.connections() != seen {
            (seen, since) = (second.connections(), Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
}

#[test]
fn test_proxy_sends_notifications() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let address = backend.address;
    let chain = Chain::start(&json!([check(7, address, &json!("hello"))]));
    let told = chain.wait_told(0, 7, "healthy");
    assert_eq!(told["message"], format!("TCP connect to {address}"));
    assert_eq!(told["failures"], 0);
    assert!(told["successes"].as_u64().unwrap() >= 1);

    drop(backend);
    let told = chain.wait_told(0, 7, "unhealthy");
    assert_eq!(told["message"], format!("TCP connect to {address}; connection refused"));
    let _backend = Backend::start(&address.to_string(), b"hello");
    let from = chain.engine.mark();
    chain.wait_told(from, 7, "healthy");
    assert_eq!(chain.told(7), ["healthy", "unhealthy", "healthy"]);
}

#[test]
fn test_proxy_handles_shutdown() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");

    // The proxy leaves: it ends well, and checks run on.
    assert!(chain.proxy.terminate().success());
    let before = backend.connections();
    wait_until("five more probes without a proxy", || backend.connections() >= before + 5);
    assert!(chain.server.running());

    // Another one comes: the engine hears everything again.
    let from = chain.engine.mark();
    chain.proxy = start_proxy(chain.dir.path());
    chain.wait_told(from, 1, "healthy");

    // The server leaves: it ends well, its socket is gone, and the proxy waits for the next.
    assert!(chain.server.terminate().success());
    assert!(!chain.path("hc.sock").exists());
    assert!(chain.proxy.running());
    let from = chain.engine.mark();
    chain.server = start_server(chain.dir.path());
    chain.wait_told(from, 1, "healthy");
    assert_eq!(chain.told(1), ["healthy"]);
}

#[test]
fn test_proxy_json_serialization() {
    let raw = Backend::start("127.0.0.1:0", b"\x00\xff and more");
    let base64 = json!({"base64": "AP8="});
    // Ids that no signed integer and no float can hold, and bytes that no string can.
    let ids = [u64::MAX, 1 << 63, (1 << 63) + 1, (1 << 53) + 1, 0];
    let checks: Vec<_> = ids.iter().map(|id| check(*id, raw.address, &base64)).collect();
    let mut wrong = check(5, raw.address, &json!({"base64": "AP8A"}));
    wrong["interval"] = json!("1h");
    let chain = Chain::start(&json!([checks, vec![wrong]].concat()));
    for id in ids {
        chain.wait_told(0, id, "healthy");
    }
    let told = chain.wait_told(0, 5, "unhealthy");
    let text = told["message"].as_str().unwrap();
    assert!(text.ends_with(r#"; unexpected response - "\x00\xff ""#), "{text}");
    let last_check = told["last_check"].as_str().unwrap();
    assert!(last_check.ends_with('Z') && last_check.len() > 20, "{last_check}");
}

/// Nothing that arrives at the socket ends the server or the checks.
#[test]
fn garbage_at_the_socket_harms_nobody() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    {
        let (mut stream, mut reader) = connect(&chain.path("hc.sock"));
        assert_eq!(read_line(&mut reader)["type"], "ready");
        stream
            .write_all(b"{\"type\":\"update_configs\"}\n\x00\xff\n{\"type\":\"dance\"}\n{\"type\":\"upd")
            .unwrap();
        for code in ["malformed", "malformed", "unknown_type"] {
            let answer = read_line(&mut reader);
            assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)));
        }
    }
    // The proxy comes back after it was replaced, and everything is told again.
    let from = chain.engine.mark();
    chain.wait_told(from, 1, "healthy");
    assert_eq!(chain.told(1), ["healthy"]);
}
