//! Private parts, public for the fuzz targets of this repository. Not part of the API: it may
//! change at any time.

use std::io;

use tokio::io::AsyncRead;

use crate::frame::LineReader;

/// All lines of a stream with their numbers; `None` stands for one that was too long.
///
/// # Errors
/// Those of the stream.
pub async fn lines<R: AsyncRead + Unpin>(stream: R) -> io::Result<Vec<(u64, Option<Vec<u8>>)>> {
    let mut reader = LineReader::new(stream);
    let mut lines = Vec::new();
    while let Some(line) = reader.next().await? {
        lines.push((line.number, line.content.map(<[u8]>::to_vec)));
    }
    Ok(lines)
}
