//! `cargo xtask setup`: what the commands need on this machine, found by looking, installed as root, or named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, cargo};
use crate::{command, go};

/// What the machine is to be made ready for. Each needs no more than it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building the programs and running the demo.
    Build,
    /// The tests of the Go side, which are built with the race detector and against Seesaw's cgo packages.
    GoTests,
    /// The end-to-end tests.
    Integration,
    /// Everything.
    Ci,
}

/// How we see that something is there. Looking for files instead of asking the package manager is quick and also
/// right where a program did not come from a package.
enum Sign {
    Program(&'static str),
    /// One of these files; `{arch}` is the processor's name.
    File(&'static [&'static str]),
}

struct Requirement {
    sign: Sign,
    /// The Debian package that brings it.
    package: &'static str,
    purposes: &'static [Purpose],
    /// The service that Debian would start and enable along with it; tests start their own.
    service: Option<&'static str>,
}

const fn need(sign: Sign, package: &'static str, purposes: &'static [Purpose]) -> Requirement {
    Requirement { sign, package, purposes, service: None }
}

const fn need_without_service(
    program: &'static str,
    package: &'static str,
    service: &'static str,
    purposes: &'static [Purpose],
) -> Requirement {
    Requirement { sign: Sign::Program(program), package, purposes, service: Some(service) }
}

use Purpose::{Build, Ci, GoTests, Integration};
use Sign::{File, Program};

/// What comes from the system's packages.
const REQUIREMENTS: &[Requirement] = &[
    need(
        File(&[
            "/usr/lib/{arch}-linux-gnu/libseccomp.so",
            "/usr/lib64/libseccomp.so",
            "/usr/lib/libseccomp.so",
        ]),
        "libseccomp-dev",
        &[Build, Integration, Ci],
    ),
    need(Program("pkg-config"), "pkg-config", &[Build, Integration, Ci]),
    need(
        File(&["/usr/include/openssl/ssl.h", "/usr/include/{arch}-linux-gnu/openssl/ssl.h"]),
        "libssl-dev",
        &[Build, Integration, Ci],
    ),
    need(Program("gcc"), "gcc", &[GoTests, Integration, Ci]),
    need(File(&["/usr/include/stdio.h"]), "libc6-dev", &[GoTests, Integration, Ci]),
    need(File(&["/usr/include/libnl3/netlink/netlink.h"]), "libnl-3-dev", &[GoTests, Integration, Ci]),
    need(
        File(&[
            "/usr/lib/{arch}-linux-gnu/libnl-genl-3.so",
            "/usr/lib64/libnl-genl-3.so",
            "/usr/lib/libnl-genl-3.so",
        ]),
        "libnl-genl-3-dev",
        &[GoTests, Integration, Ci],
    ),
    need(Program("ip"), "iproute2", &[Integration, Ci]),
    need(Program("nft"), "nftables", &[Integration, Ci]),
    need(Program("unshare"), "util-linux", &[Integration, Ci]),
    need(Program("mount"), "mount", &[Integration, Ci]),
    need(Program("openssl"), "openssl", &[Integration, Ci]),
    need(File(&["/etc/ssl/certs/ca-certificates.crt"]), "ca-certificates", &[Integration, Ci]),
    need_without_service("nginx", "nginx-light", "nginx", &[Integration, Ci]),
    need_without_service("haproxy", "haproxy", "haproxy", &[Integration, Ci]),
    // promtool comes with it.
    need_without_service("promtool", "prometheus", "prometheus", &[Integration, Ci]),
    need_without_service("unbound", "unbound", "unbound", &[Integration, Ci]),
    need_without_service("freeradius", "freeradius", "freeradius", &[Integration, Ci]),
    need(Program("systemd-analyze"), "systemd", &[Ci]),
    need(Program("git"), "git", &[Ci]),
];

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// `cargo xtask setup`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
    ensure(&Workspace::load()?, Purpose::Ci)?;
    println!("everything is there");
    Ok(())
}

