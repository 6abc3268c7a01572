//! Sinks that are away, hang or have no room, of the real program in its sandbox.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rig::{Answer, Backend, Receiver, Rig, backend, check, runs, state_file, wait_until};
use serde_json::json;

/// A small disk, which is gone when this is dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(dir.path());
        assert!(mount.status().unwrap().success());
        Self(dir)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Until nothing more fits.
    fn fill(&self) {
        let written = fs::write(self.path("ballast"), vec![0; 256 * 1024]);
        assert!(written.is_err(), "the disk does not fill up");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// Turns a backend off and on again.
struct Switch(Option<Backend>, std::net::SocketAddr);

impl Switch {
    fn new() -> Self {
        let backend = backend();
        let address = backend.address();
        Self(Some(backend), address)
    }

    fn off(&mut self) {
        self.0 = None;
    }

    fn on(&mut self) {
        self.0 = Some(Backend::start_at(self.1, Vec::new()).unwrap());
    }
}

#[test]
fn a_webhook_hears_each_lasting_change_at_least_once_and_in_order() {
    let answers = [Answer::Ok, Answer::Status(503), Answer::Close, Answer::Status(302)];
    let receiver = Receiver::start(&answers);
    let hook = receiver.address;
    let mut rig = Rig::start(|_| {
        format!("[[sink]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://{hook}/\"\ntimeout = \"1s\"\n")
    });
    let (mut switch, steady) = (Switch::new(), backend());
    let checks = json!([check(1, switch.1), check(2, steady.address())]);
    let engine = rig.engine(&checks);
    receiver.wait(1, "healthy");
    receiver.wait(2, "healthy");
    switch.off();
    receiver.wait(1, "unhealthy");
    switch.on();
    receiver.wait(1, "healthy");

    // A change that is under way when the server is killed, and one while it is not there.
    receiver.hang(true);
    let before = receiver.posts().len();
    switch.off();
    wait_until("a post that is not answered", || receiver.posts().len() > before);
    drop(engine);
    rig.server.kill();
    receiver.hang(false);
    rig.restart_killed();
    let _engine = rig.engine(&checks);
    receiver.wait(1, "unhealthy");
    switch.on();
    receiver.wait(1, "healthy");

    let mut heard: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (id, health) in receiver.taken() {
        heard.entry(id).or_default().push(health);
    }
    let first = &heard[&1];
    assert_eq!(first, &["healthy", "unhealthy", "healthy", "unhealthy", "healthy"], "{first:?}");
    assert_eq!(heard[&2].iter().filter(|health| *health != "healthy").count(), 0);
    // What was not taken came again.
    let posts = receiver.posts();
    let refused = posts.iter().filter(|post| post.answer != Answer::Ok).count();
    assert!(refused >= 4 && posts.len() > refused + 3, "{posts:?}");
    assert!(rig.log().contains("batch delivered after failures"), "{}", rig.log());
}

#[test]
fn a_command_that_never_ends_is_ended_never_overlaps_and_dies_with_the_server() {
    // Its own file, its own life: a second one would find the first one's directory.
    let script = r#"
        mkdir HERE/running || echo overlap >> HERE/overlap
        trap 'rmdir HERE/running; exit 1' TERM
        echo "$$ $PPID" >> HERE/runs
        sleep 1000 & wait"#;
    let mut rig = Rig::start(|dir| {
        let script = script.replace("HERE", &dir.display().to_string());
        format!(
            "[[sink]]\nname = \"script\"\nkind = \"command\"\ntimeout = \"200ms\"\n\
             command = [\"/bin/sh\", \"-c\", '''{script}''']\n"
        )
    });
    let switch = Switch::new();
    let engine = rig.engine(&json!([check(1, switch.1), check(2, switch.1)]));
    let runs_so_far = || fs::read_to_string(rig.path("runs")).unwrap_or_default();
    wait_until("it is tried again", || runs_so_far().lines().count() >= 3);
    engine.wait(1, "healthy");
    assert!(!rig.path("overlap").exists());
    assert!(rig.log().contains("script"), "{}", rig.log());
    wait_until("another run", || rig.path("running").exists());
    rig.server.kill();
    for line in fs::read_to_string(rig.path("runs")).unwrap().lines() {
        for pid in line.split(' ') {
            wait_until(&format!("the end of {pid}"), || !runs(pid));
        }
    }
}

#[test]
fn a_state_file_is_whole_whenever_the_server_is_killed() {
    let config = |dir: &Path| {
        format!(
            "[[sink]]\nname = \"state\"\nkind = \"state-file\"\npath = \"{}/state.json\"\n\
             write_interval = \"1ms\"\ninterval = \"100ms\"\n",
            dir.display()
        )
    };
    let mut rig = Rig::start(config);
    let backend = backend();
    let checks: Vec<_> = (1..=500).map(|id| check(id, backend.address())).collect();
    for round in 0..8 {
        let engine = rig.engine(&json!(checks));
        engine.wait(500, "healthy");
        let path = rig.path("state.json");
        wait_until("a file with checks", || !state_file(&path).is_empty());
        // Some moment of some writing.
        thread::sleep(Duration::from_millis(7 * round));
        drop(engine);
        rig.server.kill();
        state_file(&path);
        rig.restart_killed();
    }
    let _engine = rig.engine(&json!(checks));
    wait_until("all checks", || state_file(&rig.path("state.json")).len() == 500);
    let left = fs::read_dir(rig.dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".new"));
    assert!(left.count() <= 1, "what a kill has left is used again");
}

