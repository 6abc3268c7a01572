//! Restarts are invisible: health and counters survive kill -9, and nothing false is told.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use chain::{Backend, Chain, check, start_engine, start_server, wait_until};
use hc_testkit::admin::ask;
use serde_json::{Value, json};

fn snapshot(chain: &Chain) -> Vec<u8> {
    std::fs::read(chain.path("health.snapshot")).unwrap_or_default()
}

fn log(chain: &Chain) -> String {
    std::fs::read_to_string(chain.path("server.log")).unwrap()
}

/// Waits until a snapshot has been written after this call.
fn wait_snapshot(chain: &Chain) {
    let before = snapshot(chain);
    wait_until("a new snapshot", || {
        let now = snapshot(chain);
        !now.is_empty() && now != before
    });
}

#[test]
fn counters_and_health_survive_kill_9() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    wait_until("twenty probes", || backend.connections() > 20);
    wait_snapshot(&chain);
    chain.server.kill();
    let from = chain.engine.mark();
    chain.server = start_server(chain.dir.path());
    let told = chain.wait_told(from, 1, "healthy");
    assert!(told["successes"].as_u64().unwrap() > 20, "{told}");
    assert_eq!(chain.told(1), ["healthy"]);
}

/// Not since the restart.
#[test]
fn since_when_a_check_is_healthy_survives_kill_9() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    let show = |chain: &Chain| ask(&chain.path("hc-admin.sock"), "GET /api/v1/checks/1", "").1;
    let since = show(&chain)["since"].clone();
    assert!(since.is_string(), "{}", show(&chain));
    wait_snapshot(&chain);
    chain.server.kill();
    let (from, connections) = (chain.engine.mark(), backend.connections());
    chain.server = start_server(chain.dir.path());
    chain.wait_told(from, 1, "healthy");
    wait_until("probes after the restart", || backend.connections() > connections + 2);
    assert_eq!(show(&chain)["since"], since, "{}", show(&chain));
}

#[test]
fn a_healthy_backend_that_fails_once_after_a_restart_is_not_reported_down() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let address = backend.address;
    let mut patient = check(1, address, &json!("hello"));
    patient["retries"] = json!(1000);
    let mut chain = Chain::start(&json!([patient]));
    chain.wait_told(0, 1, "healthy");
    wait_snapshot(&chain);
    chain.server.kill();
    // Without a memory the first result would decide, and be "unhealthy".
    drop(backend);
    let from = chain.engine.mark();
    chain.server = start_server(chain.dir.path());
    wait_until("probes after the restart", || {
        log(&chain).matches("health of the last run is remembered").count() == 1
    });
    let backend = Backend::start(&address.to_string(), b"hello");
    wait_until("a probe", || backend.connections() > 0);
    chain.wait_told(from, 1, "healthy");
    assert_eq!(chain.told(1), ["healthy"]);
}

#[test]
fn a_snapshot_that_cannot_be_used_is_one_warning_and_a_clean_start() {
    for bytes in [b"garbage".to_vec(), b"HCSNAP\x09\x00rest".to_vec(), vec![]] {
        let backend = Backend::start("127.0.0.1:0", b"hello");
        let mut chain = Chain::start(&json!([check(1, backend.address, &json!("hello"))]));
        chain.wait_told(0, 1, "healthy");
        chain.server.kill();
        std::fs::write(chain.path("health.snapshot"), bytes).unwrap();
        let from = chain.engine.mark();
        chain.server = start_server(chain.dir.path());
        chain.wait_told(from, 1, "healthy");
        assert_eq!(log(&chain).matches("the last snapshot cannot be used").count(), 1, "{}", log(&chain));
    }
}

/// The engine derives its ids from its pid, so a restarted one has others for the same checks.
#[test]
fn a_new_engine_with_new_ids_hears_at_once_what_is_known() {
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let mut slow = check(1, backend.address, &json!("hello"));
    slow["interval"] = json!("1h");
    let mut chain = Chain::start(&json!([slow.clone()]));
    chain.wait_told(0, 1, "healthy");

    chain.engine.kill();
    slow["id"] = json!((1_u64 << 63) + 9);
    chain.set_checks(&json!([slow]));
    chain.engine = start_engine(chain.dir.path());
    let told: Value = chain.wait_told(0, (1 << 63) + 9, "healthy");
    assert!(told["successes"].as_u64().unwrap() >= 1);
    assert_eq!(chain.told(1), Vec::<String>::new(), "an id of the old engine was told to the new one");
}

/// An engine that restarts with the same pid, as in a container, gives old ids to other checks.
#[test]
fn an_id_that_means_another_backend_starts_again() {
    let up = Backend::start("127.0.0.1:0", b"hello");
    let gone = Backend::start("127.0.0.1:0", b"hello");
    let down = gone.address;
    drop(gone);
    let mut chain =
        Chain::start(&json!([check(1, up.address, &json!("hello")), check(2, down, &json!("hello"))]));
    chain.wait_told(0, 1, "healthy");
    chain.wait_told(0, 2, "unhealthy");
    chain.engine.kill();
    chain.set_checks(&json!([check(2, up.address, &json!("hello")), check(1, down, &json!("hello"))]));
    chain.engine = start_engine(chain.dir.path());
    chain.wait_told(0, 1, "unhealthy");
    chain.wait_told(0, 2, "healthy");
    assert_eq!((chain.told(1), chain.told(2)), (vec!["unhealthy".to_owned()], vec!["healthy".to_owned()]));
}
