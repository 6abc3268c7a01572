//! What Go's `crypto/x509` asks of a chain beyond OpenSSL: the second opinion must not take a chain
//! that Go refuses.

use std::collections::HashSet;

use rustls::pki_types::SignatureVerificationAlgorithm;

use super::der::{self, Extension};

const KEY_USAGE: u8 = 15;
const ALTERNATIVE_NAMES: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const NAME_CONSTRAINTS: u8 = 30;

/// The extensions that Go takes when they are critical, by the last number of their identifier
/// (2.5.29.x): keyUsage, subjectAltName, basicConstraints, nameConstraints, cRLDistributionPoints,
/// certificatePolicies, policyMappings, policyConstraints, extKeyUsage and inhibitAnyPolicy
/// (`processExtensions` in `crypto/x509/parser.go`).
const CRITICAL: [u8; 10] =
    [KEY_USAGE, ALTERNATIVE_NAMES, BASIC_CONSTRAINTS, NAME_CONSTRAINTS, 31, 32, 33, 36, 37, 54];

/// E-mail address, DNS name, URI and IP address: the kinds of GeneralName that Go reads.
const NAMES: [u8; 4] = [0x81, 0x82, 0x86, 0x87];

/// Checks a chain that OpenSSL has verified, from the server's certificate to the trusted one, in
/// DER.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn check(
    chain: &[Vec<u8>],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), &'static str> {
    for (at, certificate) in chain.iter().enumerate() {
        if !der::is_for_servers(certificate) {
            return Err("it is not for servers (extended key usage)");
        }
        check_extensions(certificate)?;
        check_key(certificate, algorithms)?;
        if at > 0 {
            check_authority(certificate, at - 1, at + 1 == chain.len())?;
        }
    }
    for link in chain.windows(2) {
        check_signature(&link[0], &link[1], algorithms)?;
    }
    Ok(())
}

/// Whether these bytes can be a certificate for Go: strict DER, in its extensions too, and a serial
/// number that is not negative.
pub(super) fn is_readable(certificate: &[u8]) -> bool {
    let Some(extensions) = der::extensions(certificate) else { return false };
    der::is_strict(certificate)
        && der::has_good_serial(certificate)
        && extensions.iter().filter(|one| one.standard().is_some()).all(|one| der::is_strict(one.value))
}

fn check_extensions(certificate: &[u8]) -> Result<(), &'static str> {
    let extensions = der::extensions(certificate).ok_or("an extension is malformed")?;
    let mut seen = HashSet::new();
    for extension in &extensions {
        if !seen.insert(extension.identifier) {
            return Err("an extension is there twice");
        }
        let number = extension.standard();
        if extension.critical && !number.is_some_and(|number| CRITICAL.contains(&number)) {
            return Err("an unknown extension is critical");
        }
        match number {
            Some(ALTERNATIVE_NAMES) => check_names(extension)?,
            Some(NAME_CONSTRAINTS) => check_name_constraints(extension)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_names(extension: &Extension<'_>) -> Result<(), &'static str> {
    let names = der::elements_in(extension.value).ok_or("its names are malformed")?;
    for (tag, name) in &names {
        let good = match tag {
            0x87 => [4, 16].contains(&name.len()),
            0x81 | 0x82 | 0x86 => name.is_ascii(),
            _ => true,
        };
        if !good {
            return Err("a name is malformed");
        }
    }
    if extension.critical && !names.iter().any(|(tag, _)| NAMES.contains(tag)) {
        return Err("its names are critical and of unknown kinds");
    }
    Ok(())
}

fn check_name_constraints(extension: &Extension<'_>) -> Result<(), &'static str> {
    let malformed = "its name constraints are malformed";
    // `[0]` permitted, `[1]` excluded: lists of GeneralSubtree, which begins with a GeneralName.
    for (_, subtrees) in der::elements_in(extension.value).ok_or(malformed)? {
        for (_, subtree) in der::elements_of(subtrees).ok_or(malformed)? {
            match der::elements_of(subtree).ok_or(malformed)?.as_slice() {
                [(tag, _)] if NAMES.contains(tag) => {}
                _ => return Err("its name constraints are of unknown kinds"),
            }
        }
    }
    Ok(())
}

/// The key must be of a kind that Go knows.
fn check_key(
    certificate: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), &'static str> {
    let (kind, _) = der::key_of(certificate).ok_or("its key is malformed")?;
    match algorithms.iter().any(|one| one.public_key_alg_id().as_ref() == kind) {
        true => Ok(()),
        false => Err("a key in the chain is of an unsupported kind"),
    }
}

/// How many authorities may stand below a trusted one, for servers; `None` if it may not sign their
/// certificates at all. webpki does not look at the extensions of roots, and Go does.
pub(super) fn depth_of_root(certificate: &[u8]) -> Option<usize> {
    /// More than a chain may have.
    const ANY: usize = 255;

    if !der::is_for_servers(certificate) {
        return None;
    }
    match check_authority(certificate, ANY, true) {
        Ok(()) => Some(ANY),
        Err(_) => (0..ANY).rev().find(|below| check_authority(certificate, *below, true).is_ok()),
    }
}

/// `below`: how many authorities are between this one and the server's certificate.
fn check_authority(certificate: &[u8], below: usize, is_root: bool) -> Result<(), &'static str> {
    if !der::may_sign(certificate) {
        return Err("an authority may not sign certificates (key usage)");
    }
    let extensions = der::extensions(certificate).ok_or("an extension is malformed")?;
    let Some(constraints) = extensions.iter().find(|one| one.standard() == Some(BASIC_CONSTRAINTS)) else {
        // A root of version 1 has no extensions, and is one because it is trusted.
        return if is_root && !der::is_of_version_3(certificate) {
            Ok(())
        } else {
            Err("an authority is none (basic constraints)")
        };
    };
    match der::elements_in(constraints.value).ok_or("the basic constraints are malformed")?.as_slice() {
        [(0x01, [0xff])] => Ok(()),
        // Of two bytes and not negative: 128 and more.
        [(0x01, [0xff]), (0x02, [0..=0x7f, _, ..])] => Ok(()),
        [(0x01, [0xff]), (0x02, [longest @ ..=0x7f])] if usize::from(*longest) >= below => Ok(()),
        [(0x01, [0xff]), (0x02, _)] => Err("more authorities than one of them allows"),
        _ => Err("an authority is none (basic constraints)"),
    }
}

/// The names must be equal to the byte, and the signature one of `algorithms`.
fn check_signature(
    certificate: &[u8],
    issuer: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), &'static str> {
    let named = der::issuer(certificate).ok_or("its issuer is malformed")?;
    if der::subject(issuer) != Some(named) {
        return Err("the issuer has another name");
    }
    let (kind, key) = der::key_of(issuer).ok_or("a key in the chain is malformed")?;
    let signed = der::signed(certificate).ok_or("a signature in the chain is malformed")?;
    let good = algorithms.iter().any(|one| {
        one.public_key_alg_id().as_ref() == kind
            && one.signature_alg_id().as_ref() == signed.algorithm
            && one.verify_signature(key, signed.message, signed.signature).is_ok()
    });
    if good { Ok(()) } else { Err("certificate signed with an algorithm that is not supported") }
}