/// Makes the machine ready for `purpose`. Takes a few milliseconds when nothing is missing.
pub(crate) fn ensure(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    let missing: Vec<&Requirement> = REQUIREMENTS
        .iter()
        .filter(|needed| needed.purposes.contains(&purpose) && !needed.sign.is_seen())
        .collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    if purpose == Purpose::Ci && cargo_deny_version().as_deref() != Some(CARGO_DENY) {
        // Not from inside the workspace: its toolchain file and configuration are not the tool's.
        let version = format!("cargo-deny@{CARGO_DENY}");
        command::run(cargo().args(["install", "--locked", "--no-default-features", &version]))?;
    }
    // Last, because it is the one thing that nobody but the user can bring.
    go::ensure(&workspace.proxy())
}

impl Sign {
    fn is_seen(&self) -> bool {
        match self {
            Self::Program(name) => command::find(name).is_some(),
            Self::File(places) => places
                .iter()
                .any(|place| Path::new(&place.replace("{arch}", std::env::consts::ARCH)).exists()),
        }
    }
}

fn install(missing: &[&Requirement]) -> Result<()> {
    let packages: Vec<&str> = missing.iter().map(|needed| needed.package).collect();
    let packages_text = packages.join(" ");
    if command::find("apt-get").is_none() {
        bail!("missing on this machine (names of the Debian packages): {packages_text}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("some packages are missing. Run: sudo apt-get install --no-install-recommends {packages_text}");
    }
    println!("missing: {packages_text}");
    let _no_services = NoServices::begin()?;
    // A list that cannot be renewed may still be good enough.
    if let Err(error) = command::run(apt_get().arg("update")) {
        eprintln!("xtask: {error:#}");
    }
    command::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    if let Some(still) = missing.iter().find(|needed| !needed.sign.is_seen()) {
        bail!("`{}` was installed but does not bring what is needed", still.package);
    }
    for service in missing.iter().filter_map(|needed| needed.service) {
        // Installed for tests, so it must not start with the machine either. Without systemd there is nothing to do.
        let _ = Command::new("systemctl")
            .args(["disable", service])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While it lives, Debian's packages do not start their services: `policy-rc.d` is how they ask.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let file = PathBuf::from("/usr/sbin/policy-rc.d");
        if file.exists() {
            // A container's own policy, which as a rule says the same. It is not ours to change.
            return Ok(Self { ours: None });
        }
        // 101: "action forbidden by policy".
        fs::write(&file, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        let policy = Self { ours: Some(file.clone()) };
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", file.display()))?;
        Ok(policy)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(file) = &self.ours {
            let _ = fs::remove_file(file);
        }
    }
}

/// The version of cargo-deny on this machine, if there is one.
fn cargo_deny_version() -> Option<String> {
    let said = command::output(Command::new(cargo_deny()?).arg("--version")).ok()?;
    said.trim().strip_prefix("cargo-deny ").map(str::to_owned)
}

/// Where `cargo install` puts it, or anywhere in `PATH`.
fn cargo_deny() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    let installed = home.join("bin/cargo-deny");
    if installed.is_file() { Some(installed) } else { command::find("cargo-deny") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_needs_little() {
        let needed = REQUIREMENTS.iter().filter(|needed| needed.purposes.contains(&Build));
        assert_eq!(
            needed.map(|needed| needed.package).collect::<Vec<_>>(),
            ["libseccomp-dev", "pkg-config", "libssl-dev"]
        );
    }

    #[test]
    fn ci_needs_all_that_the_parts_need() {
        assert!(REQUIREMENTS.iter().all(|needed| needed.purposes.contains(&Purpose::Ci)));
    }

    #[test]
    fn sees_programs_and_files() {
        assert!(Program("sh").is_seen());
        assert!(!Program("no-such-program-anywhere").is_seen());
        assert!(File(&["/no/such/file", "/etc/passwd"]).is_seen());
        assert!(!File(&["/no/such/{arch}/file"]).is_seen());
    }
}
