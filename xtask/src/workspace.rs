//! The workspace as cargo sees it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// Root, target directory and packages of this workspace.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks cargo, so that `CARGO_TARGET_DIR` and every cargo configuration file are honoured.
    pub(crate) fn load() -> Result<Self> {
        let text =
            command::output(cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
        let metadata: Value = serde_json::from_str(&text).context("cannot read cargo's metadata")?;
        let path = |key: &str| -> Result<PathBuf> {
            Ok(metadata[key].as_str().with_context(|| format!("cargo's metadata lacks `{key}`"))?.into())
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")?, metadata })
    }

    /// The directory of the root `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The Go module that ships.
    pub(crate) fn proxy(&self) -> PathBuf {
        self.root.join("proxy")
    }

    /// The Go module of tests that knows Seesaw's own code.
    pub(crate) fn seesawtest(&self) -> PathBuf {
        self.proxy().join("seesawtest")
    }

    /// The Go module that names a current etcd, for tests.
    pub(crate) fn etcdtest(&self) -> PathBuf {
        self.proxy().join("etcdtest")
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where every finished program is put.
    pub(crate) fn bin(&self) -> PathBuf {
        self.target.join("bin")
    }

    /// Waits until no other process of ours does `what`, and keeps them from it until the end of what
    /// is returned. Steps that run beside each other build the same programs.
    pub(crate) fn lock(&self, what: &str) -> Result<File> {
        let file = self.target.join(format!("xtask-{what}.lock"));
        let context = || format!("cannot lock {}", file.display());
        fs::create_dir_all(&self.target).with_context(context)?;
        let locked = File::create(&file).with_context(context)?;
        locked.lock().with_context(context)?;
        Ok(locked)
    }

    /// The output of `cargo metadata --no-deps`.
    pub(crate) fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// The packages of the workspace.
    pub(crate) fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        self.metadata["packages"].as_array().into_iter().flatten().map(Package)
    }

    /// A cargo command that runs in the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// One package of the workspace.
#[derive(Clone, Copy)]
pub(crate) struct Package<'a>(&'a Value);

impl<'a> Package<'a> {
    /// Its name.
    pub(crate) fn name(&self) -> &'a str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// As in the names of its packed file and directory, `hc-types-0.1.0`.
    pub(crate) fn name_and_version(&self) -> String {
        format!("{}-{}", self.name(), self.0["version"].as_str().unwrap_or_default())
    }

    /// Where its `Cargo.toml` is.
    pub(crate) fn directory(&self) -> Result<&'a Path> {
        let manifest = self.0["manifest_path"].as_str().context("a package without a manifest")?;
        Path::new(manifest).parent().context("a manifest without a directory")
    }

    /// Whether it goes to a registry; `publish = false` reads as an empty list.
    pub(crate) fn is_published(&self) -> bool {
        self.0["publish"].as_array().is_none_or(|registries| !registries.is_empty())
    }

    /// The names of its programs.
    pub(crate) fn programs(&self) -> Vec<&'a str> {
        self.targets("bin").collect()
    }

    /// Whether others can use it.
    pub(crate) fn has_library(&self) -> bool {
        self.targets("lib").next().is_some()
    }

    /// The names of its targets of this kind.
    fn targets(&self, kind: &'static str) -> impl Iterator<Item = &'a str> {
        let targets = self.0["targets"].as_array().into_iter().flatten();
        let is_kind = move |target: &&Value| {
            target["kind"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()))
        };
        targets.filter(is_kind).filter_map(|target| target["name"].as_str())
    }
}

/// The cargo that runs us, so that the toolchain stays the same.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
