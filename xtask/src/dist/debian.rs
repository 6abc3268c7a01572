//! The Debian packages, made by debhelper from `packaging/debian` and the staged files.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::Profile;
use crate::command;
use crate::workspace::Workspace;

/// Which version the packages have, and when it was made.
#[derive(Clone, Copy)]
pub(super) struct Release<'a> {
    pub(super) version: &'a str,
    pub(super) epoch: u64,
}

/// Makes the packages of what is in `stage` and puts them into `to`.
pub(super) fn build(
    workspace: &Workspace,
    stage: &Path,
    Release { version, epoch }: Release<'_>,
    profile: Profile,
    to: &Path,
) -> Result<()> {
    let debian = stage.join("debian");
    super::remove(&debian)?;
    super::copy_tree(&workspace.root().join("packaging/debian"), &debian)?;
    // debhelper finds these by their names.
    for (from, name) in [
        ("systemd/hc-server.service", "hc-server.service"),
        ("systemd/hc-server.socket", "hc-server.socket"),
        ("systemd/hc-proxy.service", "hc-proxy.service"),
        ("sysusers.d/seesaw-hc.conf", "hc-server.sysusers"),
        ("tmpfiles.d/hc-server.conf", "hc-server.tmpfiles"),
        ("default/hc-server", "hc-server.default"),
        ("default/hc-proxy", "hc-proxy.default"),
    ] {
        super::copy(&stage.join(from), &debian.join(name))?;
    }
    fs::write(debian.join("changelog"), changelog(version, epoch)?).context("cannot write the changelog")?;
    let mut rules = Command::new("debian/rules");
    rules.arg("binary").current_dir(stage);
    rules.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("DEB_RULES_REQUIRES_ROOT", "no");
    // Debugging information for the packages of tests would take longer than all the rest. What is
    // released keeps the line tables in packages of their own.
    rules.env("DEB_BUILD_OPTIONS", if profile == Profile::Dev { "noautodbgsym" } else { "" });
    if profile == Profile::Dev {
        rules.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    }
    command::run(&mut rules)?;
    let above = stage.parent().context("the stage is a root")?;
    for (name, path) in super::files(above)? {
        if name.ends_with(".deb") || name.ends_with(".ddeb") {
            fs::rename(&path, to.join(&name)).with_context(|| format!("cannot move {name}"))?;
        }
    }
    super::remove(&debian)
}

/// What Debian calls a changelog; ours is `CHANGELOG.md`, which is in the packages too.
fn changelog(version: &str, epoch: u64) -> Result<String> {
    let time = command::output(
        Command::new("date").args(["-u", "-R", "-d"]).arg(format!("@{epoch}")).env("LC_ALL", "C"),
    )?;
    Ok(format!(
        "hc ({version}-1) unstable; urgency=medium\n\n  * Release {version}. What changes is in changelog.gz.\n\n \
         -- The hc developers <hc-server@users.noreply.github.com>  {}\n",
        time.trim()
    ))
}

/// Asks lintian about the packages in this directory.
pub(super) fn lint(directory: &Path) -> Result<()> {
    let packages: Vec<_> = super::files(directory)?
        .into_iter()
        .filter(|(name, _)| name.ends_with(".deb"))
        .map(|(_, path)| path)
        .collect();
    command::run(
        Command::new("lintian")
            // As root it warns, and nobody who runs it in a container can do anything about it.
            .args(["--allow-root", "--fail-on", "error", "--tag-display-limit", "0"])
            .args(packages),
    )
}
