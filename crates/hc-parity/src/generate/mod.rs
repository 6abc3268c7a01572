//! Cases that a seed makes: whole ones that are right, and then something is changed.

mod bytes;
mod dns;
mod http;
mod mutation;
mod radius;
mod requests;

use fastrand::Rng;

use crate::case::{Case, Family};

/// How the kinds of generated cases are made.
type Maker = fn(usize, &mut Rng) -> Case;

/// In turn, so that any number of cases has its share of each; HTTP has most to say.
const MAKERS: &[Maker] =
    &[http::case, dns::case, http::case, radius::case, http::case, bytes::case, requests::case];

/// So many cases. Each has its own stream of random numbers: the 1000th is the same, however many
/// there are.
pub(crate) fn all(seed: u64, count: usize) -> impl Iterator<Item = Case> {
    (0..count).map(move |n| {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n as u64));
        let family = if rng.u8(..4) == 0 { Family::V6 } else { Family::V4 };
        MAKERS[n % MAKERS.len()](n, &mut rng).over(family)
    })
}
