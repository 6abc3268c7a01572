//! What a peer says instead of TLS, and its certificate.

use hc_checkers::fuzzing::{not_tls, public_key};

/// Any certificate: its key, if one is found, is a part of it; and any first bytes of a peer can be
/// put into words.
pub fn tls_certificate(data: &[u8]) {
    if let Some(key) = public_key(data) {
        assert_eq!(key.first(), Some(&0x30), "a SubjectPublicKeyInfo is a SEQUENCE");
        assert!(data.windows(key.len()).any(|window| window == key));
    }
    let words = not_tls(&data[..data.len().min(16)]);
    assert!(!words.is_empty() && !words.contains(|c: char| c.is_control()));
}
