//! A simple mutator, the same on every machine.

use fastrand::Rng;

/// Makes new inputs out of known ones. The same seed makes the same inputs.
#[derive(Debug)]
pub struct Mutator {
    random: Rng,
}

/// Bytes that mean something to one parser or another.
const TELLING: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b"\xc0\x0c",
    b"\"",
    b"\\",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"%",
    b"%25",
    b"@",
    b"#",
    b"?",
    b"/",
    b"//",
    b".",
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e3",
    b"null",
    b"\xc3\xa9",
    b"chunked",
    b"gzip",
    b"ns",
    b"\x7f",
    b"\x80",
];

/// An input grows no longer than this.
const LONGEST: usize = 64 * 1024;

impl Mutator {
    /// A mutator for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed) }
    }

    /// One of `corpus`, changed in one to four places. Out of an empty corpus a few random bytes.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.random.choice(corpus).cloned().unwrap_or_default();
        for _ in 0..self.random.usize(1..=4) {
            self.change(&mut input, corpus);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.random.usize(0..=input.len());
        let end = at + self.random.usize(0..=(input.len() - at).min(64));
        match self.random.u8(0..8) {
            0 => drop(input.drain(at..end)),
            1 => input.truncate(at),
            2 => {
                let copy = input[at..end].to_vec();
                let to = self.random.usize(0..=input.len());
                input.splice(to..to, copy);
            }
            3 => {
                let other = self.random.choice(corpus).map_or(&[][..], |other| other);
                let from = self.random.usize(0..=other.len());
                input.splice(at..end, other[from..].iter().copied());
            }
            4 => {
                let telling = self.random.choice(TELLING).copied().unwrap_or_default();
                input.splice(at..end, telling.iter().copied());
            }
            5 => {
                let byte = self.random.u8(..);
                input.insert(at, byte);
            }
            6 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.random.u8(0..8);
                }
            }
            _ => {
                let byte = self.random.u8(..);
                if let Some(old) = input.get_mut(at) {
                    *old = byte;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let corpus = [b"hello".to_vec(), b"world".to_vec()];
        let make = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100).map(|_| mutator.next(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        assert!(make(1).iter().any(|input| !corpus.contains(input)));
    }
}
