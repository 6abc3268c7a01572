//! The address of a member.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

/// The port on which etcd serves clients unless told otherwise.
const PORT: u16 = 2379;

/// Finds the addresses of a host. Endpoints that are addresses do not need it.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, or in words why there are none.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>>;
}

/// By the system's own functions, on a thread of the runtime for what blocks.
pub(crate) struct SystemResolve;

impl Resolve for SystemResolve {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| error.to_string())?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Reads `https://host:port`, `http://host:port` or `host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(format!("{text}: neither https:// nor http://")),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let wrong = || format!("{text}: not a host and a port");
        let (host, port) = match rest.strip_prefix('[').map(|inner| inner.split_once(']')) {
            Some(Some((host, port))) => {
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")).ok_or_else(wrong)?)
            }
            Some(None) => return Err(wrong()),
            None => rest.split_once(':').unwrap_or((rest, "")),
        };
        let port = if port.is_empty() { PORT } else { port.parse().map_err(|_| wrong())? };
        let may = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_address = host.parse::<IpAddr>().is_ok();
        if port == 0 || host.is_empty() || host.len() > 253 || !(is_address || host.bytes().all(may)) {
            return Err(wrong());
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }

    /// As in a URL, `host:port`.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    pub(crate) async fn addresses(&self, resolver: &dyn Resolve) -> Result<Vec<SocketAddr>, String> {
        let found = match self.host.parse() {
            Ok(address) => vec![address],
            Err(_) => resolver.resolve(&self.host).await?,
        };
        if found.is_empty() {
            return Err(format!("{} has no address", self.host));
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (text, tls, authority) in [
            ("etcd1", false, "etcd1:2379"),
            ("etcd1:99", false, "etcd1:99"),
            ("http://192.0.2.1", false, "192.0.2.1:2379"),
            ("https://etcd1.example:1/", true, "etcd1.example:1"),
            ("https://[2001:db8::1]:5", true, "[2001:db8::1]:5"),
            ("[2001:db8::1]", false, "[2001:db8::1]:2379"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.tls, endpoint.authority().as_str()), (tls, authority));
        }
        for wrong in [
            "",
            "http://",
            "ftp://a",
            "a:0",
            "a:65536",
            "a:b",
            "a b",
            "a/b",
            "[::1",
            "[a]:1",
            "[::1]1",
            "a@b",
            "2001:db8::1",
            "unix:///run/etcd",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
