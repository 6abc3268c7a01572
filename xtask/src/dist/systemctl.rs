//! A stand-in for `systemctl` in the root in which packages are tried out, where no systemd runs.
//! It is what the maintainer scripts of the packages call, by way of Debian's `deb-systemd-invoke`.
//!
//! It reads the real units and starts their `ExecStart=` as the real user with the real
//! capabilities, directories and environment, and waits for `READY=1`. It knows the few directives
//! that our units need, and no confinement.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::command;

/// The process ids of what runs, and what it writes.
const RUN: &str = "/run/stand-in";

/// How long a start and a stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether we were called by that name.
pub(crate) fn is_systemctl(program: Option<OsString>) -> bool {
    program.is_some_and(|program| Path::new(&program).file_name().is_some_and(|name| name == "systemctl"))
}

/// `systemctl`, as far as it goes.
pub(crate) fn stand_in(args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with('-')).collect();
    let done = match words.split_first() {
        Some((verb, units)) => run(verb, units),
        None => Err(anyhow!("no command")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("systemctl (stand-in): {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does it for each unit. `false` is a question that was answered with no.
fn run(verb: &str, units: &[&str]) -> Result<bool> {
    let mut all = true;
    for unit in units {
        match verb {
            "is-enabled" => {
                let is = is_enabled(unit);
                println!("{}", if is { "enabled" } else { "disabled" });
                all &= is;
            }
            "is-active" => all &= running(unit).is_some(),
            // That is how Debian enables a unit.
            "preset" => enable(unit)?,
            "start" => start(unit)?,
            "stop" => stop(unit)?,
            "restart" => {
                stop(unit)?;
                start(unit)?;
            }
            "try-restart" => {
                if running(unit).is_some() {
                    stop(unit)?;
                    start(unit)?;
                }
            }
            "daemon-reload" | "list-units" | "show" | "reload" => {}
            other => bail!("{other} is not known"),
        }
    }
    Ok(all)
}

/// Whether a target wants it.
fn is_enabled(unit: &str) -> bool {
    let directories = fs::read_dir("/etc/systemd/system").into_iter().flatten().flatten();
    directories.map(|entry| entry.path().join(unit)).any(|link| link.is_symlink())
}

fn enable(unit: &str) -> Result<()> {
    let (file, text) = find(unit)?;
    for target in Service::parse(&text)?.all("WantedBy") {
        let wants = Path::new("/etc/systemd/system").join(format!("{target}.wants"));
        fs::create_dir_all(&wants)?;
        if !wants.join(unit).is_symlink() {
            symlink(&file, wants.join(unit))?;
        }
    }
    Ok(())
}

/// The file of a unit, and what is in it.
fn find(unit: &str) -> Result<(PathBuf, String)> {
    let file = Path::new("/lib/systemd/system").join(unit);
    let text = fs::read_to_string(&file).with_context(|| format!("there is no unit {unit}"))?;
    Ok((file, text))
}

fn pid_file(unit: &str) -> PathBuf {
    Path::new(RUN).join(format!("{unit}.pid"))
}

/// The process of a unit, unless it has ended. One that nobody has waited for yet has ended.
fn running(unit: &str) -> Option<i32> {
    let pid: i32 = fs::read_to_string(pid_file(unit)).ok()?.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    (state != 'Z').then_some(pid)
}

fn stop(unit: &str) -> Result<()> {
    let Some(pid) = running(unit) else { return Ok(()) };
    kill_process(Pid::from_raw(pid).context("a process id")?, Signal::TERM)?;
    wait(&format!("the end of {unit}"), || running(unit).is_none())?;
    fs::remove_file(pid_file(unit)).context("cannot forget a process")
}

fn start(unit: &str) -> Result<()> {
    if running(unit).is_some() {
        return Ok(());
    }
    let service = Service::parse(&find(unit)?.1)?;
    let (user, group) = (service.one("User")?, service.one("Group")?);
    let owner = (id("/etc/passwd", user)?, id("/etc/group", group)?);
    for (key, above) in [("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")] {
        if let Ok(name) = service.one(key) {
            let directory = Path::new(above).join(name);
            fs::create_dir_all(&directory)?;
            chown(&directory, Some(owner.0), Some(owner.1))?;
        }
    }
    fs::create_dir_all(RUN)?;
    let notify = Path::new(RUN).join(format!("{unit}.notify"));
    let _ = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify).context("cannot make the socket of notifications")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    fs::set_permissions(&notify, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;

    let environment = service.environment()?;
    let log = File::options().create(true).append(true).open(format!("{RUN}/{unit}.log"))?;
    let mut setpriv = Command::new("setpriv");
    setpriv.arg("--reuid").arg(user).arg("--regid").arg(group).arg("--no-new-privs");
    match service.all("SupplementaryGroups") {
        [] => setpriv.arg("--init-groups"),
        // Beside those that the user is in.
        groups => {
            let own = command::output(Command::new("id").args(["-G", user]))?;
            let own = own.split_whitespace().map(str::to_owned);
            let all: Vec<String> = own.chain(groups.iter().map(ToString::to_string)).collect();
            setpriv.arg("--groups").arg(all.join(","))
        }
    };
    let capabilities = service.capabilities();
    setpriv.arg(format!("--bounding-set={capabilities}")).arg(format!("--inh-caps={capabilities}"));
    setpriv.arg(format!("--ambient-caps={capabilities}")).arg("--");
    setpriv.args(service.command(&environment)?);
    setpriv.env_clear().envs(&environment).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    setpriv.env("NOTIFY_SOCKET", &notify).process_group(0);
    setpriv.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = setpriv.spawn().context("cannot run setpriv")?;
    fs::write(pid_file(unit), child.id().to_string())?;
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).with_context(|| format!("{unit} does not get ready"))?;
    match &bytes[..length] {
        b"READY=1" => Ok(()),
        other => bail!("{unit} said {:?} first", String::from_utf8_lossy(other)),
    }
}

/// The id of a user or group of this root, which need not be one of the machine.
fn id(file: &str, name: &str) -> Result<u32> {
    let text = fs::read_to_string(file).with_context(|| file.to_owned())?;
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|fields| fields.first() == Some(&name));
    let id = entry.and_then(|fields| fields.get(2)?.parse().ok());
    id.with_context(|| format!("{name} is not in {file}"))
}

/// Waits until it is done, for 30 s at most.
#[allow(clippy::disallowed_methods, reason = "real processes are awaited in real time")]
pub(super) fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() >= end {
            bail!("{what}: not within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The directives of a unit, each with all its values.
#[derive(Debug)]
struct Service(BTreeMap<String, Vec<String>>);

impl Service {
    fn parse(text: &str) -> Result<Self> {
        let mut directives: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
            let (key, value) = line.split_once('=').with_context(|| format!("not a directive: {line}"))?;
            directives.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Ok(Self(directives))
    }

    fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    fn one(&self, key: &str) -> Result<&str> {
        self.all(key).last().map(String::as_str).with_context(|| format!("the unit has no {key}="))
    }

    /// `-all,+net_raw` for the capabilities that it keeps.
    fn capabilities(&self) -> String {
        let kept = self.all("CapabilityBoundingSet").join(" ").to_lowercase();
        let kept = kept.split_whitespace().filter_map(|name| name.strip_prefix("cap_"));
        kept.fold("-all".to_owned(), |all, name| format!("{all},+{name}"))
    }

    /// Of `Environment=` and the files of `EnvironmentFile=`.
    fn environment(&self) -> Result<BTreeMap<String, String>> {
        let mut lines = self.all("Environment").to_vec();
        for file in self.all("EnvironmentFile") {
            let (file, may_lack) = file.strip_prefix('-').map_or((file.as_str(), false), |file| (file, true));
            match fs::read_to_string(file) {
                Ok(text) => lines.extend(text.lines().map(str::to_owned)),
                Err(_) if may_lack => {}
                Err(error) => return Err(error).with_context(|| file.to_owned()),
            }
        }
        let assignments =
            lines.iter().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Ok(assignments.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect())
    }

    /// The words of `ExecStart=`; a word `$NAME` becomes those of the variable.
    fn command(&self, environment: &BTreeMap<String, String>) -> Result<Vec<String>> {
        let mut words = Vec::new();
        for word in self.one("ExecStart")?.split_whitespace() {
            match word.strip_prefix('$') {
                Some(name) => {
                    let value = environment.get(name).with_context(|| format!("{word} is not set"))?;
                    words.extend(value.split_whitespace().map(str::to_owned));
                }
                None => words.push(word.to_owned()),
            }
        }
        Ok(words)
    }
}

/// Runs a program in `root` and returns what it says; that it failed is an error.
pub(super) fn in_root(root: &Path, words: &[&str]) -> Result<String> {
    let mut chroot = Command::new("chroot");
    chroot.arg(root).args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    chroot.env("DEBIAN_FRONTEND", "noninteractive");
    command::output(&mut chroot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_our_units() {
        let text = include_str!("../../../packaging/systemd/hc-server.service");
        let service = Service::parse(text).unwrap();
        assert_eq!(service.one("User").unwrap(), "seesaw-hc");
        assert_eq!(service.capabilities(), "-all,+net_raw,+net_admin");
        let environment = BTreeMap::from([("DAEMON_OPTS".to_owned(), "--a b".to_owned())]);
        let words = service.command(&environment).unwrap();
        assert_eq!(words[0], "/usr/sbin/hc-server");
        assert_eq!(words[words.len() - 2..], ["--a", "b"]);
        let proxy = Service::parse(include_str!("../../../packaging/systemd/hc-proxy.service")).unwrap();
        assert_eq!(proxy.capabilities(), "-all");
    }
}
