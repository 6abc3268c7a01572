//! Which certificates are good: the verdicts of Go's `crypto/x509`, as far as webpki can give them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, SignatureScheme};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RawPublicKeyEntity,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use super::second_opinion::{self, SecondOpinion};
use super::{der, reason, rules, signatures};

/// Verifies chain, name, dates and purpose.
///
/// webpki is stricter than Go in one thing that is common among backends: a self-signed certificate
/// that is itself trusted. Go takes a certificate that is among the roots as it is, whether it may
/// sign others or not. So does this. And webpki does not look at the dates of roots, while Go does.
/// So does this.
#[derive(Debug)]
pub(super) struct Verifying {
    anchors: Vec<TrustAnchor<'static>>,
    /// From when until when each of the anchors is valid, in seconds since 1970.
    validity: Vec<(u64, u64)>,
    /// How many authorities may stand below each of the anchors; `None`: it may sign no server's
    /// certificate.
    depth: Vec<Option<usize>>,
    known: HashSet<CertificateDer<'static>>,
    second_opinion: SecondOpinion,
}

impl Verifying {
    pub(super) fn new(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> (Self, Vec<webpki::Error>) {
        let mut verifying = Self {
            anchors: Vec::new(),
            validity: Vec::new(),
            depth: Vec::new(),
            known: HashSet::new(),
            second_opinion: SecondOpinion::default(),
        };
        let mut malformed = Vec::new();
        for certificate in certificates {
            if verifying.known.contains(&certificate) {
                continue;
            }
            match webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned()) {
                Ok(anchor) => {
                    verifying.anchors.push(anchor);
                    verifying.validity.push(der::validity(&certificate).unwrap_or((0, u64::MAX)));
                    verifying.depth.push(rules::depth_of_root(&certificate));
                    verifying.known.insert(certificate);
                }
                Err(error) => malformed.push(error),
            }
        }
        (verifying, malformed)
    }

    pub(super) fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether both trust the same certificates.
    pub(super) fn is_of_same(&self, other: &Self) -> bool {
        self.known == other.known
    }

    /// Verifies a chain. `sha1`: signatures with SHA-1 count.
    ///
    /// # Errors
    /// Why it is not good, in words.
    pub(super) fn verify_chain(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        sha1: bool,
    ) -> Result<(), String> {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err("the peer sent no certificate".into());
        };
        check_key_sizes(end_entity, intermediates)?;
        self.verify(end_entity, intermediates, name, UnixTime::now(), sha1)
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        sha1: bool,
    ) -> Result<(), String> {
        let algorithms = if sha1 { signatures::with_sha1() } else { signatures::MODERN.all };
        let Err(error) = self.verify_by_webpki(end_entity, intermediates, name, now, algorithms) else {
            return Ok(());
        };
        let reason = reason::of_certificate(&error);
        let lengths = std::iter::once(end_entity).chain(intermediates).map(|one| one.len());
        if !second_opinion::is_needed(&error, lengths) {
            return Err(reason);
        }
        let second = self.second_opinion.verify(&self.known, end_entity, intermediates, name, sha1);
        second.map_err(|words| match error {
            webpki::Error::CaUsedAsEndEntity | webpki::Error::UnsupportedCriticalExtension => reason,
            _ => format!("certificate is invalid: {words}"),
        })
    }

    fn verify_by_webpki(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), webpki::Error> {
        let certificate = EndEntityCert::try_from(end_entity)?;
        let chain = certificate.verify_for_usage(
            algorithms,
            &self.anchors,
            intermediates,
            now,
            ServerAuthentication,
            None,
            Some(&|path| self.verify_path(path, now)),
        );
        match chain {
            Ok(_) => {}
            Err(error)
                if self.known.contains(end_entity)
                    && !is_about_itself(&error)
                    && der::is_for_servers(end_entity) => {}
            Err(error) => return Err(error),
        }
        certificate.verify_is_valid_for_subject_name(name)
    }

    /// Whether the authorities of this path may sign others (webpki does not look at their
    /// keyUsage), and its root is in date.
    fn verify_path(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        if !path.intermediate_certificates().all(|certificate| der::may_sign(&certificate.der())) {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
        let anchor = path.anchor();
        let below = path.intermediate_certificates().count();
        let same = self.anchors.iter().zip(self.validity.iter().zip(&self.depth)).filter(|(other, _)| {
            other.subject == anchor.subject && other.subject_public_key_info == anchor.subject_public_key_info
        });
        // The same key may be there twice, under an old and a new date.
        let mut verdict = Ok(());
        for (_, ((from, until), depth)) in same {
            verdict = if depth.is_none_or(|depth| depth < below) {
                Err(webpki::Error::EndEntityUsedAsCa)
            } else if now.as_secs() < *from {
                let not_before = UnixTime::since_unix_epoch(Duration::from_secs(*from));
                Err(webpki::Error::CertNotValidYet { time: now, not_before })
            } else if now.as_secs() > *until {
                let not_after = UnixTime::since_unix_epoch(Duration::from_secs(*until));
                Err(webpki::Error::CertExpired { time: now, not_after })
            } else {
                return Ok(());
            };
        }
        verdict
    }
}

