//! The head of a response (RFC 9112), read as leniently as Go reads it.

use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};

/// The longest head that is read, all interim responses included, in bytes. Go's limit is 10 MB; no backend needs either.
pub const MAX_HEAD: usize = 256 * 1024;

/// Heads with more fields than this are read a second time with more room.
const USUAL_FIELDS: usize = 32;
const MOST_FIELDS: usize = 4096;

/// Why bytes are no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not even the head can be read.
    #[error("not an HTTP/1.x response: {}: {cause}", hc_types::quote(.line))]
    Head {
        /// The first line, or the beginning of it.
        line: Vec<u8>,
        /// What is wrong.
        cause: httparse::Error,
    },
    /// The head does not end.
    #[error("response head longer than {MAX_HEAD} bytes")]
    TooLong,
    /// RFC 9112 section 6.3.
    #[error("bad Content-Length")]
    ContentLength,
    /// Anything but `chunked`, alone.
    #[error("unsupported transfer encoding {}", hc_types::quote(.0))]
    TransferEncoding(Vec<u8>),
}

/// Where the body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes; 0 is no body.
    Length(u64),
    /// After the chunk of size 0.
    Chunked,
    /// Where the connection ends.
    Close,
}

/// What a probe needs of a response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// How many bytes it is long.
    pub length: usize,
    /// The status code.
    pub status: u16,
    /// The status line after the version: `404 Not Found`.
    pub status_text: Box<str>,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the body is compressed with gzip.
    pub gzip: bool,
    /// Where a redirect leads to.
    pub location: Option<Vec<u8>>,
}

impl ResponseHead {
    /// Reads a head from the first bytes of a response to `method`. `None`: it is not all there.
    ///
    /// Folded fields, lines without CR, several spaces before the status, any reason or none are fine, as in Go.
    ///
    /// # Errors
    /// [`ResponseError`] as soon as the bytes cannot become a head, or name a body that cannot be read.
    pub fn parse(bytes: &[u8], method: &str) -> Result<Option<Self>, ResponseError> {
        let mut fields = [EMPTY_HEADER; USUAL_FIELDS];
        match parse_fields(bytes, method, &mut fields) {
            Err(ResponseError::Head { cause: httparse::Error::TooManyHeaders, .. }) => {
                parse_fields(bytes, method, &mut vec![EMPTY_HEADER; MOST_FIELDS])
            }
            Ok(None) if bytes.len() >= MAX_HEAD => Err(ResponseError::TooLong),
            done => done,
        }
    }

    /// Whether another response follows this one (RFC 9110 section 15.2). 101 is the last word: who switches protocols does
    /// not come back.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether a client that follows redirects would follow this one.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308) && self.location.is_some()
    }
}

fn parse_fields<'b>(
    bytes: &'b [u8],
    method: &str,
    fields: &mut [Header<'b>],
) -> Result<Option<ResponseHead>, ResponseError> {
    // httparse skips empty lines before a response, Go does not.
    let parsed = if matches!(bytes, [b'\r' | b'\n', ..]) { Err(httparse::Error::Version) } else { Ok(()) };
    let mut response = httparse::Response::new(fields);
    let parsed = parsed.and_then(|()| {
        ParserConfig::default()
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .parse_response(&mut response, bytes)
    });
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(cause) => return Err(ResponseError::Head { line: first_line(bytes).to_vec(), cause }),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Ok(None) };
    let fields = Fields(response.headers);
    let framing = framing(&fields, status, minor, method)?;
    Ok(Some(ResponseHead {
        length,
        status,
        status_text: status_text(first_line(bytes)),
        framing,
        gzip: fields.first("content-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"gzip")),
        location: fields.first("location").filter(|value| !value.is_empty()).map(<[u8]>::to_vec),
    }))
}

/// The fields of a head, by name.
struct Fields<'h, 'b>(&'h [Header<'b>]);

impl<'b> Fields<'_, 'b> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.trim_ascii())
    }

    fn first(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// Whether a list (RFC 9110 section 5.6.1) has this member.
    fn lists(&self, name: &str, member: &[u8]) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(member))
    }
}

fn framing(fields: &Fields<'_, '_>, status: u16, minor: u8, method: &str) -> Result<Framing, ResponseError> {
    let mut encodings = fields.all("transfer-encoding");
    let chunked = match (minor, encodings.next(), encodings.next()) {
        // HTTP/1.0 knows no transfer encodings.
        (0, ..) | (_, None, _) => false,
        (_, Some(one), None) if one.eq_ignore_ascii_case(b"chunked") => true,
        (_, Some(one), _) => return Err(ResponseError::TransferEncoding(one.to_vec())),
    };
    let length = content_length(fields)?;
    if status == 101
        && fields.first("upgrade").is_some_and(|to| !to.is_empty())
        && fields.lists("connection", b"upgrade")
    {
        return Ok(Framing::Close);
    }
    if method == "HEAD" || (100..200).contains(&status) || status == 204 || status == 304 {
        return Ok(Framing::Length(0));
    }
    Ok(match length {
        _ if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

/// The length, which may be told several times if it is the same.
fn content_length(fields: &Fields<'_, '_>) -> Result<Option<u64>, ResponseError> {
    let mut lengths = fields.all("content-length");
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.any(|other| other != first) || first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return Err(ResponseError::ContentLength);
    }
    let length = std::str::from_utf8(first).ok().and_then(|digits| digits.parse::<i64>().ok());
    length.and_then(|length| u64::try_from(length).ok()).map(Some).ok_or(ResponseError::ContentLength)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    const SHOWN: usize = 128;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line[..line.len().min(SHOWN)].trim_ascii_end()
}

fn status_text(line: &[u8]) -> Box<str> {
    let after_version = line.iter().position(|byte| *byte == b' ').map_or(&b""[..], |space| &line[space..]);
    String::from_utf8_lossy(after_version.trim_ascii_start()).into()
}
