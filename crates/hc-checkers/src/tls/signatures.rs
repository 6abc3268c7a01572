//! The signatures that are taken, in handshakes and in certificates: those of Go's `crypto/tls` and
//! `crypto/x509`.
//!
//! Most come from webpki. RSA keys of 1024 to 2047 bits, P-224 and SHA-1, which webpki leaves out,
//! are verified by OpenSSL.

use std::sync::LazyLock;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use webpki::aws_lc_rs as webpki_algorithms;

use super::der;

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// RSA keys that Go takes, in bits (`crypto/rsa`, `crypto/tls`).
pub(super) const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=8192;

/// What Go takes by default.
pub(super) static MODERN: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: ALL, mapping: MAPPING };

/// The same and SHA-1, for certificates.
pub(super) fn with_sha1() -> &'static [Algorithm] {
    static BOTH: LazyLock<Vec<Algorithm>> = LazyLock::new(|| [ALL, SHA1].concat());
    &BOTH
}

static ALL: &[Algorithm] = &[
    webpki_algorithms::ECDSA_P256_SHA256,
    webpki_algorithms::ECDSA_P256_SHA384,
    webpki_algorithms::ECDSA_P256_SHA512,
    webpki_algorithms::ECDSA_P384_SHA256,
    webpki_algorithms::ECDSA_P384_SHA384,
    webpki_algorithms::ECDSA_P384_SHA512,
    webpki_algorithms::ECDSA_P521_SHA256,
    webpki_algorithms::ECDSA_P521_SHA384,
    webpki_algorithms::ECDSA_P521_SHA512,
    P224_SHA256,
    P224_SHA384,
    P224_SHA512,
    webpki_algorithms::ED25519,
    RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512,
    RSA_PSS_SHA256,
    RSA_PSS_SHA384,
    RSA_PSS_SHA512,
    RSA_PKCS1_SHA256_WITHOUT_NULL,
    RSA_PKCS1_SHA384_WITHOUT_NULL,
    RSA_PKCS1_SHA512_WITHOUT_NULL,
];

/// In Go's order. TLS 1.2 does not tie a curve to a scheme of ECDSA, so there each has several; TLS
/// 1.3 takes the first.
static MAPPING: &[(SignatureScheme, &[Algorithm])] = &[
    (SignatureScheme::RSA_PSS_SHA256, &[RSA_PSS_SHA256]),
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        &[
            webpki_algorithms::ECDSA_P256_SHA256,
            webpki_algorithms::ECDSA_P384_SHA256,
            webpki_algorithms::ECDSA_P521_SHA256,
            P224_SHA256,
        ],
    ),
    (SignatureScheme::ED25519, &[webpki_algorithms::ED25519]),
    (SignatureScheme::RSA_PSS_SHA384, &[RSA_PSS_SHA384]),
    (SignatureScheme::RSA_PSS_SHA512, &[RSA_PSS_SHA512]),
    (SignatureScheme::RSA_PKCS1_SHA256, &[RSA_PKCS1_SHA256]),
    (SignatureScheme::RSA_PKCS1_SHA384, &[RSA_PKCS1_SHA384]),
    (SignatureScheme::RSA_PKCS1_SHA512, &[RSA_PKCS1_SHA512]),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &[
            webpki_algorithms::ECDSA_P384_SHA384,
            webpki_algorithms::ECDSA_P256_SHA384,
            webpki_algorithms::ECDSA_P521_SHA384,
            P224_SHA384,
        ],
    ),
    (
        SignatureScheme::ECDSA_NISTP521_SHA512,
        &[
            webpki_algorithms::ECDSA_P521_SHA512,
            webpki_algorithms::ECDSA_P256_SHA512,
            webpki_algorithms::ECDSA_P384_SHA512,
            P224_SHA512,
        ],
    ),
];

static SHA1: &[Algorithm] = &[
    &ByOpenssl {
        key: alg_id::RSA_ENCRYPTION,
        signature: RSA_SHA1_ID,
        digest: MessageDigest::sha1,
        pss: false,
    },
    &ByOpenssl { key: alg_id::ECDSA_P256, signature: ECDSA_SHA1_ID, digest: MessageDigest::sha1, pss: false },
    &ByOpenssl { key: alg_id::ECDSA_P384, signature: ECDSA_SHA1_ID, digest: MessageDigest::sha1, pss: false },
    &ByOpenssl { key: alg_id::ECDSA_P521, signature: ECDSA_SHA1_ID, digest: MessageDigest::sha1, pss: false },
];

/// sha1WithRSAEncryption (RFC 3279 section 2.2.1), 1.2.840.113549.1.1.5 with NULL.
const RSA_SHA1_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00");
/// ecdsa-with-SHA1 (RFC 3279 section 2.2.3), 1.2.840.10045.4.1.
const ECDSA_SHA1_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01");
/// id-ecPublicKey on secp224r1 (RFC 5480 section 2.1.1.1), 1.2.840.10045.2.1 with 1.3.132.0.33.
const P224_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x21");

