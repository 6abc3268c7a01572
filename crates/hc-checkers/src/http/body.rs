//! The body of a response: its framing undone (RFC 9112 sections 6 and 7), decompressed, and
//! compared as it comes.

use std::io::Write as _;

use flate2::write::MultiGzDecoder;

use super::{Framing, ResponseHead};

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// RFC 9112 section 7.1.
    #[error("malformed chunked encoding")]
    Chunk,
    /// RFC 1952.
    #[error("malformed gzip body")]
    Gzip,
}

/// The longest line between chunks, as in Go.
const MAX_CHUNK_LINE: usize = 4096;

/// Reads as much of a body as is needed to say whether it begins as expected. Holds no more than
/// that.
#[derive(Debug)]
pub struct Body {
    framing: Frames,
    content: Content,
}

#[derive(Debug)]
enum Frames {
    Length(u64),
    Chunked(Chunk),
    Close,
}

/// Where in a chunked body we are.
#[derive(Debug)]
enum Chunk {
    /// In the line with the size, of which this has come.
    Size(Vec<u8>),
    /// In the data, with so many bytes to come.
    Data(u64),
    /// In the line end after the data, with so many bytes to come.
    DataEnd(&'static [u8]),
    /// Behind the last chunk. Trailers are not looked at.
    End,
}

#[derive(Debug)]
enum Content {
    Plain(Prefix),
    Gzip(Box<MultiGzDecoder<Prefix>>),
}

/// Takes the first bytes of a body, as many as are expected.
#[derive(Debug)]
struct Prefix {
    got: Vec<u8>,
    wanted: usize,
}

impl std::io::Write for Prefix {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.wanted - self.got.len();
        self.got.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Body {
    /// The body that follows `head`, of which the first `wanted` bytes are to be kept.
    #[must_use]
    pub fn new(head: &ResponseHead, wanted: usize) -> Self {
        let framing = match head.framing {
            Framing::Length(length) => Frames::Length(length),
            Framing::Chunked => Frames::Chunked(Chunk::Size(Vec::new())),
            Framing::Close => Frames::Close,
        };
        let prefix = Prefix { got: Vec::new(), wanted };
        let content = if head.gzip && head.framing != Framing::Length(0) {
            Content::Gzip(Box::new(MultiGzDecoder::new(prefix)))
        } else {
            Content::Plain(prefix)
        };
        Self { framing, content }
    }

    /// Whether the body has ended, as far as its framing says so itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.framing, Frames::Length(0) | Frames::Chunked(Chunk::End))
    }

