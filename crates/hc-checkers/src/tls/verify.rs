//! Which certificates are good: the verdicts of Go's `crypto/x509`, as far as webpki can give them.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, PeerMisbehaved, SignatureScheme};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RawPublicKeyEntity,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use super::{der, reason};

/// Verifies chain, name, dates and purpose.
///
/// webpki is stricter than Go in one thing that is common among backends: a self-signed certificate that is itself trusted.
/// Go takes a certificate that is among the roots as it is, whether it may sign others or not. So does this.
/// And webpki does not look at the dates of roots, while Go does. So does this.
#[derive(Debug)]
pub(super) struct Verifying {
    anchors: Vec<TrustAnchor<'static>>,
    /// The certificates that the anchors come from, in the same order.
    certificates: Vec<CertificateDer<'static>>,
    known: HashSet<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifying {
    pub(super) fn new(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> (Self, Vec<webpki::Error>) {
        let mut verifying = Self {
            anchors: Vec::new(),
            certificates: Vec::new(),
            known: HashSet::new(),
            algorithms: ring::default_provider().signature_verification_algorithms,
        };
        let mut malformed = Vec::new();
        for certificate in certificates {
            if verifying.known.contains(&certificate) {
                continue;
            }
            match webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned()) {
                Ok(anchor) => {
                    verifying.anchors.push(anchor);
                    verifying.known.insert(certificate.clone());
                    verifying.certificates.push(certificate);
                }
                Err(error) => malformed.push(error),
            }
        }
        (verifying, malformed)
    }

    pub(super) fn len(&self) -> usize {
        self.anchors.len()
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let certificate = EndEntityCert::try_from(end_entity)?;
        let chain = certificate.verify_for_usage(
            self.algorithms.all,
            &self.anchors,
            intermediates,
            now,
            ServerAuthentication,
            None,
            Some(&|path| self.verify_root(path, now)),
        );
        match chain {
            Ok(_) => {}
            Err(error) if self.known.contains(end_entity) && !is_about_itself(&error) => {}
            Err(error) => return Err(error),
        }
        certificate.verify_is_valid_for_subject_name(name)
    }

    /// Whether a root of this path is in date.
    fn verify_root(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        let anchor = path.anchor();
        let same = self.anchors.iter().zip(&self.certificates).filter(|(other, _)| {
            other.subject == anchor.subject && other.subject_public_key_info == anchor.subject_public_key_info
        });
        // The same key may be there twice, under an old and a new date.
        let mut verdict = Ok(());
        for (_, certificate) in same {
            verdict = self.verify_dates(certificate, now);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn verify_dates(&self, root: &CertificateDer<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        // A root of version 1 cannot be read as an end entity. Go would look at its dates; there are hardly any left.
        let Ok(certificate) = EndEntityCert::try_from(root) else { return Ok(()) };
        // The dates are the first thing that is looked at. What else there may be against a root as an end entity is beside
        // the point.
        let all = self.algorithms.all;
        match certificate.verify_for_usage(all, &[], &[], now, ServerAuthentication, None, None) {
            Err(error @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) => {
                Err(error)
            }
            _ => Ok(()),
        }
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

/// A certificate that says what it is for must be for servers, or for anything (RFC 5280 section 4.2.1.12).
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
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.verify(end_entity, intermediates, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let reason = reason::Reason::new(reason::of_certificate(&error));
                Err(CertificateError::Other(OtherError(Arc::new(reason))).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes any certificate, of any version, if the peer holds its key: what Go's `InsecureSkipVerify` leaves to be proven.
#[derive(Debug)]
pub(super) struct Accepting(WebPkiSupportedAlgorithms);

impl Accepting {
    pub(super) fn new() -> Self {
        Self(ring::default_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Accepting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = der::public_key(cert).ok_or(CertificateError::BadEncoding)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let (_, candidates) = self
            .0
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == dss.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // In TLS 1.2 a scheme does not name the curve, so each that may be meant is tried.
        if candidates.iter().any(|one| key.verify_signature(*one, message, dss.signature()).is_ok()) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = der::public_key(cert).ok_or(CertificateError::BadEncoding)?;
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
