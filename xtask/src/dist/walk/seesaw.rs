//! The walk behind Seesaw's real engine: checks are its own, and it must hear what becomes of them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::backends::{A, B, Backends};
use super::browser::Browser;
use super::installed::Installed;
use super::{Machine, PAGE};
use crate::dist::systemctl::wait;

/// Where the engine has its socket, seen from the root. Packages know nothing of it.
const SOCKET: &str = "run/seesaw/engine/engine.sock";

const CONFIG: &str = "[cluster]\nanycast_enabled = false\nname = dev\nnode_ipv4 = 127.0.0.1\n\
    vip_ipv4 = 127.0.0.100\nuse_vmac = false\n[interface]\nnode = lo\nlb = lo\n";

/// One service with both backends.
const CLUSTER: &str = r#"seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
vserver: < name: "web@dev" rp: "x"
  entry_address: < fqdn: "web." ipv4: "127.0.1.1/8" status: PRODUCTION >
  vserver_entry: < protocol: TCP port: 8080 scheduler: RR mode: NAT
    healthcheck: < type: HTTP interval: 1 timeout: 5 retries: 1 send: "/healthz" code: 200 >
  >
  backend: < host: < fqdn: "a." ipv4: "127.0.0.11/8" status: PRODUCTION > weight: 1 >
  backend: < host: < fqdn: "b." ipv4: "127.0.0.12/8" status: PRODUCTION > weight: 1 >
>
metadata: < last_updated: 1 >
"#;

pub(super) fn walk(machine: &Machine<'_>, page: &mut Browser) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut backends = Backends::start(home.path())?;
    let mut engine = Engine::start(machine, home.path())?;
    let installed = Installed { root: machine.root };

    installed.install("before")?;
    installed.add("etc/seesaw/hc-server.toml", &format!("[admin]\nlisten = \"{PAGE}\"\n"))?;
    installed.service("restart", "hc-server")?;
    installed.service("start", "hc-proxy")?;
    engine.serves(&[A, B]).with_context(|| installed.log())?;
    page.look("up", "seesaw-1-started", json!({ "checks": [A, B] }))?;

    let says = "502 Bad Gateway";
    backends.application.end()?;
    page.look("down", "seesaw-2-broken", json!({ "check": A, "says": says }))?;
    engine.hears(A, says)?;
    engine.serves(&[B])?;
    page.look("why", "seesaw-3-why", json!({ "check": A, "says": says }))?;

    // While A is muted the engine hears of B alone, whatever becomes of A.
    backends.application.begin()?;
    engine.serves(&[A, B])?;
    let id = installed.id(A)?;
    let reason = "a release of the application";
    installed.run(&["hcctl", "mute", &id, "--for", "1h", "--reason", reason])?;
    backends.application.end()?;
    page.look("down", "seesaw-4-muted", json!({ "check": A, "says": says }))?;
    page.look("muted", "seesaw-5-mute", json!({ "check": id, "reason": reason }))?;
    backends.b.end()?;
    engine.serves(&[A])?;
    backends.b.begin()?;
    engine.serves(&[A, B])?;
    installed.run(&["hcctl", "unmute", &id])?;
    engine.serves(&[B])?;

    // Nothing that is well may leave the table meanwhile.
    let before = engine.changes()?.len();
    installed.install("now")?;
    installed.status("2 checks: 1 healthy, 1 unhealthy, 0 unknown")?;
    backends.application.begin()?;
    engine.serves(&[A, B]).with_context(|| installed.log())?;
    let changes = engine.changes()?.split_off(before);
    let is_gone = |change: &&Value| change["op"] == "delete_destination" || change["op"] == "delete_service";
    if let Some(change) = changes.iter().find(is_gone) {
        bail!("the upgrade took something out: {change}");
    }
    page.look("up", "seesaw-6-upgraded", json!({ "checks": [A, B] }))?;

    installed.away("--purge")?;
    ensure!(engine.is_alive(), "the engine did not outlive the purge\n{}", engine.log());
    page.look("lost", "seesaw-7-purged", json!({ "checks": [A, B] }))
}

/// Seesaw's engine, and the stub that has the table of IPVS for it.
struct Engine {
    stub: Child,
    engine: Child,
    log: std::path::PathBuf,
    table: std::path::PathBuf,
}

impl Engine {
    fn start(machine: &Machine<'_>, home: &Path) -> Result<Self> {
        let socket = machine.root.join(SOCKET);
        let directory = socket.parent().context("a socket in a directory")?;
        fs::create_dir_all(directory)?;
        // As Seesaw makes it.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o770))?;
        let (config, cluster) = (home.join("seesaw.cfg"), home.join("cluster.pb"));
        fs::write(&config, CONFIG)?;
        fs::write(&cluster, CLUSTER)?;
        let (ncc, table, log) = (home.join("ncc.sock"), home.join("table"), home.join("engine.log"));
        let stub = Command::new(machine.bin.join("ncc-stub"))
            .arg("-socket")
            .arg(&ncc)
            .stdin(Stdio::null())
            .stdout(File::create(&table)?)
            .spawn()
            .context("cannot start ncc-stub")?;
        wait("ncc-stub listens", || ncc.exists())?;
        let engine = Command::new(machine.bin.join("seesaw_engine"))
            .arg("-logtostderr")
            .args([Path::new("-conf"), &config, Path::new("-cluster"), &cluster])
            .args([Path::new("-ncc_socket"), &ncc, Path::new("-socket"), &socket])
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start seesaw_engine")?;
        Ok(Self { stub, engine, log, table })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.engine.try_wait(), Ok(None)) && !self.log().contains("panic:")
    }

    /// Waits until the engine says of a backend that it is unhealthy, and why.
    fn hears(&self, backend: &str, why: &str) -> Result<()> {
        let (address, _) = backend.split_once(':').context("an address with a port")?;
        let heard = || {
            let log = self.log();
            log.lines().any(|line| [address, "Unhealthy", why].iter().all(|words| line.contains(words)))
        };
        wait("the engine hears of it", heard).with_context(|| self.log())
    }

    /// All changes of the table so far.
    fn changes(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.table)?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Waits until the table has these backends and no others.
    fn serves(&self, backends: &[&str]) -> Result<()> {
        let right = || {
            let mut table: Vec<String> = Vec::new();
            for change in self.changes().unwrap_or_default() {
                let backend = change["destination"].as_str().unwrap_or_default().to_owned();
                match change["op"].as_str() {
                    Some("add_destination") => table.push(backend),
                    Some("delete_destination") => table.retain(|one| *one != backend),
                    _ => {}
                }
            }
            table.sort();
            table == backends
        };
        wait(&format!("the engine serves {backends:?}"), right)
            .with_context(|| format!("{:#?}\n{}", self.changes(), self.log()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for child in [&mut self.engine, &mut self.stub] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
