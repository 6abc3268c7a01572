//! Files (Landlock, since Linux 5.13).

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

use crate::{Files, SandboxError};

/// The rights that are taken away where they are not given: those of Linux 6.10. Older kernels
/// confine what they know of.
const ABI_WANTED: ABI = ABI::V5;

/// How far the kernel confines the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// As asked.
    Full,
    /// As far as this older kernel can.
    Partial,
    /// Not at all: the kernel has no Landlock, or it is turned off.
    None,
}

pub(crate) fn confine(files: &Files) -> Result<Confinement, SandboxError> {
    let ruleset = (|| {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI_WANTED))?
            .create()
    })();
    let mut ruleset = ruleset.map_err(failed)?;
    let writing =
        AccessFs::from_all(ABI_WANTED) & !AccessFs::Execute & !AccessFs::MakeChar & !AccessFs::MakeBlock;
    for path in &files.writable {
        let directory = PathFd::new(path)
            .map_err(|error| SandboxError::Directory { path: path.clone(), source: error.into() })?;
        ruleset = ruleset.add_rule(PathBeneath::new(directory, writing)).map_err(failed)?;
    }
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in &files.readable {
        let Ok(opened) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { reading } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, access)).map_err(failed)?;
    }
    let binding = AccessFs::MakeSock | AccessFs::ReadDir;
    for directory in files.sockets.iter().filter_map(|path| PathFd::new(path).ok()) {
        ruleset = ruleset.add_rule(PathBeneath::new(directory, binding)).map_err(failed)?;
    }
    let status = ruleset.restrict_self().map_err(failed)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}

fn failed(error: RulesetError) -> SandboxError {
    SandboxError::Files(error.into())
}