static P224_SHA256: Algorithm =
    &ByOpenssl { key: P224_ID, signature: alg_id::ECDSA_SHA256, digest: MessageDigest::sha256, pss: false };
static P224_SHA384: Algorithm =
    &ByOpenssl { key: P224_ID, signature: alg_id::ECDSA_SHA384, digest: MessageDigest::sha384, pss: false };
static P224_SHA512: Algorithm =
    &ByOpenssl { key: P224_ID, signature: alg_id::ECDSA_SHA512, digest: MessageDigest::sha512, pss: false };

static RSA_PKCS1_SHA256: Algorithm = &Rsa {
    signature: alg_id::RSA_PKCS1_SHA256,
    strong: &webpki_algorithms::RSA_PKCS1_2048_8192_SHA256,
    digest: MessageDigest::sha256,
    pss: false,
};
static RSA_PKCS1_SHA384: Algorithm = &Rsa {
    signature: alg_id::RSA_PKCS1_SHA384,
    strong: &webpki_algorithms::RSA_PKCS1_2048_8192_SHA384,
    digest: MessageDigest::sha384,
    pss: false,
};
static RSA_PKCS1_SHA512: Algorithm = &Rsa {
    signature: alg_id::RSA_PKCS1_SHA512,
    strong: &webpki_algorithms::RSA_PKCS1_2048_8192_SHA512,
    digest: MessageDigest::sha512,
    pss: false,
};
// The parameters must be NULL (RFC 8017 appendix A.2.4), and some authorities leave it out. Go does
// not look.
static RSA_PKCS1_SHA256_WITHOUT_NULL: Algorithm = &Rsa {
    signature: AlgorithmIdentifier::from_slice(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"),
    strong: &webpki_algorithms::RSA_PKCS1_2048_8192_SHA256,
    digest: MessageDigest::sha256,
    pss: false,
};
static RSA_PKCS1_SHA384_WITHOUT_NULL: Algorithm = &Rsa {
    signature: AlgorithmIdentifier::from_slice(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"),
    strong: &webpki_algorithms::RSA_PKCS1_2048_8192_SHA384,
    digest: MessageDigest::sha384,
    pss: false,
};
static RSA_PKCS1_SHA512_WITHOUT_NULL: Algorithm = &Rsa {
    signature: AlgorithmIdentifier::from_slice(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"),
    strong: &webpki_algorithms::RSA_PKCS1_2048_8192_SHA512,
    digest: MessageDigest::sha512,
    pss: false,
};
static RSA_PSS_SHA256: Algorithm = &Rsa {
    signature: alg_id::RSA_PSS_SHA256,
    strong: &webpki_algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    digest: MessageDigest::sha256,
    pss: true,
};
static RSA_PSS_SHA384: Algorithm = &Rsa {
    signature: alg_id::RSA_PSS_SHA384,
    strong: &webpki_algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    digest: MessageDigest::sha384,
    pss: true,
};
static RSA_PSS_SHA512: Algorithm = &Rsa {
    signature: alg_id::RSA_PSS_SHA512,
    strong: &webpki_algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    digest: MessageDigest::sha512,
    pss: true,
};

/// RSA of any size that Go takes.
#[derive(Debug)]
struct Rsa {
    signature: AlgorithmIdentifier,
    /// For 2048 bits and more.
    strong: &'static Algorithm,
    digest: fn() -> MessageDigest,
    pss: bool,
}

impl SignatureVerificationAlgorithm for Rsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        match der::rsa_bits(public_key) {
            Some(2048..) => self.strong.verify_signature(public_key, message, signature),
            Some(bits) if RSA_BITS.contains(&bits) => {
                let Self { signature: id, digest, pss, .. } = *self;
                let weak = ByOpenssl { key: alg_id::RSA_ENCRYPTION, signature: id, digest, pss };
                weak.verify_signature(public_key, message, signature)
            }
            _ => Err(InvalidSignature),
        }
    }
}

/// What OpenSSL verifies.
#[derive(Debug)]
struct ByOpenssl {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    digest: fn() -> MessageDigest,
    pss: bool,
}

impl ByOpenssl {
    fn verify(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let key = PKey::public_key_from_der(&der::key_info(self.key.as_ref(), public_key))?;
        let mut verifier = Verifier::new((self.digest)(), &key)?;
        if self.pss {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        verifier.verify_oneshot(signature, message)
    }
}

impl SignatureVerificationAlgorithm for ByOpenssl {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        match self.verify(public_key, message, signature) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(InvalidSignature),
        }
    }
}
