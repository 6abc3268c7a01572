//! What `/metrics` says of the real program.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hc_testkit::admin::ask_text;
use hc_testkit::script::Step;
use rig::{Rig, backend, check, wait_until};
use serde_json::json;

/// Checks from a file, of which a group asks for series of its own.
fn config(dir: &Path, metrics: &str) -> String {
    let files = dir.join("checks.toml");
    format!(
        "[source]\nkind = \"file\"\nfiles = [{files:?}]\n[state]\ninterval = \"50ms\"\n[metrics]\n{metrics}\n"
    )
}

fn checks(port: u16) -> String {
    format!(
        "[defaults]\ninterval = \"100ms\"\nfall = 1\n[group.web]\nmetrics = true\nlabels = {{ site_name = \"ams\" }}\ntcp = {{}}\n\
         [[check]]\nname = \"web\"\ngroup = \"web\"\ntarget = [\"127.0.0.1:{port}\", \"127.0.0.2:{port}\"]\n\
         [[check]]\nname = \"other\"\ntarget = \"127.0.0.1:{port}\"\ntcp = {{}}\n"
    )
}

#[track_caller]
fn is_well_formed(text: &str) {
    let mut promtool = Command::new("promtool");
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut promtool =
        promtool.stderr(Stdio::piped()).spawn().expect("promtool is needed: `cargo xtask setup` installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[test]
fn a_group_has_series_of_its_own_and_reloads_are_counted() {
    let backend = backend();
    let port = backend.address().port();
    let rig = Rig::start(|dir| {
        fs::write(dir.join("checks.toml"), checks(port)).unwrap();
        config(dir, "max_checks = 2")
    });
    let metrics = || rig.get("/metrics");
    wait_until("ready", || rig.log().contains(" ready "));
    let name = |address: &str| format!("web/{address}:{port}");
    let (up, down) = (name("127.0.0.1"), name("127.0.0.2"));
    wait_until("both were probed", || {
        let text = metrics();
        has(&text, &format!("hc_check_healthy{{check=\"{up}\"}} 1"))
            && has(&text, &format!("hc_check_healthy{{check=\"{down}\"}} 0"))
    });
    let text = metrics();
    is_well_formed(&text);
    assert!(!text.contains("check=\"other\""), "it did not ask");
    assert!(
        text.contains(&format!(
            "address=\"127.0.0.1\",port=\"{port}\",label_group=\"web\",label_site_name=\"ams\"}} 1"
        )),
        "{text}"
    );
    for line in [
        "hc_check_series_left_out 0",
        "hc_sandbox{part=\"capabilities\",state=\"full\"} 1",
        "hc_sandbox{part=\"syscalls\",state=\"full\"} 1",
        "hc_reloads_total{result=\"applied\"} 0",
        "hc_inconclusive_episodes_total{reason=\"local_descriptors\"} 0",
    ] {
        assert!(has(&text, line), "{line} is missing in\n{text}");
    }

    // One more in the group than may have series, and a file that is wrong.
    let reload = || ask_text(&rig.path("hc-admin.sock"), "POST /api/v1/reload", "").0;
    let more = format!("[[check]]\nname = \"third\"\ngroup = \"web\"\ntarget = \"127.0.0.3:{port}\"\n");
    fs::write(rig.path("checks.toml"), checks(port) + &more).unwrap();
    assert_eq!(reload(), 200);
    fs::write(rig.path("checks.toml"), "[[check]]\nnam = 1\n").unwrap();
    assert_eq!(reload(), 409);
    let text = metrics();
    is_well_formed(&text);
    for line in [
        "hc_check_series_left_out 1",
        "hc_reloads_total{result=\"applied\"} 1",
        "hc_reloads_total{result=\"wrong\"} 1",
    ] {
        assert!(has(&text, line), "{line} is missing in\n{text}");
    }
    assert_eq!(text.matches("\nhc_check_info{").count(), 2);
}

#[test]
fn all_checks_of_seesaw_have_series_where_the_server_says_so() {
    let backend = backend();
    let rig = Rig::start(|_| "[metrics]\nall_checks = true\nmax_checks = 2\n".to_owned());
    let checks: Vec<_> = (1..=3).map(|id| check(id, backend.address())).collect();
    let engine = rig.engine(&json!(checks));
    (1..=3).for_each(|id| engine.wait(id, "healthy"));
    let text = rig.get("/metrics");
    is_well_formed(&text);
    assert!(has(&text, "hc_check_series_left_out 1"), "{text}");
    assert_eq!(text.matches("\nhc_check_healthy{").count(), 2);
    assert!(!text.contains("hc_reloads_total"), "nothing is read again");
    assert!(text.contains("\nhc_probe_lateness_seconds_bucket{le=\"+Inf\"}"));
}

/// What would be wrong later, or holds verdicts now, is seen before anybody needs it.
#[test]
fn the_guard_snapshots_and_files_that_are_wrong_are_shown() {
    let backend = backend();
    let says = |word: &[u8]| backend.set_steps(vec![Step::Send(word.into())]);
    says(b"hello");
    let address = backend.address();
    // Six checks of one backend.
    let check = |n| {
        format!("[[check]]\nname = \"web-{n}\"\ntarget = \"{address}\"\ntcp = {{ receive = \"hello\" }}\n")
    };
    let defaults = "[defaults]\ninterval = \"100ms\"\nfall = 1\n";
    let checks = defaults.to_owned() + &(1..=6).map(check).collect::<String>();
    let rig = Rig::start(|dir| {
        fs::write(dir.join("checks.toml"), &checks).unwrap();
        // Held for as long as the sample goes on.
        let guard = "[guard]\nenabled = true\nwindow = \"5s\"\nrounds = 100000\nround_pause = \"50ms\"\nmax_hold = \"1h\"\n";
        config(dir, "") + guard
    });
    let metrics = || rig.get("/metrics");
    let shows = |lines: &[&str]| {
        wait_until(&lines.join(", "), || {
            let text = metrics();
            lines.iter().all(|line| has(&text, line))
        });
        is_well_formed(&metrics());
    };
    wait_until("ready", || rig.log().contains(" ready "));
    let warns = |word: &str| wait_until(word, || rig.get("/readyz").contains(word));
    shows(&[
        "hc_checks{health=\"healthy\"} 6",
        "hc_guard_alarms 0",
        "hc_guard_held 0",
        "hc_snapshot_failing 0",
        "hc_snapshot_failures_total 0",
        "hc_reload_last_wrong 0",
        "hc_checks_warned 0",
    ]);
    wait_until("a snapshot", || metrics().contains("\nhc_snapshot_last_success_timestamp_seconds 1"));
    // A machine that is late says so, which is no fault of these.
    let ready = rig.get("/readyz");
    let warned = ["the guard", "a restart", "the files of checks"].map(|words| ready.contains(words));
    assert_eq!(warned, [false; 3], "{ready}");

    says(b"sorry");
    shows(&["hc_guard_alarms 1", "hc_guard_held 6"]);
    warns("alarms of the guard: 1, failures that it holds: 6");
    says(b"hello");
    shows(&["hc_guard_alarms 0", "hc_guard_held 0"]);

    fs::rename(rig.path("state"), rig.path("old")).unwrap();
    shows(&["hc_snapshot_failing 1"]);
    warns("health would not survive a restart: ");
    fs::rename(rig.path("old"), rig.path("state")).unwrap();
    shows(&["hc_snapshot_failing 0"]);
    assert!(!has(&metrics(), "hc_snapshot_failures_total 0"));

    let reload = || ask_text(&rig.path("hc-admin.sock"), "POST /api/v1/reload", "").0;
    fs::write(rig.path("checks.toml"), "[[check]]\nnam = 1\n").unwrap();
    assert_eq!(reload(), 409);
    shows(&["hc_reload_last_wrong 1"]);
    warns("the files of checks are wrong");
    fs::write(rig.path("checks.toml"), &checks).unwrap();
    assert_eq!(reload(), 200);
    shows(&["hc_reload_last_wrong 0"]);
}
