//! Files of checks on disk.

use std::cell::Cell;
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
    load_through(globs, limits, &Disk)
}

/// As [`load`], but every file is read through `files`: the caller hears of each.
///
/// # Errors
/// Those of [`load`].
pub fn load_through(globs: &[&str], limits: &Limits, files: &dyn Files) -> Result<Checks, ConfigErrors> {
    let files = Judging { files, is_short: Cell::new(false) };
    let mut problems = Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in globs {
        match matches_of(pattern) {
            Ok(found) => {
                let new: Vec<PathBuf> = found.into_iter().filter(|path| !paths.contains(path)).collect();
                paths.extend(new);
            }
            Err(error) => {
                if let MatchError::Unreadable(error) = &error {
                    files.judge(error.error());
                }
                problems.push(general(error.in_words(pattern)));
            }
        }
    }
    let mut sources = Vec::new();
    for path in paths {
        match files.read(&path) {
            Ok(bytes) => sources.push(SourceFile::new(path.display().to_string(), bytes)),
            Err(error) => problems.push(general(format!("cannot read {}: {error}", path.display()))),
        }
    }
    let parsed = parse(&sources, limits, &files);
    let diagnostics = match parsed {
        Ok(checks) if problems.is_empty() => return Ok(checks),
        Ok(_) => problems,
        Err(errors) => problems.into_iter().chain(errors.diagnostics).collect(),
    };
    Err(ConfigErrors { diagnostics, is_shortage: files.is_short.get() })
}

/// The files that the globs match, as [`load`] reads them. A glob that cannot be read matches none.
#[must_use]
pub fn matching(globs: &[&str]) -> Vec<PathBuf> {
    globs.iter().flat_map(|pattern| matches_of(pattern).unwrap_or_default()).collect()
}

/// Notes whether a file could not be read for lack of descriptors or memory.
struct Judging<'f> {
    files: &'f dyn Files,
    is_short: Cell<bool>,
}

impl Judging<'_> {
    fn judge(&self, error: &io::Error) {
        const ENOMEM: i32 = 12;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        if matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE)) {
            self.is_short.set(true);
        }
    }
}

impl Files for Judging<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.read(path).inspect_err(|error| self.judge(error))
    }
}

/// Why a glob gives no files.
enum MatchError {
    NoGlob(glob::PatternError),
    Unreadable(glob::GlobError),
    Nothing,
}

impl MatchError {
    fn in_words(&self, pattern: &str) -> String {
        match self {
            Self::NoGlob(error) => format!("{pattern:?} is not a glob: {error}"),
            Self::Unreadable(error) => format!("{pattern:?}: {error}"),
            Self::Nothing => format!("{pattern:?} matches no file"),
        }
    }
}

fn matches_of(pattern: &str) -> Result<Vec<PathBuf>, MatchError> {
    let entries = glob::glob(pattern).map_err(MatchError::NoGlob)?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(MatchError::Unreadable)?;
        // `checks.d/*` is meant for the files in it.
        if !path.is_dir() || path.as_os_str() == pattern {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(MatchError::Nothing);
    }
    paths.sort();
    Ok(paths)
}

fn general(problem: String) -> Diagnostic {
    Diagnostic { place: None, key: String::new(), problem, suggestion: None, other: None }
}
