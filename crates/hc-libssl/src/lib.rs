//! The one setting of OpenSSL that its safe binding lacks: how long a certificate message may be.

use openssl::ssl::SslContextBuilder;

/// `SSL_CTRL_SET_MAX_CERT_LIST` of `openssl/ssl.h`, the same in all versions.
const SET_MAX_CERT_LIST: std::ffi::c_int = 51;

/// The longest certificate message that a handshake takes, in KiB. OpenSSL's default is 100 KiB
/// (SSL_CTX_set_max_cert_list(3)).
pub fn set_max_certificate_message(context: &mut SslContextBuilder, kibibytes: u16) {
    let bytes = std::ffi::c_long::from(kibibytes) * 1024;
    #[allow(unsafe_code, reason = "openssl 0.10 has no function for it, and 100 KiB is less than Go takes")]
    // SAFETY: the pointer is that of a context which the builder owns and we borrow alone; for this
    // command OpenSSL only stores the number, and does not look at the last argument.
    unsafe {
        openssl_sys::SSL_CTX_ctrl(context.as_ptr(), SET_MAX_CERT_LIST, bytes, std::ptr::null_mut());
    }
}
