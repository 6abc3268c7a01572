//! TLS towards consumers.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Whom a webhook over HTTPS trusts. Read once: files may be out of reach later.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

/// Why no TLS is possible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsClientError {
    /// A file of certificates cannot be read, or holds none.
    #[error("{}: {problem}", path.display())]
    Certificates {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        problem: String,
    },
    /// The library refuses the protocol versions.
    #[error("TLS: {0}")]
    Library(String),
}

impl TlsClient {
    /// Trusts the certificates in `ca_file`, or those of the system.
    ///
    /// # Errors
    /// [`TlsClientError`] when `ca_file` cannot be used. Certificates of the system that cannot be
    /// read are left out.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TlsClientError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => {
                let failed =
                    |problem: String| TlsClientError::Certificates { path: path.to_owned(), problem };
                let certificates =
                    CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                    roots.add(certificate).map_err(|error| failed(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(failed("no certificate in it".to_owned()));
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsClientError::Library(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}
