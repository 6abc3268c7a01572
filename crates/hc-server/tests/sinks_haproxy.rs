//! The real HAProxy: its traffic stops and returns by our verdict.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::net::TcpListener;

use rig::{HaProxy, Rig, backend, check, web};
use serde_json::{Value, json};

/// Checks of two backends whose health decides over two servers of HAProxy, `s1` and `s2`.
fn checks(one: std::net::SocketAddr, two: std::net::SocketAddr) -> Value {
    json!([check(1, one), check(2, two)])
}

#[test]
fn by_agent_checks() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut rig = Rig::start(|_| {
        format!(
            "[[sink]]\nname = \"agent\"\nkind = \"haproxy-agent\"\nlisten = \"127.0.0.1:{port}\"\nserver = \"s{{id}}\"\n"
        )
    });
    let server = |name: &'static str| {
        let address = web(name).address;
        format!(
            "  server {name} {address} agent-check agent-addr 127.0.0.1 agent-port {port} agent-inter 50ms agent-send \"{name}\\n\"\n"
        )
    };
    let mut haproxy = HaProxy::start(rig.dir.path(), &(server("s1") + &server("s2")));
    haproxy.wait_serves(&["s1", "s2"]);
    let (one, two) = (backend(), backend());
    let engine = rig.engine(&checks(one.address(), two.address()));
    engine.wait(2, "healthy");
    drop(one);
    haproxy.wait_serves(&["s2"]);
    // HAProxy asks again when it is back.
    haproxy.kill();
    haproxy.launch();
    haproxy.wait_serves(&["s2"]);
    drop(two);
    haproxy.wait_serves(&["503"]);
    // One that is away changes nothing, and neither does its successor before it has a result.
    drop(engine);
    rig.server.kill();
    haproxy.wait_serves(&["503"]);
    rig.restart_killed();
    let (one, two) = (backend(), backend());
    let _engine = rig.engine(&checks(one.address(), two.address()));
    haproxy.wait_serves(&["s1", "s2"]);
}

#[test]
fn by_the_runtime_api() {
    let mut rig = Rig::start(|dir| {
        format!(
            "[[sink]]\nname = \"runtime\"\nkind = \"haproxy\"\nsocket = \"{}/api\"\nserver = \"b/s{{id}}\"\n",
            dir.display()
        )
    });
    let server = |name: &'static str| format!("  server {name} {}\n", web(name).address);
    let mut haproxy = HaProxy::start(rig.dir.path(), &(server("s1") + &server("s2")));
    let (one, two) = (backend(), backend());
    let mut engine = rig.engine(&checks(one.address(), two.address()));
    engine.wait(2, "healthy");
    haproxy.wait_serves(&["s1", "s2"]);
    drop(one);
    haproxy.wait_serves(&["s2"]);
    haproxy.kill();
    haproxy.launch();
    haproxy.wait_serves(&["s2"]);
    // A change while it is not there.
    haproxy.kill();
    let one = backend();
    engine.set(&checks(one.address(), two.address()));
    drop(two);
    engine.wait(2, "unhealthy");
    engine.wait(1, "healthy");
    haproxy.launch();
    haproxy.wait_serves(&["s1"]);
    // And one while the server is not there.
    drop(engine);
    rig.server.kill();
    drop(one);
    rig.restart_killed();
    let (two, gone) = (backend(), backend().address());
    let _engine = rig.engine(&checks(gone, two.address()));
    haproxy.wait_serves(&["s2"]);
}
