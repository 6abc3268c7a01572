//! The URL of a webhook.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// An absolute URL with the scheme `http` or `https`. Prints without a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    is_https: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    request_target: Box<str>,
}

/// Why a text is no URL for a webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

impl Url {
    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in `Host`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn request_target(&self) -> &str {
        &self.request_target
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|error| UrlError(format!("{text:?}: {error}")))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(UrlError(format!("{text:?} does not begin with http:// or https://"))),
        };
        let authority = uri.authority().ok_or_else(|| UrlError(format!("{text:?} names no host")))?;
        if authority.as_str().contains('@') {
            return Err(UrlError(
                "a user name in the URL is not supported; sign bodies with a secret".to_owned(),
            ));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(UrlError(format!("{text:?} names no host")));
        }
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            Some(port) => match port.parse() {
                Ok(port @ 1..) => port,
                _ => return Err(UrlError(format!("{text:?}: {port:?} is not a port"))),
            },
            None if is_https => 443,
            None => 80,
        };
        let request_target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            is_https,
            host: host.into(),
            port,
            authority: authority.as_str().into(),
            request_target: request_target.into(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        // A query may hold a token.
        let path = self.request_target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, target: &str) {
        let url: Url = text.parse().unwrap();
        assert_eq!((url.host(), url.port(), url.request_target()), (host, port, target), "{text}");
    }

    #[test]
    fn urls_of_webhooks() {
        check("http://example.com", "example.com", 80, "/");
        check("https://example.com/a?b=c", "example.com", 443, "/a?b=c");
        check("https://[2001:db8::1]:8443/", "2001:db8::1", 8443, "/");
        assert_eq!(
            "https://h/p?token=x".parse::<Url>().unwrap().to_string(),
            "https://h/p",
            "no token in a log"
        );
    }

    #[test]
    fn what_is_no_url_of_a_webhook() {
        for text in [
            "",
            "example.com",
            "/path",
            "ftp://h/",
            "http:///x",
            "http://u:p@h/",
            "http://h:0/",
            "http://h:99999/",
            "http://a b/",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
