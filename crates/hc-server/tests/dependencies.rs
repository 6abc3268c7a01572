//! Checks behind a gateway, with the real program and checks from files: one alarm, and not a
//! cascade.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use chain::{Backend, Process, wait_until};
use hc_testkit::admin;
use serde_json::Value;

struct Site {
    dir: tempfile::TempDir,
    _server: Process,
}

impl Site {
    /// A gateway, and these checks behind it.
    fn start(gateway: SocketAddr, behind: &[SocketAddr]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("run")).unwrap();
        let mut checks = "[defaults]\ninterval = \"100ms\"\ntimeout = \"2s\"\n".to_owned();
        checks +=
            &format!("[[check]]\nname = \"gateway\"\ntarget = \"{gateway}\"\ntcp.receive = \"hello\"\n");
        for (number, address) in behind.iter().enumerate() {
            checks += &format!(
                "[[check]]\nname = \"web{number}\"\ntarget = \"{address}\"\ntcp.receive = \"hello\"\ndepends_on = [\"gateway\"]\n"
            );
        }
        fs::write(path("checks.toml"), checks).unwrap();
        let config =
            format!("[source]\nkind = \"file\"\nfiles = [{:?}]\n", path("checks.toml").display().to_string());
        fs::write(path("hc-server.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
        command.arg("--config").arg(path("hc-server.toml"));
        command.arg("--socket").arg(path("run/hc.sock")).arg("--state-dir").arg(path("state"));
        let server = Process::start(&mut command, &path("server.log"));
        let site = Self { dir, _server: server };
        wait_until("ready", || site.log().contains(" ready "));
        site
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    fn ask(&self, path: &str) -> Value {
        admin::ask(&self.dir.path().join("run/hc-admin.sock"), &format!("GET {path}"), "").1
    }

    /// The health of a check, and what consumers get of it.
    fn health(&self, name: &str) -> (String, String) {
        let check = self.ask(&format!("/api/v1/checks/{name}"));
        let own = check["health"].as_str().unwrap_or_default().to_owned();
        let reported = check["reported"]["health"].as_str().unwrap_or(&own).to_owned();
        (own, reported)
    }

    #[track_caller]
    fn wait_health(&self, name: &str, own: &str, reported: &str) {
        let expected = (own.to_owned(), reported.to_owned());
        wait_until(&format!("{name} is {own}, and {reported} for consumers"), || {
            self.health(name) == expected
        });
    }
}

/// Replaces each backend by one at the same address that greets otherwise.
fn replace(backends: Vec<Backend>, greeting: &'static [u8]) -> Vec<Backend> {
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    drop(backends);
    addresses.iter().map(|address| Backend::start(&address.to_string(), greeting)).collect()
}

const DOWN: &str = "a gateway is down: failures of checks that depend on it are held";

#[test]
fn a_gateway_that_is_down_is_one_alarm_and_its_dependants_are_held_until_it_is_back() {
    let backends: Vec<Backend> = (0..6).map(|_| Backend::start("127.0.0.1:0", b"hello")).collect();
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    let site = Site::start(addresses[0], &addresses[1..]);
    let web = |number: usize| format!("web{number}");
    (0..5).for_each(|number| site.wait_health(&web(number), "healthy", "healthy"));

    let backends = replace(backends, b"sorry");
    site.wait_health("gateway", "unhealthy", "unhealthy");
    (0..5).for_each(|number| site.wait_health(&web(number), "unhealthy", "healthy"));
    assert_eq!(site.log().matches(DOWN).count(), 1, "{}", site.log());
    let shown = site.ask("/api/v1/checks/web1");
    assert_eq!(
        (&shown["reported"]["by"], &shown["depends_on"][0]),
        (&"dependency".into(), &"gateway".into()),
        "{shown}"
    );
    assert!(shown["explanation"].to_string().contains("since it depends on gateway"), "{shown}");
    assert!(site.ask("/metrics").as_str().unwrap().contains("hc_dependents_held 5\n"));

    // One of them stays away.
    let mut backends = replace(backends, b"hello");
    drop(backends.pop());
    site.wait_health("gateway", "healthy", "healthy");
    site.wait_health("web4", "unhealthy", "unhealthy");
    (0..4).for_each(|number| site.wait_health(&web(number), "healthy", "healthy"));
    assert!(site.log().contains("a gateway is up again"));
    assert!(site.ask("/metrics").as_str().unwrap().contains("hc_dependents_held 0\n"));
}

#[test]
fn a_check_that_fails_behind_a_gateway_that_is_up_is_told() {
    let gateway = Backend::start("127.0.0.1:0", b"hello");
    let backend = Backend::start("127.0.0.1:0", b"hello");
    let site = Site::start(gateway.address, &[backend.address]);
    site.wait_health("web0", "healthy", "healthy");
    drop(backend);
    site.wait_health("web0", "unhealthy", "unhealthy");
    assert!(!site.log().contains(DOWN), "{}", site.log());
}
