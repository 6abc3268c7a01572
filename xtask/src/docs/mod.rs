//! `cargo xtask docs`: the pages as a site, and everything in them that can be checked.

mod alerts;
mod console;
mod links;
mod log_lines;
mod page;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::page::Page;
use crate::command;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// What [`check`] needs.
pub(crate) const NEEDS: &[Need] = &[Need::Rust, Need::Servers];

/// `cargo xtask docs`.
pub(crate) fn main(only_check: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    if only_check {
        setup::ensure(&workspace, NEEDS)?;
        return check(&workspace);
    }
    if command::find("mdbook").is_none() {
        bail!("mdbook is missing: `cargo install mdbook` brings it; `cargo xtask docs --check` does without");
    }
    let book = workspace.target().join("book");
    command::run(
        Command::new("mdbook").arg("build").arg("--dest-dir").arg(&book).arg(workspace.root().join("docs")),
    )?;
    println!("the site is in {}", book.display());
    Ok(())
}

/// Links, anchors, the table of contents, lines of the log, metrics of alerts and dashboard; then
/// promtool and the console blocks.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    crate::need_root("docs --check")?;
    let pages = pages(workspace.root())?;
    let problems = problems(workspace, &pages)?;
    if !problems.is_empty() {
        bail!("{} problems\n{}", problems.len(), problems.join("\n"));
    }
    println!("{} pages: links, contents, log lines and metrics are right", pages.len());
    alerts::promtool(workspace.root())?;
    run_blocks(workspace, &pages)
}

/// What is wrong with links, contents, log lines, alerts and the dashboard.
fn problems(workspace: &Workspace, pages: &[Page]) -> Result<Vec<String>> {
    let mut problems = links::problems(workspace.root(), pages);
    problems.extend(links::unclear_blocks(pages));
    problems.extend(links::contents(pages));
    problems.extend(log_lines::problems(workspace, pages)?);
    problems.extend(alerts::problems(workspace.root(), pages)?);
    Ok(problems)
}

/// Every page that git knows or would take.
fn pages(root: &Path) -> Result<Vec<Page>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "*.md"])
        .current_dir(root);
    let names = command::output(&mut git)?;
    let there = names.lines().map(PathBuf::from).filter(|path| root.join(path).exists());
    there.map(|path| Page::read(root, &path)).collect()
}

/// Runs what the pages have as `console`, with the programs as CI builds them for tests.
fn run_blocks(workspace: &Workspace, pages: &[Page]) -> Result<()> {
    let programs = ["hc-server", "hcctl"];
    let mut cargo = workspace.cargo();
    cargo.arg("build").args(crate::ci::EVERYTHING);
    for program in programs {
        cargo.args(["--bin", program]);
    }
    command::run(&mut cargo)?;
    let bin = tempfile::tempdir().context("cannot make a directory")?;
    for program in programs {
        let built = workspace.target().join("debug").join(program);
        std::os::unix::fs::symlink(&built, bin.path().join(program)).context("cannot link a program")?;
    }
    for page in pages {
        let commands = console::run(page, bin.path())?;
        if commands > 0 {
            println!("{}: {commands} commands print what it shows", page.path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_right() {
        let workspace = Workspace::load().unwrap();
        let pages = pages(workspace.root()).unwrap();
        assert!(pages.len() > 20);
        let found = problems(&workspace, &pages).unwrap();
        assert!(found.is_empty(), "{} problems\n{}", found.len(), found.join("\n"));
    }
}
