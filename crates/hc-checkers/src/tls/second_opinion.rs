//! Chains that webpki cannot judge, judged by OpenSSL: longer than six authorities, a certificate
//! of more than 64 KB, a critical extension that Go knows and webpki does not, a server whose
//! certificate may sign others.
//!
//! OpenSSL takes more than Go, and the server chooses by its certificate that OpenSSL is asked. So
//! a chain must also keep to [`rules`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext, X509StoreContextRef};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm};

use super::{rules, signatures};

/// OpenSSL's copies of the roots, made when they are first needed: without SHA-1 signatures and
/// with them.
#[derive(Default)]
pub(super) struct SecondOpinion([OnceLock<Result<X509Store, ErrorStack>>; 2]);

impl std::fmt::Debug for SecondOpinion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondOpinion")
    }
}

/// More than webpki reads in one element.
const LONGEST_FOR_WEBPKI: usize = 0xffff;

/// Whether webpki has said nothing about the chain, but about what it can do. What it cannot read
/// may be for OpenSSL only if that is for its length: OpenSSL reads BER, and Go does not.
pub(super) fn is_needed(error: &webpki::Error, mut chain: impl Iterator<Item = usize>) -> bool {
    use webpki::Error::{
        BadDer, CaUsedAsEndEntity, MaximumNameConstraintComparisonsExceeded, MaximumPathBuildCallsExceeded,
        MaximumPathDepthExceeded, MaximumSignatureChecksExceeded, TrailingData, UnsupportedCriticalExtension,
    };
    match error {
        BadDer | TrailingData(_) => chain.any(|length| length > LONGEST_FOR_WEBPKI),
        CaUsedAsEndEntity
        | MaximumNameConstraintComparisonsExceeded
        | MaximumPathBuildCallsExceeded
        | MaximumPathDepthExceeded
        | MaximumSignatureChecksExceeded
        | UnsupportedCriticalExtension => true,
        _ => false,
    }
}

impl SecondOpinion {
    /// Verifies the chain by dates, signatures, authorities and purpose, and the name.
    ///
    /// # Errors
    /// OpenSSL's words.
    pub(super) fn verify(
        &self,
        roots: &HashSet<CertificateDer<'_>>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        sha1: bool,
    ) -> Result<(), String> {
        let algorithms = if sha1 { signatures::with_sha1() } else { signatures::MODERN.all };
        let store = self.0[usize::from(sha1)].get_or_init(|| store(roots, sha1));
        let store = store.as_ref().map_err(ToString::to_string)?;
        let words = |error: ErrorStack| error.to_string();
        if !rules::is_readable(end_entity) {
            return Err("it is malformed".to_owned());
        }
        let certificate = X509::from_der(end_entity).map_err(words)?;
        let mut others = Stack::new().map_err(words)?;
        for other in intermediates.iter().filter(|other| rules::is_readable(other)) {
            others.push(X509::from_der(other).map_err(words)?).map_err(words)?;
        }
        let mut context = X509StoreContext::new().map_err(words)?;
        context
            .init(store, &certificate, &others, |context| Ok(judge(context, algorithms)))
            .map_err(words)??;
        if is_for(&certificate, name) { Ok(()) } else { Err("it is for another name".to_owned()) }
    }
}

fn store(roots: &HashSet<CertificateDer<'_>>, sha1: bool) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for root in roots {
        // One that only the other library can read is no loss.
        if let Ok(root) = X509::from_der(root) {
            store.add_cert(root)?;
        }
    }
    let mut parameters = X509VerifyParam::new()?;
    // As Go: whatever is among the trusted may end a chain.
    // And policyConstraints count, for which OpenSSL must be asked (RFC 5280 section 6.1).
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::POLICY_CHECK)?;
    // Level 1 refuses SHA-1 and MD5, and RSA keys of less than 1024 bits
    // (X509_VERIFY_PARAM_set_auth_level(3)). Which algorithms count is for `rules`.
    parameters.set_auth_level(i32::from(!sha1));
    store.set_param(&parameters)?;
    Ok(store.build())
}

fn judge(
    context: &mut X509StoreContextRef,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), String> {
    match context.verify_cert() {
        Ok(true) => {}
        Ok(false) => return Err(context.error().error_string().to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let chain = context.chain().into_iter().flatten().map(|certificate| certificate.to_der());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    rules::check(&chain, algorithms).map_err(str::to_owned)
}

/// Whether the name is among the subject's alternative names (RFC 6125 section 6.4): a wildcard is
/// the whole first label.
fn is_for(certificate: &X509, name: &ServerName<'_>) -> bool {
    let Some(names) = certificate.subject_alt_names() else { return false };
    match name {
        ServerName::IpAddress(ip) => {
            let bytes = match IpAddr::from(*ip) {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            names.iter().any(|other| other.ipaddress() == Some(&bytes))
        }
        ServerName::DnsName(wanted) => {
            names.iter().filter_map(|other| other.dnsname()).any(|pattern| covers(pattern, wanted.as_ref()))
        }
        _ => false,
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(pattern), Some((_, name))) => pattern.eq_ignore_ascii_case(name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (pattern, name, expected) in [
            ("www.example.com", "WWW.example.com", true),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("w*.example.com", "www.example.com", false),
            ("*", "com", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
