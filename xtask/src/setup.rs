//! `cargo xtask setup`: what the commands need on this machine, found by looking, installed as
//! root, or named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, cargo};
use crate::{build, command, go};

/// Something that a command or a step of CI does, and for which the machine may lack something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compiling our Rust programs.
    Rust,
    /// Compiling our Go programs, which takes Go and nothing else.
    Go,
    /// Compiling with cgo: Seesaw's own packages, and Go's race detector.
    Cgo,
    /// Tests against real servers, with real tools, in network namespaces.
    Servers,
    /// Counting calls and instructions.
    Counters,
    /// The page in a browser.
    Browser,
    /// Checking the units of systemd.
    Units,
    /// Checking licences and sources of dependencies.
    Deny,
    /// Packing crates.
    Package,
    /// Making and trying out the Debian packages.
    Dist,
}

use Need::{Browser, Cgo, Counters, Deny, Dist, Go, Package, Rust, Servers, Units};

/// Everything.
const ALL: &[Need] = &[Rust, Go, Cgo, Servers, Counters, Browser, Units, Deny, Package, Dist];

/// What needs it; what shows that it is there; the Debian package that brings it. A program, or one
/// of several files, in which `{lib}` stands for the directory of the processor's libraries. To
/// look for files is quicker than to ask the package manager, and also right where a program did
/// not come from a package.
const REQUIREMENTS: &[(Need, &[&str], &str)] = &[
    (Rust, &["{lib}/libseccomp.so", "/usr/lib64/libseccomp.so", "/usr/lib/libseccomp.so"], "libseccomp-dev"),
    (Rust, &["pkg-config"], "pkg-config"),
    (Rust, &["/usr/include/openssl/ssl.h", "/usr/include/{arch}-linux-gnu/openssl/ssl.h"], "libssl-dev"),
    (Cgo, &["gcc"], "gcc"),
    (Cgo, &["/usr/include/stdio.h"], "libc6-dev"),
    (Cgo, &["/usr/include/libnl3/netlink/netlink.h"], "libnl-3-dev"),
    (
        Cgo,
        &["{lib}/libnl-genl-3.so", "/usr/lib64/libnl-genl-3.so", "/usr/lib/libnl-genl-3.so"],
        "libnl-genl-3-dev",
    ),
    (Servers, &["ip"], "iproute2"),
    (Servers, &["nft"], "nftables"),
    (Servers, &["unshare"], "util-linux"),
    (Servers, &["mount"], "mount"),
    (Servers, &["openssl"], "openssl"),
    (Servers, &["curl"], "curl"),
    (Servers, &["nc"], "netcat-openbsd"),
    (Servers, &["dig"], "bind9-dnsutils"),
    (Servers, &["ping"], "iputils-ping"),
    (Servers, &["radclient"], "freeradius-utils"),
    (Servers, &["/etc/ssl/certs/ca-certificates.crt"], "ca-certificates"),
    (Servers, &["nginx"], "nginx-light"),
    (Servers, &["haproxy"], "haproxy"),
    (Servers, &["python3"], "python3"),
    (Servers, &["promtool"], "prometheus"),
    (Servers, &["unbound"], "unbound"),
    (Servers, &["named"], "bind9"),
    (Servers, &["freeradius"], "freeradius"),
    (Servers, &["redis-server"], "redis-server"),
    (Servers, &["exim4"], "exim4-daemon-light"),
    (Servers, &["/usr/lib/postgresql"], "postgresql"),
    (Servers, &["mariadbd"], "mariadb-server"),
    (Servers, &["slapd"], "slapd"),
    (Servers, &["etcd"], "etcd-server"),
    (Counters, &["strace"], "strace"),
    (Counters, &["valgrind"], "valgrind"),
    // Ubuntu's package is a stand-in for a snap; its machines for CI have Chrome.
    (
        Browser,
        &[
            "/usr/bin/chromium",
            "/usr/bin/google-chrome",
            "/usr/bin/google-chrome-stable",
            "/usr/bin/chromium-browser",
        ],
        "chromium",
    ),
    (Browser, &["node"], "nodejs"),
    (Browser, &["npm"], "npm"),
    (Units, &["systemd-analyze"], "systemd"),
    (Package, &["git"], "git"),
    (Dist, &["git"], "git"),
    (Dist, &["dh"], "debhelper"),
    (Dist, &["lintian"], "lintian"),
    (Dist, &["mmdebstrap"], "mmdebstrap"),
    (Dist, &["ip"], "iproute2"),
    (Dist, &["unshare"], "util-linux"),
    (Dist, &["mount"], "mount"),
];