#[test]
fn a_full_disk_costs_the_files_their_news_and_nothing_else() {
    let disk = Disk::mount();
    let rig = Rig::start(|_| {
        let here = disk.0.path().display();
        format!(
            "[[sink]]\nname = \"state\"\nkind = \"state-file\"\npath = \"{here}/state.json\"\n\
             write_interval = \"10ms\"\nrequired = true\n[[sink]]\nname = \"log\"\nkind = \"log\"\npath = \"{here}/log\"\n\
             [[sink]]\nname = \"spare\"\nkind = \"state-file\"\npath = \"{here}/spare.json\"\nwrite_interval = \"10ms\"\n"
        )
    });
    let mut switch = Switch::new();
    let engine = rig.engine(&json!([check(1, switch.1)]));
    let states = || state_file(&disk.path("state.json"));
    wait_until("the first state", || states() == [(1, "healthy".into())].into());
    let lines = || fs::read_to_string(disk.path("log")).unwrap_or_default();
    wait_until("the first line", || lines().lines().count() == 1);
    disk.fill();
    switch.off();
    engine.wait(1, "unhealthy");
    wait_until("the complaint", || rig.log().contains("the state file cannot be written"));
    assert_eq!(states(), [(1, "healthy".into())].into(), "the old one stands");
    // A line of the log may still fit into the block that its file has.
    // Of the others only the one that is required makes the server not ready.
    wait_until("not ready", || {
        let ready = rig.get("/readyz");
        ready.starts_with("changes cannot be delivered to state: ")
            && ready.contains("\nwarning: changes cannot be delivered to spare: ")
    });
    fs::remove_file(disk.path("ballast")).unwrap();
    wait_until("the state is written again", || states() == [(1, "unhealthy".into())].into());
    wait_until("the line is written", || lines().lines().count() >= 2);
    // A machine that is late may say so besides.
    wait_until("ready", || {
        let ready = rig.get("/readyz");
        ready.starts_with("ok\n") && !ready.contains("cannot be delivered")
    });
    for line in lines().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

/// All of them hang at once: neither the engine nor those that work notice.
#[test]
fn sinks_that_hang_delay_nobody() {
    let receiver = Receiver::start(&[]);
    receiver.hang(true);
    let (hook, deaf) = (receiver.address, TcpListener::bind("127.0.0.1:0").unwrap());
    let deaf = deaf.local_addr().map(|address| (deaf, address)).unwrap();
    let rig = Rig::start(|dir| {
        let api = UnixListener::bind(dir.join("api")).unwrap();
        // It accepts and says nothing.
        thread::spawn(move || api.incoming().map_while(Result::ok).collect::<Vec<_>>());
        let (dir, deaf) = (dir.display(), deaf.1);
        format!(
            "[[sink]]\nname = \"hangs\"\nkind = \"webhook\"\nurl = \"http://{hook}/\"\ntimeout = \"1h\"\n\
             [[sink]]\nname = \"deaf\"\nkind = \"webhook\"\nurl = \"http://{deaf}/\"\ntimeout = \"1h\"\n\
             [[sink]]\nname = \"sleeps\"\nkind = \"command\"\ncommand = [\"/bin/sleep\", \"1000\"]\ntimeout = \"1h\"\n\
             [[sink]]\nname = \"silent\"\nkind = \"haproxy\"\nsocket = \"{dir}/api\"\nserver = \"b/s{{id}}\"\n\
             [[sink]]\nname = \"state\"\nkind = \"state-file\"\npath = \"{dir}/state.json\"\nwrite_interval = \"1ms\"\n\
             [shutdown]\ngrace = \"300ms\"\n"
        )
    });
    let mut rig = rig;
    let mut switch = Switch::new();
    let engine = rig.engine(&json!([check(1, switch.1)]));
    engine.wait(1, "healthy");
    wait_until("the webhook hangs", || !receiver.posts().is_empty());
    let file = |health: &str| state_file(&rig.path("state.json")) == [(1, health.into())].into();
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        for health in ["unhealthy", "healthy"] {
            let begun = Instant::now();
            if health == "healthy" {
                switch.on()
            } else {
                switch.off()
            }
            engine.wait(1, health);
            wait_until("the state file", || file(health));
            slowest = slowest.max(begun.elapsed());
        }
    }
    // An interval of the check, two batch delays, and a busy machine. Every timeout of a sink is
    // far longer.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    let metrics = rig.get("/metrics");
    for sink in ["hangs", "deaf", "sleeps", "silent"] {
        let pending = format!("hc_sink_pending_checks{{sink=\"{sink}\"}} 1");
        assert!(metrics.contains(&pending), "{pending}: {metrics}");
    }
    let begun = Instant::now();
    assert_eq!(rig.server.terminate().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(rig.log().matches("ended with news that was not told").count(), 4, "{}", rig.log());
}
