//! Lines out of a stream of bytes.

use std::io;

use hc_wire::MAX_LINE;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room for at least so many bytes is made before each read.
const CHUNK: usize = 64 * 1024;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Its number on this connection, from 1; empty lines count.
    pub(crate) number: u64,
    /// Without its `\n`. `None`: it was longer than [`MAX_LINE`] and is gone.
    pub(crate) content: Option<&'a [u8]>,
}

/// Reads lines of at most [`MAX_LINE`] bytes. Holds at most about twice that.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Where the line that is being read begins in the buffer.
    start: usize,
    /// Up to where there is no `\n` in it.
    scanned: usize,
    /// The beginning of the line has been thrown away.
    skipping: bool,
    lines: u64,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, scanned: 0, skipping: false, lines: 0 }
    }

    /// The next line that is not empty; `None` at the end of the stream. Half a line before the end
    /// is dropped.
    ///
    /// # Cancel safety
    /// What has been read stays in `self`, so dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            while let Some(length) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.start, self.scanned + length);
                (self.start, self.scanned) = (end + 1, end + 1);
                self.lines += 1;
                let too_long = std::mem::take(&mut self.skipping) || end + 1 - start > MAX_LINE;
                if too_long || !self.buffer[start..end].trim_ascii().is_empty() {
                    let content = (!too_long).then(|| &self.buffer[start..end]);
                    return Ok(Some(Line { number: self.lines, content }));
                }
            }
            self.skipping |= self.buffer.len() - self.start >= MAX_LINE;
            let used = if self.skipping { self.buffer.len() } else { self.start };
            self.buffer.drain(..used);
            (self.start, self.scanned) = (0, self.buffer.len());
            self.buffer.reserve(CHUNK);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out at most `step` bytes in a read.
    fn reader(input: &[u8], step: usize) -> LineReader<Steps> {
        LineReader::new(Steps { input: input.to_vec(), at: 0, step })
    }

    struct Steps {
        input: Vec<u8>,
        at: usize,
        step: usize,
    }

    impl AsyncRead for Steps {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let end = (self.at + self.step.min(buffer.remaining())).min(self.input.len());
            buffer.put_slice(&self.input[self.at..end]);
            self.at = end;
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[track_caller]
    fn check(input: &[u8], expected: &[(u64, Option<&[u8]>)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for step in [1, 2, 7, 65536, usize::MAX] {
            if step < 7 && input.len() > 10_000 {
                continue;
            }
            let mut reader = reader(input, step);
            runtime.block_on(async {
                for (number, content) in expected {
                    let line = reader.next().await.unwrap().unwrap();
                    assert_eq!((line.number, line.content), (*number, *content), "step {step}");
                }
                assert_eq!(reader.next().await.unwrap(), None);
            });
        }
    }

    #[test]
    fn lines_come_out_whole() {
        check(b"one\ntwo\n", &[(1, Some(b"one")), (2, Some(b"two"))]);
        check(b"", &[]);
    }

    #[test]
    fn empty_lines_are_counted_and_ignored() {
        check(b"\n \r\n\none\r\n\n", &[(4, Some(b"one\r"))]);
    }

    #[test]
    fn half_a_line_at_the_end_is_dropped() {
        check(b"one\ntw", &[(1, Some(b"one"))]);
    }

    #[test]
    fn the_longest_line_passes_and_a_longer_one_is_skipped() {
        let mut input = vec![b'x'; MAX_LINE - 1];
        input.extend(b"\n");
        input.extend(vec![b'y'; MAX_LINE]);
        input.extend(b"\nafter\n");
        input.extend(vec![b'z'; 3 * MAX_LINE]);
        input.extend(b"\nlast\nhalf");
        let longest = vec![b'x'; MAX_LINE - 1];
        check(&input, &[(1, Some(&longest)), (2, None), (3, Some(b"after")), (4, None), (5, Some(b"last"))]);
    }

    proptest::proptest! {
        #[test]
        fn however_the_bytes_arrive_the_lines_are_the_same(
            input in proptest::collection::vec(proptest::sample::select(b"ab \r\n{\xff".as_slice()), 0..200),
            step in 1usize..50,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut reader = reader(&input, step);
            let whole = input.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &input[..end]);
            let numbered = (1..).zip(whole.split(|byte| *byte == b'\n'));
            let expected = numbered.filter(|(_, line)| !line.trim_ascii().is_empty());
            runtime.block_on(async {
                for (number, line) in expected {
                    assert_eq!(reader.next().await.unwrap(), Some(Line { number, content: Some(line) }));
                }
                assert_eq!(reader.next().await.unwrap(), None);
            });
        }
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut reader = reader(&vec![b'x'; 20 * MAX_LINE], 65536);
        runtime.block_on(async { assert_eq!(reader.next().await.unwrap(), None) });
        assert!(reader.buffer.capacity() <= 3 * MAX_LINE, "{}", reader.buffer.capacity());
    }
}
