//! The threads that run probes: where they run, and what is said of each.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::fs;

use rig::{Rig, backend, check, wait_until};
use serde_json::{Value, json};

/// The processors that threads of a process may use, by their names: `0`, `0-1`.
fn processors(task: &std::path::Path) -> Vec<(String, String)> {
    let threads = fs::read_dir(task).unwrap().map(|thread| thread.unwrap().path());
    let of = |path: std::path::PathBuf| {
        let name = fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
        let status = fs::read_to_string(path.join("status")).unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        (name, list.trim().to_owned())
    };
    let mut all: Vec<_> = threads.map(of).collect();
    all.sort();
    all
}

/// Three threads, on as many processors as there are, in the sandbox; and the figures of each.
#[test]
fn threads_stay_on_their_processors_and_each_says_how_busy_it_is() {
    let backend = backend();
    let rig = Rig::start(|_| "[checks]\nshards = 3\npin_shards = true\n".to_owned());
    let checks: Vec<_> = (1..=30).map(|id| check(id, backend.address())).collect();
    let engine = rig.engine(&json!(checks));
    (1..=30).for_each(|id| engine.wait(id, "healthy"));

    let ours = processors("/proc/self/task".as_ref()).pop().unwrap().1;
    let threads = processors(format!("/proc/{}/task", rig.server.id()).as_ref());
    let of = |name: &str| threads.iter().find(|(thread, _)| thread == name).unwrap().1.clone();
    assert_eq!(of("hc-server"), ours, "the others are not bound");
    let shards = ["hc-shard-0", "hc-shard-1", "hc-shard-2"].map(of);
    assert!(shards.iter().all(|list| list.parse::<usize>().is_ok()), "one processor each: {shards:?}");
    let count = std::thread::available_parallelism().unwrap().get();
    assert_eq!(shards[0] == shards[1], count == 1, "{shards:?}");
    assert!(!rig.log().contains("not bound to a processor"), "{}", rig.log());

    let mut started = 0;
    wait_until("each says what it does", || {
        let status: Value = serde_json::from_str(&rig.get("/api/v1/status")).unwrap();
        let shards = status["shards"].as_array().unwrap().clone();
        started = shards.iter().map(|shard| shard["started"].as_u64().unwrap()).sum();
        let is_told = |shard: &Value| {
            shard["busy"].as_f64().is_some_and(|busy| busy > 0.0 && busy < 1.0)
                && shard["waiting"] == 0
                && shard["lateness"]["p99_seconds"].as_f64().is_some()
        };
        shards.len() == 3 && shards.iter().all(is_told)
    });
    assert!(started >= 30);
    let text = rig.get("/metrics");
    for shard in 0..3 {
        let busy = format!("\nhc_shard_busy_seconds_total{{shard=\"{shard}\"}} ");
        let (_, rest) = text.split_once(&busy).unwrap();
        assert!(rest.lines().next().unwrap().parse::<f64>().unwrap() > 0.0, "{text}");
    }
}
