//! The kept inputs of a target: one text file, one input a line.
//!
//! A line is the input as [`escape_ascii`](slice::escape_ascii) writes it: printable ASCII as it
//! is, `\t`, `\r`, `\n`, `\'`, `\"` and `\\`, and `\x` with two hexadecimal digits for every other
//! byte. Lines are sorted and differ from each other, so a new input is one added line of a diff.
//! The empty input has no line: every run starts with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// The kept inputs of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corpus {
    inputs: BTreeSet<Vec<u8>>,
}

/// A line that is not an escaped input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not an escaped input", self.line)
    }
}

impl std::error::Error for BadLine {}

impl Corpus {
    /// The file of the target's corpus in this repository.
    #[must_use]
    pub fn file(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target).with_extension("txt")
    }

    /// Reads the target's corpus.
    ///
    /// # Errors
    /// If the file cannot be read. A bad line is [`io::ErrorKind::InvalidData`].
    pub fn load(target: &str) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(Self::file(target))?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Writes the target's corpus.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, target: &str) -> io::Result<()> {
        fs::write(Self::file(target), self.to_string())
    }

    /// Reads the text of a corpus.
    ///
    /// # Errors
    /// If a line is not an escaped input.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let inputs = text
            .lines()
            .zip(1..)
            .map(|(escaped, line)| unescape(escaped).ok_or(BadLine { line }))
            .collect::<Result<_, _>>()?;
        Ok(Self { inputs })
    }

    /// The inputs in order, each once.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.inputs.iter().map(Vec::as_slice)
    }
}

impl FromIterator<Vec<u8>> for Corpus {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(inputs: I) -> Self {
        Self { inputs: inputs.into_iter().filter(|input| !input.is_empty()).collect() }
    }
}

impl fmt::Display for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inputs.iter().try_for_each(|input| writeln!(f, "{}", input.escape_ascii()))
    }
}

/// The bytes of an escaped line, or nothing if it has an escape that
/// [`escape_ascii`](slice::escape_ascii) does not write.
fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = line.bytes();
    let mut input = Vec::with_capacity(line.len());
    while let Some(byte) = bytes.next() {
        input.push(match byte {
            b'\\' => match bytes.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                literal @ (b'\'' | b'"' | b'\\') => literal,
                b'x' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
                _ => return None,
            },
            b' '..=b'~' => byte,
            _ => return None,
        });
    }
    Some(input)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_reads_back() {
        let inputs: Corpus =
            (0..=u8::MAX).map(|byte| vec![byte, b'x', byte]).chain([(0..=255).collect()]).collect();
        assert_eq!(inputs.inputs().len(), 257);
        assert_eq!(Corpus::parse(&inputs.to_string()), Ok(inputs));
    }

    #[test]
    fn inputs_are_sorted_and_unique_and_not_empty() {
        let corpus: Corpus = ["b", "", "a", "b"].map(|input| input.as_bytes().to_vec()).into_iter().collect();
        assert_eq!(corpus.to_string(), "a\nb\n");
    }

    #[test]
    fn a_bad_line_is_named() {
        for bad in ["\\", "\\x1", "\\xg0", "\\u{41}", "é", "\t"] {
            assert_eq!(Corpus::parse(&format!("a\n{bad}\n")), Err(BadLine { line: 2 }), "{bad}");
        }
    }
}
