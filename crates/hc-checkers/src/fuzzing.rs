//! Private parts, public for the fuzz targets of this repository. Not part of the API: it may
//! change at any time.

use std::time::Duration;

use hc_types::{HttpProbe, Outcome, Target};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::{After, exchange, request_of};
use crate::{ProbeMemory, UserAgent, deadline, tls};

pub use crate::tls::not_tls;

/// Dialogues, as plain code.
pub mod dialogue {
    pub use crate::dialogue::{agent, ldap, mysql, postgresql, received, redis, smtp, steps, talk};
}

/// DNS messages and names.
pub mod dns {
    pub use crate::dns::{answer, message, name};
}

/// Requests and responses.
pub mod http {
    pub use crate::http::{
        Body, BodyError, Framing, HeadProblem, JsonFound, MAX_HEAD, Request, ResponseError, ResponseHead,
        find_json,
    };
}

/// Messages of gRPC's health service.
#[cfg(feature = "http2")]
pub mod grpc {
    pub use crate::grpc::message;
}

/// Echo requests and replies.
pub mod icmp {
    pub use crate::icmp::echo;
}

/// SYNs and what comes back for them.
pub mod syn {
    pub use crate::syn::segment;
}

/// RADIUS packets.
pub mod radius {
    pub use crate::radius::packet;
}

/// [`probe_http`](crate::probe_http) over a connection that stands.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
pub async fn http_exchange<S>(probe: &HttpProbe, target: &Target, stream: &mut S) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    deadline::within(Duration::from_secs(60), async |progress| {
        let request = request_of(probe, target, &UserAgent::default(), false)?;
        let memory = ProbeMemory::default();
        exchange(probe, &request, stream, &memory, progress, &mut After::closing()).await.map(Outcome::Pass)
    })
    .await
    .outcome
}

/// The `SubjectPublicKeyInfo` that is found in a certificate.
#[must_use]
pub fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    tls::public_key(&CertificateDer::from(certificate)).map(|key| key.as_ref().to_vec())
}
