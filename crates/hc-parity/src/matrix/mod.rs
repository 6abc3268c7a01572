//! TLS with real servers: protocol versions, cipher suites, groups, keys, signatures and chains, by
//! `openssl s_server`, and by a server of Go for what the openssl of this machine does not have.

mod authorities;
mod chains;
mod openssl;
mod servers;

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use self::openssl::Workshop;
use crate::case::Case;

/// All keys and certificates, in files.
pub(crate) struct Matrix {
    _directory: TempDir,
    cases: Vec<Case>,
    roots: Vec<u8>,
}

impl Matrix {
    /// Makes all keys and certificates. `programs` has the server of Go.
    ///
    /// # Errors
    /// When openssl cannot make one of them.
    pub(crate) fn new(programs: &Path) -> Result<Self> {
        let directory = TempDir::new()?;
        let workshop = Workshop::new(directory.path(), programs)?;
        let mut cases = servers::cases(&workshop)?;
        cases.extend(authorities::cases(&workshop)?);
        cases.extend(chains::cases(&workshop)?);
        Ok(Self { roots: workshop.roots()?, _directory: directory, cases })
    }

    /// The comparisons.
    pub(crate) fn take_cases(&mut self) -> Vec<Case> {
        std::mem::take(&mut self.cases)
    }

    /// The authorities that both sides trust, in PEM.
    pub(crate) fn roots(&self) -> &[u8] {
        &self.roots
    }
}