/// Packages that bring a service, which Debian would start now and with the machine. The tests
/// start their own.
const SERVICES: &[(&str, &str)] = &[
    ("nginx-light", "nginx"),
    ("haproxy", "haproxy"),
    ("prometheus", "prometheus"),
    ("unbound", "unbound"),
    ("bind9", "named"),
    ("freeradius", "freeradius"),
    ("redis-server", "redis-server"),
    ("exim4-daemon-light", "exim4"),
    ("postgresql", "postgresql"),
    ("mariadb-server", "mariadb"),
    ("slapd", "slapd"),
    ("etcd-server", "etcd"),
];

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// `cargo xtask setup`.
pub(crate) fn main() -> Result<()> {
    let workspace = Workspace::load()?;
    ensure(&workspace, ALL)?;
    build::etcd(&workspace)?;
    println!("everything is there");
    Ok(())
}

/// Makes the machine ready for what is needed. Takes a few milliseconds when nothing is missing.
pub(crate) fn ensure(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let missing = || -> Vec<(&[&str], &str)> {
        let absent = required(needs).filter(|(_, signs, _)| !is_there(signs));
        absent.map(|(_, signs, package)| (*signs, *package)).collect()
    };
    if !missing().is_empty() {
        let _lock = workspace.lock("setup")?;
        // Another step may have brought it.
        install(&missing())?;
    }
    if needs.contains(&Deny) && cargo_deny_version().as_deref() != Some(CARGO_DENY) {
        // Not from inside the workspace: its toolchain file and configuration are not the tool's.
        let version = format!("cargo-deny@{CARGO_DENY}");
        command::run(cargo().args(["install", "--locked", "--no-default-features", &version]))?;
    }
    // Last, because it is the one thing that nobody but the user can bring.
    if needs.contains(&Go) { go::ensure(&workspace.proxy()) } else { Ok(()) }
}

fn required(needs: &[Need]) -> impl Iterator<Item = &'static (Need, &'static [&'static str], &'static str)> {
    REQUIREMENTS.iter().filter(|(need, ..)| needs.contains(need))
}

fn is_there(signs: &[&str]) -> bool {
    let arch = std::env::consts::ARCH;
    let libraries = format!("/usr/lib/{arch}-linux-gnu");
    signs.iter().any(|sign| match sign.contains('/') {
        true => Path::new(&sign.replace("{lib}", &libraries).replace("{arch}", arch)).exists(),
        false => command::find(sign).is_some(),
    })
}

fn install(missing: &[(&[&str], &str)]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
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
    if let Some((_, still)) = missing.iter().find(|(signs, _)| !is_there(signs)) {
        bail!("`{still}` was installed but does not bring what is needed");
    }
    let services =
        SERVICES.iter().filter(|(package, _)| packages.contains(package)).map(|(_, service)| service);
    // Without systemd there is nothing to disable.
    let _ = Command::new("systemctl").arg("disable").args(services).output();
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
        let needed = required(&[Rust, Go]).map(|(.., package)| *package);
        assert_eq!(needed.collect::<Vec<_>>(), ["libseccomp-dev", "pkg-config", "libssl-dev"]);
    }

    #[test]
    fn every_service_is_a_requirement() {
        for (service_of, _) in SERVICES {
            assert!(REQUIREMENTS.iter().any(|(.., package)| package == service_of), "{service_of}");
        }
    }

    #[test]
    fn sees_programs_and_files() {
        assert!(is_there(&["sh"]));
        assert!(!is_there(&["no-such-program-anywhere"]));
        assert!(is_there(&["/no/such/file", "/etc/passwd"]));
        assert!(!is_there(&["{lib}/no/such/file", "/no/such/{arch}/file"]));
    }
}