    /// The first bytes of the content, at most as many as wanted.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        match &self.content {
            Content::Plain(prefix) => &prefix.got,
            Content::Gzip(decoder) => &decoder.get_ref().got,
        }
    }

    /// How many bytes of memory it takes, about.
    pub(crate) fn size(&self) -> usize {
        /// The window of an inflater (RFC 1951: 32 KiB) with its tables, and the decoder's own
        /// buffer of 32 KiB.
        const DECODER: usize = 80 * 1024;

        let content = match &self.content {
            Content::Plain(prefix) => prefix.got.capacity(),
            Content::Gzip(decoder) => decoder.get_ref().got.capacity() + DECODER,
        };
        let line = if let Frames::Chunked(Chunk::Size(line)) = &self.framing { line.capacity() } else { 0 };
        content + line
    }

    /// Whether as many bytes as wanted have come.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        let Prefix { got, wanted } = match &self.content {
            Content::Plain(prefix) => prefix,
            Content::Gzip(decoder) => decoder.get_ref(),
        };
        got.len() == *wanted
    }

    /// Takes bytes from the connection. What follows the end of the body is ignored, and so is what
    /// follows the wanted bytes.
    ///
    /// # Errors
    /// [`BodyError`] if they break the framing or the compression before enough has come.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), BodyError> {
        while !bytes.is_empty() && !self.has_ended() && !self.is_enough() {
            let used = match &mut self.framing {
                Frames::Close => Self::give(&mut self.content, bytes)?,
                Frames::Length(left) => {
                    let data = limited(bytes, *left);
                    *left -= data.len() as u64;
                    Self::give(&mut self.content, data)?
                }
                Frames::Chunked(Chunk::Data(left)) => {
                    let data = limited(bytes, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.framing = Frames::Chunked(Chunk::DataEnd(b"\r\n"));
                    }
                    Self::give(&mut self.content, data)?
                }
                Frames::Chunked(chunk) => chunk.between(bytes)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// The connection has ended, and with it the body: what a compressor held back comes out.
    ///
    /// # Errors
    /// [`BodyError::Gzip`] if the compressed data is no such data and not enough has come out of
    /// it. If it ends too early it is just shorter.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        let finished = match &mut self.content {
            Content::Gzip(decoder) => decoder.try_finish(),
            Content::Plain(_) => Ok(()),
        };
        match finished {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof && !self.is_enough() => {
                Err(BodyError::Gzip)
            }
            _ => Ok(()),
        }
    }

    fn give(content: &mut Content, data: &[u8]) -> Result<usize, BodyError> {
        /// Compressed bytes can become a thousand times as many: a few at a time, until there are
        /// enough.
        const AT_ONCE: usize = 512;

        match content {
            // Writing to a prefix cannot fail.
            Content::Plain(prefix) => _ = prefix.write(data),
            Content::Gzip(decoder) => {
                for piece in data.chunks(AT_ONCE) {
                    let taken = decoder.write_all(piece);
                    // The decoder keeps what came out of the last bytes, those before an error too,
                    // until it is flushed; and a server that leaves the connection open sends no
                    // more to push it out.
                    let flushed = decoder.flush();
                    let Prefix { got, wanted } = decoder.get_ref();
                    if got.len() == *wanted {
                        break;
                    }
                    taken.and(flushed).map_err(|_| BodyError::Gzip)?;
                }
            }
        }
        Ok(data.len())
    }
}

impl Chunk {
    /// Takes bytes of what stands between the data of chunks, and says how many.
    fn between(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Chunk::Size(line) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = &bytes[..end.unwrap_or(bytes.len())];
                if line.len() + part.len() > MAX_CHUNK_LINE {
                    return Err(BodyError::Chunk);
                }
                line.extend_from_slice(part);
                if end.is_none() {
                    return Ok(part.len());
                }
                let size = chunk_size(line)?;
                *self = if size == 0 { Chunk::End } else { Chunk::Data(size) };
                Ok(part.len() + 1)
            }
            Chunk::DataEnd(expected) => {
                let common = bytes.len().min(expected.len());
                if bytes[..common] != expected[..common] {
                    return Err(BodyError::Chunk);
                }
                *expected = &expected[common..];
                if expected.is_empty() {
                    *self = Chunk::Size(Vec::new());
                }
                Ok(common)
            }
            Chunk::Data(_) | Chunk::End => Ok(bytes.len()),
        }
    }
}

/// The size in a chunk's line, which must end in CR LF (the LF is gone already). Extensions are
/// ignored.
fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let line = line.strip_suffix(b"\r").ok_or(BodyError::Chunk)?;
    if line.contains(&b'\r') {
        return Err(BodyError::Chunk);
    }
    let mut end = line.len();
    while end > 0 && matches!(line[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    let digits = line[..end].split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).map_err(|_| BodyError::Chunk)?;
    // `from_str_radix` takes a sign, which a size has not.
    if digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BodyError::Chunk);
    }
    u64::from_str_radix(text, 16).map_err(|_| BodyError::Chunk)
}

/// Finds the end of a response, behind which its connection can carry another one. What the bytes
/// mean is for others.
#[derive(Debug)]
pub(crate) struct Ending {
    framing: Frames,
    /// What is still to come behind the last chunk. Trailers are not gone through.
    line_end: &'static [u8],
    is_broken: bool,
}