/// Whether an error is about the certificate as such, and not about who signed it for what.
fn is_about_itself(error: &webpki::Error) -> bool {
    use webpki::Error::{
        BadDer, BadDerTime, CertExpired, CertNotValidYet, EmptyEkuExtension, InvalidCertValidity,
        RequiredEkuNotFoundContext,
    };
    matches!(
        error,
        BadDer
            | BadDerTime
            | CertExpired { .. }
            | CertNotValidYet { .. }
            | EmptyEkuExtension
            | InvalidCertValidity
            | RequiredEkuNotFoundContext(_)
    )
}

/// A certificate that says what it is for must be for servers, or for anything (RFC 5280 section
/// 4.2.1.12).
struct ServerAuthentication;

impl ServerAuthentication {
    /// 1.3.6.1.5.5.7.3.1
    const SERVER: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
    /// 2.5.29.37.0
    const ANY: KeyPurposeId<'static> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0]);
}

impl ExtendedKeyUsageValidator for ServerAuthentication {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if purpose == Self::SERVER || purpose == Self::ANY {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = KeyUsage::server_auth();
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

impl ServerCertVerifier for Verifying {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_key_sizes(end_entity, intermediates).map_err(|reason| refused(reason, end_entity))?;
        match self.verify(end_entity, intermediates, server_name, now, false) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(reason) => Err(refused(reason, end_entity)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures::MODERN.supported_schemes()
    }
}

/// Takes any certificate, of any version, if the peer holds its key: what Go's `InsecureSkipVerify`
/// leaves to be proven.
#[derive(Debug)]
pub(super) struct Accepting;

/// Refuses RSA keys as Go does: none of the chain may be longer than 8192 bits (`crypto/tls`, it
/// takes too much time), and with one of less than 1024 bits nothing is verified (`crypto/rsa`), so
/// the server's own cannot be one.
///
/// # Errors
/// The words for it.
pub(super) fn check_key_sizes(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), String> {
    fn bits(certificate: &CertificateDer<'_>) -> Option<usize> {
        der::public_key(certificate).and_then(|key| der::rsa_bits_of(&key))
    }
    let most = *signatures::RSA_BITS.end();
    let bad = bits(end_entity).filter(|bits| !signatures::RSA_BITS.contains(bits));
    match bad.or_else(|| intermediates.iter().filter_map(bits).find(|bits| *bits > most)) {
        Some(bits) => Err(format!("certificate with an RSA key of {bits} bits: 1024 to 8192 are supported")),
        None => Ok(()),
    }
}

/// A reason on its way through rustls.
fn refused(reason: String, certificate: &CertificateDer<'_>) -> Error {
    CertificateError::Other(OtherError(Arc::new(reason::Reason::new(reason, certificate)))).into()
}

fn not_its_key(certificate: &CertificateDer<'_>) -> Error {
    let reason = "the peer does not hold the key of its certificate: the signature of the handshake is bad";
    refused(reason.into(), certificate)
}

impl ServerCertVerifier for Accepting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_key_sizes(end_entity, intermediates).map_err(|reason| refused(reason, end_entity))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures::MODERN.supported_schemes()
    }
}

/// The signature of a handshake of TLS 1.2. The certificate is read for its key alone: what else is
/// in it is not for here.
fn verify_tls12(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = der::public_key(cert).ok_or(CertificateError::BadEncoding)?;
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    let (_, candidates) = signatures::MODERN
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == dss.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // In TLS 1.2 a scheme does not name the curve, so each that may be meant is tried.
    if candidates.iter().any(|one| key.verify_signature(*one, message, dss.signature()).is_ok()) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(not_its_key(cert))
}

/// The same of TLS 1.3.
fn verify_tls13(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = der::public_key(cert).ok_or(CertificateError::BadEncoding)?;
    verify_tls13_signature_with_raw_key(message, &key, dss, &signatures::MODERN).map_err(
        |error| match error {
            Error::InvalidCertificate(CertificateError::BadSignature) => not_its_key(cert),
            other => other,
        },
    )
}
