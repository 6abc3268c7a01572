//! Where root certificates come from, and how it is seen that they have changed.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// More hops than the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file of certificates, and directories of such files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) file: Option<PathBuf>,
    pub(super) directories: Vec<PathBuf>,
}

/// What is seen of the sources without reading them. Two that are equal mean that nothing has
/// changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sighting(Vec<(PathBuf, Option<[i64; 6]>)>);

impl Sources {
    /// Those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or, if neither is set, the first known
    /// place of this system where there is something (the file and directories of OpenSSL's
    /// distributions).
    pub(super) fn of_system() -> Self {
        let file = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let directories = env::var_os("SSL_CERT_DIR").map(|directories| {
            env::split_paths(&directories).filter(|path| !path.as_os_str().is_empty()).collect()
        });
        if file.is_none() && directories.is_none() {
            let found = openssl_probe::probe();
            return Self { file: found.cert_file, directories: found.cert_dir };
        }
        Self { file, directories: directories.unwrap_or_default() }
    }

    /// Looks at everything that certificates are read from: `stat(2)` of each file, behind its
    /// links.
    pub(super) fn look(&self) -> Sighting {
        let mut paths: Vec<PathBuf> = self.file.iter().cloned().collect();
        for directory in &self.directories {
            paths.push(directory.clone());
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            entries.sort();
            paths.extend(entries);
        }
        Sighting(
            paths
                .into_iter()
                .map(|path| {
                    let seen = stat(&path);
                    (path, seen)
                })
                .collect(),
        )
    }

    /// What must stay in reach so that the sources can be read again after a change: the directory
    /// of each file and of every link on the way, and the directories of certificates themselves.
    /// The directory above is among them only if the way leads through a directory that is itself a
    /// link (`current/roots.pem`, `current -> 2026`). Directories right below `/` are too wide, so
    /// of a file in one of these there is the file alone.
    pub(super) fn reach(&self) -> Vec<PathBuf> {
        let mut reach = BTreeSet::new();
        let mut paths: Vec<PathBuf> = self.file.iter().chain(&self.directories).cloned().collect();
        for directory in &self.directories {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            paths.extend(entries.map(|entry| entry.path()).filter(|path| path.is_symlink()));
        }
        for hop in paths.into_iter().flat_map(hops) {
            if hop.is_dir() {
                // A directory of certificates is in reach by itself. Others may be beside it, as
                // `/etc/ssl/private`.
                reach.insert(hop.clone());
            }
            if hop.is_dir() && !hop.is_symlink() {
                continue;
            }
            match hop.parent() {
                Some(parent) if is_narrow(parent) => _ = reach.insert(parent.to_owned()),
                _ => _ = reach.insert(hop.clone()),
            }
            let links = hop.ancestors().skip(1).filter(|above| above.is_symlink());
            reach.extend(links.filter_map(Path::parent).filter(|above| is_narrow(above)).map(Path::to_owned));
        }
        reach.into_iter().collect()
    }
}

/// Whether a directory is neither `/` nor right below it. `ancestors` counts the directory itself
/// and `/`.
fn is_narrow(directory: &Path) -> bool {
    directory.ancestors().count() > 2
}

/// The path, and what it leads to link by link, each with its directories resolved.
fn hops(path: PathBuf) -> Vec<PathBuf> {
    let mut hops = Vec::new();
    let mut next = Some(path);
    while let Some(path) = next.take().filter(|_| hops.len() < MOST_LINKS) {
        if let Ok(target) = fs::read_link(&path) {
            next = Some(path.parent().unwrap_or(Path::new("/")).join(target));
        }
        // The link may stand behind another one, as in Kubernetes: `ca.pem -> ..data/ca.pem`,
        // `..data -> ..2026/`.
        let resolved = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
        if let Some((parent, name)) = resolved.zip(path.file_name()) {
            hops.push(parent.join(name));
        }
        hops.push(path);
    }
    hops
}

fn stat(path: &Path) -> Option<[i64; 6]> {
    let seen = fs::metadata(path).ok()?;
    let inode = i64::from_ne_bytes(seen.ino().to_ne_bytes());
    let size = i64::from_ne_bytes(seen.size().to_ne_bytes());
    Some([inode, size, seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()])
}
