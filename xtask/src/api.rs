//! `cargo xtask api`: the public API of every published library as text in `docs/api`, so that a
//! change of it is seen in review.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::{Package, Workspace};

/// `cargo xtask api`: writes the files, or fails if `check` is set and they are not up to date.
pub(crate) fn main(check: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    if check { self::check(&workspace) } else { write(&workspace) }
}

/// Fails, with what changed, if the files are not up to date.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut changes = String::new();
    for Api { name, file, text } in current(workspace)? {
        let recorded = fs::read_to_string(file).unwrap_or_default();
        let only_in = |text: &str, other: &str, sign: char| -> String {
            let missing = text.lines().filter(|line| !other.lines().any(|found| found == *line));
            missing.map(|line| format!("{sign} {line}\n")).collect()
        };
        if recorded != text {
            changes +=
                &format!("{name}\n{}{}", only_in(&recorded, &text, '-'), only_in(&text, &recorded, '+'));
        }
    }
    if !changes.is_empty() {
        bail!("the public API is not the one in docs/api; `cargo xtask api` records it:\n{changes}");
    }
    Ok(())
}

fn write(workspace: &Workspace) -> Result<()> {
    let directory = workspace.root().join("docs/api");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for Api { file, text, .. } in current(workspace)? {
        fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// The API of a library, and the file that records it.
struct Api {
    name: String,
    file: PathBuf,
    text: String,
}

/// The API of every published library, with its default features.
///
/// rustdoc writes it as JSON only with an unstable option. `RUSTC_BOOTSTRAP` lets the toolchain
/// that `rust-toolchain.toml` pins take it; the version of `public-api` in `Cargo.toml` reads the
/// format of that toolchain. The target directory is one of its own, since build scripts look at
/// that variable and would make cargo build everything else anew.
fn current(workspace: &Workspace) -> Result<Vec<Api>> {
    let target = workspace.target().join("api");
    let libraries: Vec<Package<'_>> =
        workspace.packages().filter(|package| package.is_published() && package.has_library()).collect();
    let mut cargo = workspace.cargo();
    cargo.args(["doc", "--quiet", "--no-deps", "--lib", "--locked", "--target-dir"]).arg(&target);
    for package in &libraries {
        cargo.args(["--package", package.name()]);
    }
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json --cap-lints=allow");
    command::run(&mut cargo)?;
    libraries
        .iter()
        .map(|package| {
            let json = target.join("doc").join(package.name().replace('-', "_")).with_extension("json");
            let api = public_api::Builder::from_rustdoc_json(&json)
                .omit_blanket_impls(true)
                .omit_auto_trait_impls(true)
                .omit_auto_derived_impls(true)
                .build()
                .with_context(|| format!("cannot read {}", json.display()))?;
            let name = package.name().to_owned();
            let file = workspace.root().join("docs/api").join(&name).with_extension("txt");
            Ok(Api { name, file, text: api.to_string() })
        })
        .collect()
}
