//! How a receiver knows that a body is ours.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hc_types::Secret;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "HC-Signature";

/// The value of [`SIGNATURE_HEADER`]: `t=UNIX_SECONDS,v1=HEX`, where HEX is the HMAC-SHA-256 (RFC
/// 2104) under the secret of the seconds, a full stop and the body. A receiver computes it again
/// and refuses what is old.
///
/// ```
/// use std::time::UNIX_EPOCH;
/// let value = hc_sinks::sign(&"secret".into(), UNIX_EPOCH, b"{}");
/// assert!(value.starts_with("t=0,v1="));
/// ```
#[must_use]
pub fn sign(secret: &Secret, at: SystemTime, body: &[u8]) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut value = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Computed by `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_what_openssl_computes() {
        let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(sign(&"key".into(), at, br#"{"a":1}"#), EXPECTED);
    }

    const EXPECTED: &str = "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
}