impl Ending {
    /// `None`: the end is that of the connection.
    pub(crate) fn new(framing: Framing) -> Option<Self> {
        let (framing, line_end) = match framing {
            Framing::Length(length) => (Frames::Length(length), &b""[..]),
            Framing::Chunked => (Frames::Chunked(Chunk::Size(Vec::new())), &b"\r\n"[..]),
            Framing::Close => return None,
        };
        Some(Self { framing, line_end, is_broken: false })
    }

    /// Takes the next bytes behind the head.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_broken {
            match self.step(bytes) {
                Some(used) => bytes = &bytes[used..],
                None => self.is_broken = true,
            }
        }
    }

    /// How many of these bytes belong to the response. `None`: the first does not.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match &mut self.framing {
            Frames::Close | Frames::Length(0) => None,
            Frames::Length(left) => {
                let data = limited(bytes, *left);
                *left -= data.len() as u64;
                Some(data.len())
            }
            Frames::Chunked(Chunk::Data(left)) => {
                let data = limited(bytes, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    self.framing = Frames::Chunked(Chunk::DataEnd(b"\r\n"));
                }
                Some(data.len())
            }
            Frames::Chunked(Chunk::End) => {
                let common = bytes.len().min(self.line_end.len());
                let is_end = common > 0 && bytes[..common] == self.line_end[..common];
                self.line_end = &self.line_end[common..];
                is_end.then_some(common)
            }
            Frames::Chunked(chunk) => chunk.between(bytes).ok(),
        }
    }

    /// Whether the response has ended, and nothing came behind it.
    pub(crate) fn is_reached(&self) -> bool {
        let has_ended = match self.framing {
            Frames::Length(left) => left == 0,
            Frames::Chunked(Chunk::End) => self.line_end.is_empty(),
            _ => false,
        };
        has_ended && !self.is_broken
    }

    /// Whether more bytes can bring it to its end, or it is there.
    pub(crate) fn is_possible(&self) -> bool {
        !self.is_broken
    }
}

fn limited(bytes: &[u8], left: u64) -> &[u8] {
    let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    &bytes[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these bytes end a response, whatever pieces they come in.
    #[track_caller]
    fn ends(framing: Framing, bytes: &[u8]) -> bool {
        let in_pieces = |size: usize| {
            let mut ending = Ending::new(framing).unwrap();
            bytes.chunks(size).for_each(|piece| ending.take(piece));
            ending.is_reached()
        };
        let at_once = in_pieces(bytes.len().max(1));
        for size in 1..bytes.len() {
            assert_eq!(in_pieces(size), at_once, "in pieces of {size}");
        }
        at_once
    }

    #[test]
    fn the_end_of_a_response_is_found_and_nothing_may_follow() {
        assert!(Ending::new(Framing::Close).is_none());
        assert!(ends(Framing::Length(0), b""));
        assert!(!ends(Framing::Length(0), b"x"));
        assert!(!ends(Framing::Length(3), b"ab"));
        assert!(ends(Framing::Length(3), b"abc"));
        assert!(!ends(Framing::Length(3), b"abcd"));
        assert!(ends(Framing::Chunked, b"2\r\nab\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"));
        assert!(ends(Framing::Chunked, b"0\r\n\r\n"));
        for unfinished in [&b""[..], b"2\r\nab\r\n", b"0\r\n", b"0\r\n\r"] {
            assert!(!ends(Framing::Chunked, unfinished), "{unfinished:?}");
        }
        for wrong in [&b"0\r\n\r\nHTTP/1.1 408"[..], b"0\r\nTrailer: x\r\n\r\n", b"x\r\n", b"1\r\nab\r\n"] {
            assert!(!ends(Framing::Chunked, wrong), "{wrong:?}");
        }
    }
}
