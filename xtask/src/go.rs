//! The Go toolchain: the version we need, and commands in our two modules.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// The oldest Go that builds the proxy, as its `go.mod` says.
const NEEDED: (u32, u32) = (1, 26);

/// A `go` command that runs in the module at `directory`.
pub(crate) fn go(directory: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(directory);
    command
}

/// Checks that Go is there and young enough.
///
/// It is asked inside the module: a Go that is too old fetches the one that `go.mod` names, if it
/// is allowed to.
pub(crate) fn ensure(module: &Path) -> Result<()> {
    if command::find("go").is_none() {
        bail!("Go is missing. {}", how_to_get_it());
    }
    let version = command::output(go(module).args(["env", "GOVERSION"])).context(how_to_get_it())?;
    match parse(version.trim()) {
        Some(found) if found >= NEEDED => Ok(()),
        _ => bail!("Go is too old: {}. {}", version.trim(), how_to_get_it()),
    }
}

fn how_to_get_it() -> String {
    let (major, minor) = NEEDED;
    format!(
        "Go {major}.{minor} or newer is needed: unpack the archive from https://go.dev/dl/ into /usr/local \
         and put /usr/local/go/bin into PATH"
    )
}

/// Major and minor number of `go1.26.8`, `go1.26rc1` or `go1.27-custom`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.strip_prefix("go")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(parse("go1.26.8"), Some((1, 26)));
        assert_eq!(parse("go1.26rc1"), Some((1, 26)));
        assert_eq!(parse("go1.27-custom"), Some((1, 27)));
        assert_eq!(parse("go2.0"), Some((2, 0)));
        assert_eq!(parse("devel +3a4f"), None);
    }

    #[test]
    fn a_newer_minor_is_newer_even_with_more_digits() {
        assert!(parse("go1.100") > parse("go1.26"));
        assert!(parse("go1.9") < parse("go1.26"));
    }
}
