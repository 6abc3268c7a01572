//! The key exchanges that Go has and rustls lacks: P-521, and P-384 together with ML-KEM-1024.

use aws_lc_rs::agreement::{ECDH_P521, PrivateKey, UnparsedPublicKey, agree};
use rustls::crypto::aws_lc_rs::kx_group::{
    MLKEM1024, SECP256R1, SECP256R1MLKEM768, SECP384R1, X25519, X25519MLKEM768,
};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

/// All groups of Go's default (`crypto/tls/defaults.go`). The first is the one whose key share is
/// sent unasked: it is the cheapest, and every server of TLS 1.3 that anybody uses has it. Another
/// one costs a round trip more.
pub(super) static ALL: &[&dyn SupportedKxGroup] =
    &[X25519, SECP256R1, SECP384R1, SECP521R1, X25519MLKEM768, SECP256R1MLKEM768, SECP384R1MLKEM1024];

static SECP521R1: &dyn SupportedKxGroup = &P521;
static SECP384R1MLKEM1024: &dyn SupportedKxGroup = &P384WithMlKem1024;

const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// ECDH on P-521 (RFC 8446 section 4.2.8.2).
#[derive(Debug)]
struct P521;

/// An uncompressed point: 4, then both coordinates.
const P521_POINT: usize = 1 + 2 * 66;

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let key = PrivateKey::generate(&ECDH_P521).map_err(|_| Error::FailedToGetRandomBytes)?;
        let share = key.compute_public_key().map_err(|_| Error::FailedToGetRandomBytes)?.as_ref().to_vec();
        Ok(Box::new(StartedP521 { key, share }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

struct StartedP521 {
    key: PrivateKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for StartedP521 {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        if peer.len() != P521_POINT || peer[0] != 4 {
            return Err(INVALID);
        }
        let peer = UnparsedPublicKey::new(&ECDH_P521, peer);
        agree(&self.key, peer, INVALID, |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

/// SecP384r1MLKEM1024 (draft-ietf-tls-ecdhe-mlkem): both exchanges side by side, P-384 first in
/// shares and secret.
#[derive(Debug)]
struct P384WithMlKem1024;

const P384_WITH_MLKEM1024: NamedGroup = NamedGroup::Unknown(0x11ed);
const P384_POINT: usize = 1 + 2 * 48;

impl SupportedKxGroup for P384WithMlKem1024 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (classical, post_quantum) = (SECP384R1.start()?, MLKEM1024.start()?);
        let share = [classical.pub_key(), post_quantum.pub_key()].concat();
        Ok(Box::new(StartedPair { classical, post_quantum, share }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        P384_WITH_MLKEM1024
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

struct StartedPair {
    classical: Box<dyn ActiveKeyExchange>,
    post_quantum: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for StartedPair {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let (point, ciphertext) = peer.split_at_checked(P384_POINT).ok_or(INVALID)?;
        let classical = self.classical.complete(point)?;
        let post_quantum = self.post_quantum.complete(ciphertext)?;
        Ok(SharedSecret::from([classical.secret_bytes(), post_quantum.secret_bytes()].concat()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        P384_WITH_MLKEM1024
    }
}
