//! The guard in the whole chain: what the engine hears when backends fail together, and alone.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use chain::{Backend, Chain, PATIENCE, Process, check, start_engine, start_proxy, wait_until};
use serde_json::{Value, json};

const BACKENDS: u64 = 20;

/// Starts all three programs with this section for the guard, and waits until the engine has heard
/// of every check.
fn start(guard: &str, interval: &str, backends: &[Backend]) -> Chain {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let checks: Vec<Value> = (1..)
        .zip(backends)
        .map(|(id, backend)| {
            let mut check = check(id, backend.address, &json!("hello"));
            check["interval"] = json!(interval);
            check
        })
        .collect();
    std::fs::write(path.join("checks.json"), json!(checks).to_string()).unwrap();
    std::fs::write(path.join("hc-server.toml"), format!("[guard]\nenabled = true\n{guard}")).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    server.arg("--config").arg(path.join("hc-server.toml"));
    server.arg("--socket").arg(path.join("hc.sock")).arg("--state-dir").arg(path);
    let (engine, proxy) = (start_engine(path), start_proxy(path));
    let server = Process::start(&mut server, &path.join("server.log"));
    let chain = Chain { dir, engine, proxy, server };
    (1..=BACKENDS).for_each(|id| drop(chain.wait_told(0, id, "healthy")));
    chain
}

fn backends() -> Vec<Backend> {
    (0..BACKENDS).map(|_| Backend::start("127.0.0.1:0", b"hello")).collect()
}

/// Replaces each backend by one at the same address that greets otherwise.
fn replace(backends: Vec<Backend>, greeting: &'static [u8]) -> Vec<Backend> {
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    drop(backends);
    addresses.iter().map(|address| Backend::start(&address.to_string(), greeting)).collect()
}

fn wait_logged(chain: &Chain, text: &str) {
    wait_until(text, || log(chain).contains(text));
}

fn log(chain: &Chain) -> String {
    std::fs::read_to_string(chain.path("server.log")).unwrap()
}

const HELD: &str = "many checks failed at once: their verdicts are held";

/// The checks run every 5 s, so what comes sooner comes from the sample.
#[test]
fn when_all_backends_die_their_verdicts_are_held_until_a_sample_was_probed() {
    let guard = "window = \"4s\"\nsample = 4\nrounds = 3\nround_pause = \"500ms\"\nmax_hold = \"10m\"\n";
    let backends = backends();
    let chain = start(guard, "5s", &backends);
    let backends = replace(backends, b"sorry");
    wait_logged(&chain, HELD);
    wait_until("the sample is probed again", || {
        let counts: Vec<usize> = backends.iter().map(Backend::connections).collect();
        let least = counts.iter().min().unwrap();
        counts.iter().filter(|count| **count >= least + 2).count() == 4
    });
    for id in 1..=BACKENDS {
        chain.wait_told(0, id, "unhealthy");
        assert_eq!(chain.told(id), ["healthy", "unhealthy"]);
    }
    let log = log(&chain);
    assert!(log.contains("held verdicts are told") && log.contains("the sample fails again"), "{log}");
    let at = |text: &str| log.find(text).unwrap();
    assert!(at(HELD) < at("held verdicts are told"), "{log}");
    assert!(!log.contains("the alarm is over"), "{log}");

    let _backends = replace(backends, b"hello");
    wait_logged(&chain, "the alarm is over");
}

#[test]
fn when_all_backends_come_back_while_they_are_held_the_engine_hears_nothing() {
    let guard = "window = \"2s\"\nrounds = 1000\nround_pause = \"300ms\"\nmax_hold = \"10m\"\n";
    let backends = backends();
    let chain = start(guard, "200ms", &backends);
    let backends = replace(backends, b"sorry");
    wait_logged(&chain, HELD);
    // At five probes a second this is well beyond the window.
    wait_until("twenty more probes of each", || backends.iter().all(|backend| backend.connections() > 20));
    let backends = replace(backends, b"hello");
    wait_logged(&chain, "the alarm is over");
    // Every check has passed again since then.
    let before: Vec<usize> = backends.iter().map(Backend::connections).collect();
    wait_until("two more probes of each", || {
        backends.iter().zip(&before).all(|(backend, before)| backend.connections() >= before + 2)
    });
    for id in 1..=BACKENDS {
        assert_eq!(chain.told(id), ["healthy"], "check {id}");
    }
}

#[test]
fn when_one_backend_dies_the_engine_hears_of_it_after_the_window() {
    // A verdict that is held would not come within the patience of a test.
    let guard = "window = \"1s\"\nrounds = 1000\nmax_hold = \"10m\"\n";
    let mut backends = backends();
    let chain = start(guard, "200ms", &backends);
    let from = chain.engine.mark();
    let died = Instant::now();
    drop(backends.remove(6));
    chain.wait_told(from, 7, "unhealthy");
    let after = died.elapsed();
    assert!(after >= Duration::from_secs(1) && after < PATIENCE, "{after:?}");
    assert!(!log(&chain).contains(HELD), "{}", log(&chain));
    for id in (1..=BACKENDS).filter(|id| *id != 7) {
        assert_eq!(chain.told(id), ["healthy"]);
    }
}
