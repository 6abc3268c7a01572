//! Changes to bytes.

use fastrand::Rng;

/// Changes one to three places.
pub(super) fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..=3) {
        mutate_once(bytes, rng);
    }
}

fn mutate_once(bytes: &mut Vec<u8>, rng: &mut Rng) {
    /// Bytes at which parsers turn.
    const SPECIAL: &[u8] = b"\0\t\n\r :;,/0129fF\x7f\xff";

    if bytes.is_empty() {
        bytes.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..bytes.len());
    let special = SPECIAL[rng.usize(..SPECIAL.len())];
    match rng.u8(..7) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = special,
        2 => bytes.insert(at, special),
        3 => _ = bytes.remove(at),
        4 => bytes.truncate(at),
        5 => bytes[at] = rng.u8(..),
        _ => {
            let end = (at + rng.usize(1..20)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}
