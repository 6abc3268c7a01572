//! The systemd units: valid, and confined well enough by systemd's own measure.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// The units, with the program that each starts.
const UNITS: &[(&str, &str)] =
    &[("hc-server.service", "/usr/sbin/hc-server"), ("hc-proxy.service", "/usr/sbin/hc-proxy")];

/// The most that `systemd-analyze security` may give a unit, in tenths. 100 is no confinement at
/// all.
const MOST_EXPOSURE: u32 = 20;

/// Checks the units in `directory`.
///
/// They are checked as copies in which a program that exists takes the place of ours, since
/// `verify` looks for the program and ours is not installed here.
pub(super) fn check(directory: &Path) -> Result<()> {
    let copies = tempfile::tempdir().context("cannot make a temporary directory")?;
    for (unit, program) in UNITS {
        let file = directory.join(unit);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let here = with_program_of_this_machine(&text, program).with_context(|| format!("in {unit}"))?;
        fs::write(copies.path().join(unit), here).context("cannot write a copy of a unit")?;
    }
    for (unit, _) in UNITS {
        let copy = copies.path().join(unit);
        // `verify` says what is wrong and yet succeeds for much of it: silence is what we want.
        let mut verify = Command::new("systemd-analyze");
        let verified =
            verify.arg("verify").arg("--man=no").arg(&copy).output().context("cannot run systemd-analyze")?;
        let said = String::from_utf8_lossy(&verified.stderr);
        if !verified.status.success() || said.contains(unit) {
            bail!("systemd-analyze verify {unit}: {}\n{said}", verified.status);
        }
        let table = command::output(
            Command::new("systemd-analyze")
                .args(["security", "--no-pager", "--offline=yes"])
                .arg(format!("--threshold={MOST_EXPOSURE}"))
                .arg(&copy),
        )?;
        println!("{}", table.lines().last().unwrap_or_default().trim_start_matches(['→', ' ']));
    }
    Ok(())
}

fn with_program_of_this_machine(unit: &str, program: &str) -> Result<String> {
    let line = format!("ExecStart={program}");
    if !unit.lines().any(|found| found == line || found.starts_with(&format!("{line} "))) {
        bail!("there is no line that starts {program}");
    }
    Ok(unit.replace(&line, "ExecStart=/bin/true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed units, one of them changed.
    #[track_caller]
    fn check_changed(from: &str, to: &str, expected: &str) {
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
        let changed = tempfile::tempdir().unwrap();
        for (unit, _) in UNITS {
            let text = fs::read_to_string(units.join(unit)).unwrap();
            assert!(text.contains(from), "{unit} has no {from:?}");
            fs::write(changed.path().join(unit), text.replace(from, to)).unwrap();
        }
        let error = format!("{:#}", check(changed.path()).expect_err("a changed unit passed"));
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_misspelt_directive_is_found() {
        check_changed("NoNewPrivileges=yes", "NoNewPrivilege=yes", "NoNewPrivilege");
    }

    #[test]
    fn a_unit_that_lost_its_confinement_is_found() {
        check_changed("SystemCallFilter=@system-service\n", "", "security");
    }

    #[test]
    fn a_unit_that_starts_something_else_is_found() {
        check_changed("ExecStart=/usr/sbin/", "ExecStart=/usr/bin/", "no line that starts");
    }
}
