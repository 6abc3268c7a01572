//! Files of checks on disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::{Checks, ConfigErrors, Diagnostic, Files, Limits, SourceFile, parse};

/// The largest file that is read: 256 MiB. A file of a million checks has about 100 MB.
const MAX_FILE: u64 = 256 << 20;

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut bytes = Vec::new();
        if file.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }
}

/// Makes the checks of all files that the globs match, as [`parse`] does; each file is read once,
/// in the order of the globs and of the names.
///
/// # Errors
/// [`ConfigErrors`] as [`parse`] has it, and for a glob that is not one, that matches no file, or
/// whose files cannot be read.
pub fn load(globs: &[&str], limits: &Limits) -> Result<Checks, ConfigErrors> {
    let mut problems = Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in globs {
        match matching(pattern) {
            Ok(found) => {
                let new: Vec<PathBuf> = found.into_iter().filter(|path| !paths.contains(path)).collect();
                paths.extend(new);
            }
            Err(problem) => problems.push(general(problem)),
        }
    }
    let mut sources = Vec::new();
    for path in paths {
        match Disk.read(&path) {
            Ok(bytes) => sources.push(SourceFile::new(path.display().to_string(), bytes)),
            Err(error) => problems.push(general(format!("cannot read {}: {error}", path.display()))),
        }
    }
    match parse(&sources, limits, &Disk) {
        Ok(checks) if problems.is_empty() => Ok(checks),
        Ok(_) => Err(ConfigErrors(problems)),
        Err(errors) => Err(ConfigErrors(problems.into_iter().chain(errors.0).collect())),
    }
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let entries = glob::glob(pattern).map_err(|error| format!("{pattern:?} is not a glob: {error}"))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{pattern:?}: {error}"))?;
        // `checks.d/*` is meant for the files in it.
        if !path.is_dir() || path.as_os_str() == pattern {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(format!("{pattern:?} matches no file"));
    }
    paths.sort();
    Ok(paths)
}

fn general(problem: String) -> Diagnostic {
    Diagnostic { place: None, key: String::new(), problem, suggestion: None, other: None }
}
