//! Certificates of the cases, and who is trusted on both sides.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hc_checkers::Roots;
use hc_testkit::certificate::{Authority, Identity, Purpose, Wish};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::NamedTempFile;

/// Who a server may be.
pub(crate) struct Trust {
    /// Names of identities, and whether they are good in at least one way is for both sides to say.
    pub(crate) identities: Vec<(&'static str, Arc<Identity>)>,
    /// One that both sides trust, for the loopback addresses and for `www.example.com`.
    pub(crate) good: Arc<Identity>,
    roots: Roots,
    file: NamedTempFile,
}

/// The loopback addresses, and one name.
fn here() -> Wish {
    Wish::valid_for([
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
        "www.example.com".to_owned(),
        "*.wild.example.com".to_owned(),
    ])
}

impl Trust {
    /// Makes all certificates, and writes down the roots for Seesaw's side.
    pub(crate) fn new(more_roots: &[u8]) -> Result<Self> {
        let root = Authority::new("root", 2000, 2100)?;
        let old = Authority::new("old root", 2000, 2010)?;
        let stranger = Authority::new("stranger", 2000, 2100)?;
        let middle = root.delegate("middle")?;
        let known = Identity::self_signed(&here())?;
        let known_authority = Identity::self_signed(&Wish { authority: true, ..here() })?;
        let purposes = |purposes: &[Purpose]| Wish { purposes: purposes.to_vec(), ..here() };
        let roots =
            [root.certificate(), old.certificate(), known.chain[0].clone(), known_authority.chain[0].clone()];
        let identities = [
            ("good", root.sign(&here())?),
            ("good-tls12", root.sign(&here())?.only_tls12()),
            ("for-servers", root.sign(&purposes(&[Purpose::ServerAuth]))?),
            ("for-anything", root.sign(&purposes(&[Purpose::Any]))?),
            ("for-clients", root.sign(&purposes(&[Purpose::ClientAuth]))?),
            ("for-both", root.sign(&purposes(&[Purpose::ClientAuth, Purpose::ServerAuth]))?),
            ("for-mail", root.sign(&purposes(&[Purpose::EmailProtection]))?),
            ("middle-sent", middle.sign(&here())?.with(middle.certificate())),
            ("middle-missing", middle.sign(&here())?),
            ("root-sent-too", middle.sign(&here())?.with(middle.certificate()).with(root.certificate())),
            ("strange-chain-behind", root.sign(&here())?.with(stranger.certificate())),
            ("stranger", stranger.sign(&here())?),
            ("self-signed", Identity::self_signed(&here())?),
            ("self-signed-trusted", known),
            ("authority-trusted", known_authority),
            ("authority-as-server", root.sign(&Wish { authority: true, ..here() })?),
            ("expired", root.sign(&here().in_years(2000, 2010))?),
            ("not-yet-valid", root.sign(&here().in_years(2090, 2100))?),
            ("old-root", old.sign(&here())?),
            ("other-address", root.sign(&Wish::valid_for(["192.0.2.1"]))?),
            ("name-alone", root.sign(&Wish::valid_for(["www.example.com"]))?),
            ("other-name", root.sign(&Wish::valid_for(["other.example.com"]))?),
            ("wild-name", root.sign(&Wish::valid_for(["*.example.com"]))?),
            ("no-names", root.sign(&Wish::valid_for([""; 0]))?),
            ("version-1", Identity::version_1()),
        ];
        let identities = identities.map(|(name, identity)| (name, Arc::new(identity))).to_vec();
        let mut file = NamedTempFile::new().context("cannot write down the roots")?;
        for certificate in &roots {
            let lines = BASE64.encode(certificate);
            writeln!(file, "-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----")?;
        }
        file.write_all(more_roots)?;
        file.flush()?;
        let more = CertificateDer::pem_slice_iter(more_roots).collect::<Result<Vec<_>, _>>();
        let more = more.map_err(|error| anyhow!("the roots of the matrix: {error}"))?;
        let (trusted, problems) = Roots::new(roots.into_iter().chain(more));
        ensure!(problems.is_empty(), "our side cannot use the roots: {problems:?}");
        Ok(Self { good: Arc::clone(&identities[0].1), identities, roots: trusted, file })
    }

    /// For our side.
    pub(crate) fn roots(&self) -> Roots {
        self.roots.clone()
    }

    /// For Seesaw's side.
    pub(crate) fn file(&self) -> &Path {
        self.file.path()
    }
}
