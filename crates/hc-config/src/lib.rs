//! Files of checks become a list of checks: TOML with defaults, groups, templates and ranges of
//! targets, or a `cluster.pb` of Seesaw.
//!
//! [`parse`] does no I/O: the caller passes the bytes of the files in. [`load`] reads them from
//! disk by glob. All problems are reported at once, each with file, line, column and key. The keys
//! of the format are in `docs/checks.md`.
//!
//! ```
//! use hc_config::{Limits, NoFiles, SourceFile, parse};
//!
//! let file = SourceFile::new("checks.toml", r#"
//!     [defaults]
//!     interval = "5s"
//!
//!     [[check]]
//!     name = "web"
//!     target = ["192.0.2.1", "192.0.2.8/30"]
//!     http = { path = "/healthz" }
//! "#);
//! let read = parse(&[file], &Limits::default(), &NoFiles)?;
//! let names: Vec<&str> = read.checks.iter().map(|check| &*check.name).collect();
//! assert_eq!(names, ["web/192.0.2.1:80", "web/192.0.2.9:80", "web/192.0.2.10:80"]);
//!
//! let misspelt = SourceFile::new("checks.toml", "[defaults]\nintervall = \"5s\"\n");
//! let errors = parse(&[misspelt], &Limits::default(), &NoFiles).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "checks.toml:2:1: defaults.intervall: is not a key of this table; did you mean `interval`?",
//! );
//! # Ok::<(), hc_config::ConfigErrors>(())
//! ```

mod build;
mod depends;
mod diagnostic;
mod expand;
mod form;
mod host;
mod ids;
mod inherit;
mod keys;
mod load;
mod print;
mod probe;
mod range;
mod read;
mod reference;
mod schema;
mod seesaw;
mod suggest;
mod timing;
mod tls;
mod way;
mod words;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use hc_types::{CheckId, CheckSpec, Metadata, OpinionKeys};

pub use diagnostic::{ConfigErrors, Diagnostic, Place};
pub use host::{HostCheck, Resolve};
pub use ids::check_id;
pub use load::{Disk, load, load_through, matching};
pub use print::{PrintError, print};
pub use reference::reference;
pub use schema::schema;

use build::{Build, Drafts, SecretFiles};
use diagnostic::Report;
use expand::Expansion;
use form::{Settings, Value};
use inherit::Catalog;

/// Labels of a check: names and values, sorted by name.
pub type Labels = Arc<[(Box<str>, Box<str>)]>;

/// Names of checks that another one depends on.
pub type DependsOn = Arc<[Box<str>]>;

/// One check of the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Made from the name by [`check_id`].
    pub id: CheckId,
    /// Unique over all files.
    pub name: Arc<str>,
    /// Labels by name. The checks of one `[[check]]` share them.
    pub labels: Labels,
    /// Names of the checks that this one depends on.
    pub depends_on: DependsOn,
    /// Whether it has series of its own in the metrics.
    pub metrics: bool,
    /// How a fleet judges it.
    pub opinions: OpinionKeys,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
}

impl Check {
    /// Its name, its labels and what else travels beside the spec.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        Metadata {
            name: Some(Arc::clone(&self.name)),
            labels: Arc::clone(&self.labels),
            depends_on: Arc::clone(&self.depends_on),
            metrics: self.metrics,
            opinions: self.opinions,
        }
    }
}

/// A file: its name for errors, and what is in it. Files that it names are looked for beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The path, as errors show it.
    pub name: String,
    /// The contents.
    pub bytes: Vec<u8>,
}

impl SourceFile {
    /// A file.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// Without the contents, which may hold secrets.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads the files that the files of checks name, such as those of secrets.
pub trait Files {
    /// The contents of a file.
    ///
    /// # Errors
    /// That of the system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// No files: each is reported as not found.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Files for BTreeMap<PathBuf, Vec<u8>> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// How many checks the files may make. A range above a limit is an error, never cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Addresses of one CIDR range. Default 65,536.
    pub per_range: usize,
    /// Checks in all. Default 1,000,000.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_range: 65_536, total: 1_000_000 }
    }
}

impl Limits {
    /// Limits other than the default.
    #[must_use]
    pub fn new(per_range: usize, total: usize) -> Self {
        Self { per_range, total }
    }
}

/// What files of checks hold.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Checks {
    /// The checks, in the order of the files and of what stands in them.
    pub checks: Vec<Check>,
    /// The checks whose target is a host name, in the same order.
    pub hosts: Vec<HostCheck>,
    /// What Seesaw's engine leaves out of a `cluster.pb`, and checks of it that cannot run. The
    /// other checks are not affected.
    pub warnings: Vec<Diagnostic>,
}

/// Makes the checks of all files.
///
/// A file whose name ends in `.pb`, `.pbtxt`, `.textproto` or `.txtpb` is a `cluster.pb` of Seesaw,
/// any other one is TOML. Templates and groups are known in all files, defaults in their own file
/// only. `files` reads what they name.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong; then there are no checks at all.
pub fn parse(sources: &[SourceFile], limits: &Limits, files: &dyn Files) -> Result<Checks, ConfigErrors> {
    let mut report = Report::default();
    let mut warnings = Report::default();
    let mut expansion = Expansion::new(*limits);
    let mut drafts = Drafts::default();
    let mut documents: Vec<Settings> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        if seesaw::is_cluster(&source.name) {
            let cluster = seesaw::read(&source.bytes, index, &mut expansion, &mut report, &mut warnings);
            drafts.checks.extend(cluster);
        } else {
            documents.extend(read::document(&source.bytes, index, &keys::DOCUMENT, &mut report));
        }
    }
    let secrets = SecretFiles { sources, files, tls_options: RefCell::default() };
    let mut catalog = Catalog::new(&documents, &mut report);
    for document in &documents {
        let defaults = inherit::defaults(document);
        for item in document.items(&keys::CHECK) {
            let Value::Table(check) = &item.value else { continue };
            let layer = catalog.flatten_check(check, &defaults, &mut report);
            let build = Build { layer: &layer, header: item.at, secrets: &secrets, report: &mut report };
            let new = build.checks(&mut expansion);
            drafts.checks.extend(new.checks);
            drafts.hosts.extend(new.hosts);
            drafts.edges.extend(new.edges);
        }
    }
    let checks = ids::assign(drafts, check_id, &mut report);
    let problems = report.finish(sources);
    if !problems.is_empty() {
        return Err(problems.into());
    }
    Ok(Checks { warnings: warnings.finish(sources), ..checks })
}
