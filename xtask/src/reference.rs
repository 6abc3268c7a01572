//! `cargo xtask reference`: the pages of `docs` that are made from the programs. Tests hold the
//! pages against the programs; this writes them anew.

use std::fs;

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

/// Examples that write pages by themselves.
const WRITERS: [(&str, &str); 2] = [("hc-config", "write-docs"), ("hc-server", "write-reference")];

/// `cargo xtask reference`.
pub(crate) fn main() -> Result<()> {
    let workspace = Workspace::load()?;
    for (package, example) in WRITERS {
        command::run(workspace.cargo().args(["run", "--quiet", "--package", package, "--example", example]))?;
    }
    let page =
        command::output(workspace.cargo().args(["run", "--quiet", "--package", "hcctl", "--", "reference"]))?;
    let file = workspace.root().join("docs/reference/hcctl.md");
    fs::write(&file, page).with_context(|| file.display().to_string())
}
