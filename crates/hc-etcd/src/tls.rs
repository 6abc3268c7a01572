//! TLS towards etcd.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::{EtcdConfig, EtcdConfigError};

/// Whom to trust and what to show, from files that may be replaced while the program runs.
pub(crate) struct TlsFiles {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    name: Option<ServerName<'static>>,
    system: Option<RootCertStore>,
    latest: Mutex<Arc<ClientConfig>>,
}

impl TlsFiles {
    pub(crate) fn load(config: &EtcdConfig) -> Result<Self, EtcdConfigError> {
        let name = match &config.server_name {
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| EtcdConfigError::new("server_name", format!("{name}: not a host's name")))?,
            ),
            None => None,
        };
        let system = config.ca_file.is_none().then(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        });
        let [ca, cert, key] = [&config.ca_file, &config.cert_file, &config.key_file];
        let latest = read(ca.as_deref(), cert.as_deref(), key.as_deref(), system.as_ref())?;
        Ok(Self {
            ca_file: ca.clone(),
            cert_file: cert.clone(),
            key_file: key.clone(),
            name,
            system,
            latest: Mutex::new(latest),
        })
    }

    /// For a new connection: of the files as they are now, or as they were if they cannot be used now.
    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        let [ca, cert, key] = [&self.ca_file, &self.cert_file, &self.key_file];
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(fresh) = read(ca.as_deref(), cert.as_deref(), key.as_deref(), self.system.as_ref()) {
            *latest = fresh;
        }
        latest.clone()
    }

    /// The name that the certificate of the server at `host` must have.
    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| format!("{host} cannot be in a certificate: set server_name")),
        }
    }
}

fn read(
    ca: Option<&Path>,
    cert: Option<&Path>,
    key: Option<&Path>,
    system: Option<&RootCertStore>,
) -> Result<Arc<ClientConfig>, EtcdConfigError> {
    let roots = match (ca, system) {
        (Some(path), _) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("ca_file", path)? {
                roots.add(certificate).map_err(|error| wrong("ca_file", path, &error))?;
            }
            roots
        }
        (None, Some(system)) => system.clone(),
        (None, None) => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| EtcdConfigError::new("endpoints", format!("TLS: {error}")))?
        .with_root_certificates(roots);
    let mut config = match (cert, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates("cert_file", cert)?;
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("key_file", key, &error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| wrong("key_file", key, &error))?
        }
        (Some(_), None) => return Err(EtcdConfigError::new("key_file", "needed beside cert_file")),
        (None, Some(_)) => return Err(EtcdConfigError::new("cert_file", "needed beside key_file")),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn wrong(key: &'static str, path: &Path, error: &dyn std::fmt::Display) -> EtcdConfigError {
    EtcdConfigError::new(key, format!("{}: {error}", path.display()))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, EtcdConfigError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(key, path, &error))?;
    match found.is_empty() {
        true => Err(EtcdConfigError::new(key, format!("{}: no certificate in it", path.display()))),
        false => Ok(found),
    }
}
