//! TCP and UDP: what is sent, what is expected, and what comes.

use fastrand::Rng;
use hc_testkit::script::Step;
use serde_json::json;

use super::mutation::mutate;
use crate::case::{self, Case};
use crate::serve::Server;

pub(super) fn case(n: usize, rng: &mut Rng) -> Case {
    let send: Vec<u8> = random(rng, 1);
    let expected = random(rng, 0);
    let mut reply = expected.clone();
    reply.extend(random(rng, 0));
    if rng.bool() {
        mutate(&mut reply, rng);
    }
    if rng.bool() {
        let check =
            json!({"checker_type": "udp", "send": case::bytes(&send), "receive": case::bytes(&expected)});
        return Case::new(
            format!("generated/udp/{n}"),
            Server::datagrams(move |_| vec![reply.clone()]),
            check,
        );
    }
    let mut steps = vec![Step::Read(send.len())];
    if rng.u8(..3) == 0 {
        // In one piece: a reset takes back what waits for an acknowledgement of earlier pieces.
        steps.extend([Step::send(reply), Step::Reset]);
    } else {
        while !reply.is_empty() {
            let rest = reply.split_off(rng.usize(1..=reply.len()));
            steps.push(Step::send(&reply));
            reply = rest;
        }
        steps.extend(rng.bool().then_some(Step::HalfClose));
    }
    let check = json!({"checker_type": "tcp", "send": case::bytes(&send), "receive": case::bytes(&expected)});
    Case::new(format!("generated/tcp/{n}"), Server::Tcp(steps), check)
}

/// At least `least` bytes, mostly few.
fn random(rng: &mut Rng, least: usize) -> Vec<u8> {
    let most = [4, 40, 2000][rng.usize(..3)];
    let length = rng.usize(least..=most);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}
