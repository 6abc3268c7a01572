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
    // Authentic junk in the place of attributes, or changed bytes behind the identifier.
    let (junk, changed) = [(false, false), (true, false), (false, true)][rng.usize(..3)];
    // Digests are new each time. If one byte of them were set to another, it could be that already.
    let authenticated = !changed && rng.bool();
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
            spoil(&mut bytes, &mut rng);
        }
        vec![bytes]
    });
    let expected = ["accept", "any", "reject", "challenge"][rng.usize(..4)];
    let kind = if changed {
        "changed"
    } else if junk {
        "junk"
    } else {
        "whole"
    };
    Case::new(format!("generated/radius/{kind}/{n}"), server, radius_expecting(expected))
}

/// Changes the length, the authenticator or the attributes.
fn spoil(packet: &mut Vec<u8>, rng: &mut Rng) {
    match rng.u8(..4) {
        0 => packet[rng.usize(2..4)] ^= rng.u8(1..),
        1 => packet[rng.usize(4..20)] ^= rng.u8(1..),
        _ => {
            let mut attributes = packet.split_off(20);
            mutate(&mut attributes, rng);
            packet.extend(attributes);
        }
    }
}
