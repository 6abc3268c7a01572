//! RADIUS responses, authentic or changed.

use fastrand::Rng;
use hc_testkit::radius::{RadiusReply, RadiusRequest};

use super::mutation::mutate;
use crate::case::Case;
use crate::cases::{SECRET, radius_expecting};
use crate::serve::Server;

pub(super) fn case(n: usize, rng: &mut Rng) -> Case {
    let code = [2, 2, 2, 3, 11, rng.u8(..)][rng.usize(..6)];
    let attributes: Vec<(u8, Vec<u8>)> =
        (0..rng.usize(..4)).map(|_| (rng.u8(1..79), vec![rng.u8(..); rng.usize(1..=253)])).collect();
    let authenticated = rng.bool();
    // Authentic junk in the place of attributes, or changed bytes behind the identifier.
    let (junk, changed) = [(false, false), (true, false), (false, true)][rng.usize(..3)];
    let seed = rng.u64(..);
    let server = Server::datagrams(move |packet| {
        let Some(request) = RadiusRequest::parse(packet) else { return Vec::new() };
        let mut rng = Rng::with_seed(seed);
        let mut reply = RadiusReply::to(&request, code);
        if authenticated {
            reply = reply.message_authenticator();
        }
        for (kind, value) in &attributes {
            reply = reply.attribute(*kind, value);
        }
        if junk {
            let mut bytes = vec![18, 4, 1, 2, 25, 3, 9];
            mutate(&mut bytes, &mut rng);
            reply = reply.junk(&bytes);
        }
        let mut bytes = reply.build(SECRET.as_bytes());
        if changed {
            let mut rest = bytes.split_off(2);
            mutate(&mut rest, &mut rng);
            bytes.extend(rest);
        }
        vec![bytes]
    });
    let expected = ["accept", "any", "reject", "challenge"][rng.usize(..4)];
    let kind = if changed { "changed" } else if junk { "junk" } else { "whole" };
    Case::new(format!("generated/radius/{kind}/{n}"), server, radius_expecting(expected))
}
