//! The head of a response (RFC 9112), read as leniently as Go reads it (`net/http`,
//! `net/textproto`): a parser that is stricter, or lenient in other ways, takes backends down that
//! Seesaw finds healthy.

use std::borrow::Cow;

use hc_types::HeaderCondition;

/// The longest head that is read, all interim responses included, in bytes. Go's limit is 10 MB; no
/// backend needs either.
pub const MAX_HEAD: usize = 256 * 1024;

/// How much of what a backend says an error quotes, in bytes. Quoting costs more than parsing.
const SHOWN: usize = 128;

/// Why bytes are no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not even the head can be read.
    #[error("not an HTTP/1.x response: {}: {cause}", hc_types::quote(.line))]
    Head {
        /// The line that cannot be read, or the beginning of it.
        line: Vec<u8>,
        /// What is wrong.
        cause: HeadProblem,
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

/// What is wrong with a line of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadProblem {
    /// The first line has no `HTTP/` and two digits.
    #[error("no HTTP version")]
    Version,
    /// Behind the version there is no number of three characters.
    #[error("no status")]
    Status,
    /// A field without a colon, with a name that is none, or with control characters.
    #[error("malformed field")]
    Field,
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
    /// Whether there is a `Location` that is not empty. It is not followed, so where it leads does
    /// not matter.
    pub has_location: bool,
    /// Whether the server keeps the connection (RFC 9112 section 9.3).
    pub persistent: bool,
    /// The Content-Encoding, if it is one that is not undone.
    pub encoding: Option<Box<[u8]>>,
    /// Those fields that conditions are about: names in lower case, values without the blanks
    /// around them.
    pub fields: Vec<(Box<str>, Box<[u8]>)>,
}

impl ResponseHead {
    /// Reads a head from the first bytes of a response to `method`. `None`: it is not all there.
    ///
    /// Any version of one digit, a point and one digit, folded fields, lines without CR, several
    /// spaces before the status, any reason or none, and spaces in the names of fields are fine, as
    /// in Go.
    ///
    /// # Errors
    /// [`ResponseError`] as soon as a whole line cannot be part of a head, or the head names a body
    /// that cannot be read.
    pub fn parse(bytes: &[u8], method: &str) -> Result<Option<Self>, ResponseError> {
        Self::parse_for(bytes, method, &[])
    }

    /// [`parse`](Self::parse), which also keeps the fields that `conditions` are about.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_for(
        bytes: &[u8],
        method: &str,
        conditions: &[HeaderCondition],
    ) -> Result<Option<Self>, ResponseError> {
        match parse(bytes, method, conditions) {
            Ok(None) if bytes.len() >= MAX_HEAD => Err(ResponseError::TooLong),
            done => done,
        }
    }

    /// Whether another response follows this one (RFC 9110 section 15.2). 101 is the last word: who
    /// switches protocols does not come back.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether a client that follows redirects would follow this one.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308) && self.has_location
    }
}

fn parse(
    bytes: &[u8],
    method: &str,
    conditions: &[HeaderCondition],
) -> Result<Option<ResponseHead>, ResponseError> {
    let Some((first, rest)) = next_line(bytes) else { return Ok(None) };
    let status = StatusLine::parse(first).map_err(|cause| wrong(first, cause))?;
    let Some((fields, rest)) = Fields::parse(rest, conditions)? else { return Ok(None) };
    let encoding = fields.first("content-encoding");
    Ok(Some(ResponseHead {
        length: bytes.len() - rest.len(),
        status: status.code,
        status_text: String::from_utf8_lossy(shown(status.text)).into(),
        framing: framing(&fields, status.code, status.is_1_1, method)?,
        gzip: encoding.is_some_and(|value| value.eq_ignore_ascii_case(b"gzip")),
        has_location: fields.first("location").is_some_and(|value| !value.is_empty()),
        persistent: !fields.lists("connection", b"close")
            && (status.is_1_1 || fields.lists("connection", b"keep-alive")),
        encoding: encoding.filter(|encoding| !is_undone(encoding)).map(Box::from),
        fields: fields.judged,
    }))
}

fn wrong(line: &[u8], cause: HeadProblem) -> ResponseError {
    ResponseError::Head { line: shown(line).to_vec(), cause }
}

/// As much of a line as a text needs.
fn shown(line: &[u8]) -> &[u8] {
    line[..line.len().min(SHOWN)].trim_ascii_end()
}

/// The first line without its end, and what follows. `None`: it does not end.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

struct StatusLine<'b> {
    /// Whether the version is at least 1.1.
    is_1_1: bool,
    code: u16,
    /// From the code on.
    text: &'b [u8],
}

impl<'b> StatusLine<'b> {
    fn parse(line: &'b [u8]) -> Result<Self, HeadProblem> {
        let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9', b' ', text @ ..] =
            line
        else {
            return Err(HeadProblem::Version);
        };
        let spaces = text.iter().take_while(|byte| **byte == b' ').count();
        let text = &text[spaces..];
        let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        // Go reads a number, and a number may have a sign.
        let digits = if let [b'+', two @ ..] = word { two } else { word };
        if word.len() != 3 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(HeadProblem::Status);
        }
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        Ok(Self { is_1_1: (*major, *minor) >= (b'1', b'1'), code, text })
    }
}

/// Whether a body with this Content-Encoding is compared as its content.
pub(super) fn is_undone(encoding: &[u8]) -> bool {
    encoding.is_empty()
        || [&b"gzip"[..], b"identity"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
}

/// Those fields of a head that say something about the body, or where to go.
struct Fields<'b> {
    known: Vec<(&'static str, Cow<'b, [u8]>)>,
    /// Those that conditions are about.
    judged: Vec<(Box<str>, Box<[u8]>)>,
}

const NAMES: [&str; 6] =
    ["content-length", "transfer-encoding", "content-encoding", "connection", "upgrade", "location"];

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without blanks at both ends. Nothing else counts as one here.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

impl<'b> Fields<'b> {
    /// Reads the fields up to the empty line; gives what follows it, too. `None`: it is not there.
    fn parse(
        mut bytes: &'b [u8],
        conditions: &[HeaderCondition],
    ) -> Result<Option<(Self, &'b [u8])>, ResponseError> {
        let mut fields = Self { known: Vec::new(), judged: Vec::new() };
        // A line that begins with a blank continues another one, and there is none before the
        // first.
        if bytes.first().is_some_and(is_blank) {
            return Err(wrong(bytes, HeadProblem::Field));
        }
        loop {
            let Some((line, mut rest)) = next_line(bytes) else { return Ok(None) };
            if line.is_empty() {
                return Ok(Some((fields, rest)));
            }
            let malformed = || wrong(line, HeadProblem::Field);
            let colon = line.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
            let name = &line[..colon];
            if name.is_empty() || !name.iter().all(|byte| is_name_byte(*byte)) {
                return Err(malformed());
            }
            let mut value = Cow::Borrowed(trim(&line[colon + 1..]));
            loop {
                match rest.first() {
                    // Whether the line goes on is not known yet.
                    None => return Ok(None),
                    Some(b' ' | b'\t') => {
                        let Some((more, after)) = next_line(rest) else { return Ok(None) };
                        let value = value.to_mut();
                        value.push(b' ');
                        value.extend_from_slice(trim(more));
                        rest = after;
                    }
                    Some(_) => break,
                }
            }
            if !value.iter().all(|byte| is_value_byte(*byte)) {
                return Err(malformed());
            }
            let is_judged =
                |condition: &&HeaderCondition| name.eq_ignore_ascii_case(condition.name.as_bytes());
            if let Some(condition) = conditions.iter().find(is_judged) {
                fields.judged.push((condition.name.clone(), trim(&value).into()));
            }
            // A name with a blank in it is let pass, and is none that means anything.
            if let Some(known) = NAMES.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
                fields.known.push((known, value));
            }
            bytes = rest;
        }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.known.iter().filter(move |(own, _)| *own == name).map(|(_, value)| trim(value))
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Whether a list (RFC 9110 section 5.6.1) has this member.
    fn lists(&self, name: &str, member: &[u8]) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(member))
    }
}

/// RFC 9110 section 5.6.2, and the blank.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~ ".contains(&byte)
}

/// RFC 9110 section 5.5.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn framing(fields: &Fields<'_>, status: u16, is_1_1: bool, method: &str) -> Result<Framing, ResponseError> {
    let mut encodings = fields.all("transfer-encoding");
    let chunked = match (is_1_1, encodings.next(), encodings.next()) {
        // HTTP/1.0 knows no transfer encodings.
        (false, ..) | (_, None, _) => false,
        (_, Some(one), None) if one.eq_ignore_ascii_case(b"chunked") => true,
        (_, Some(one), _) => {
            return Err(ResponseError::TransferEncoding(one[..one.len().min(SHOWN)].to_vec()));
        }
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
fn content_length(fields: &Fields<'_>) -> Result<Option<u64>, ResponseError> {
    let mut lengths = fields.all("content-length");
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.any(|other| other != first) || first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return Err(ResponseError::ContentLength);
    }
    let length = std::str::from_utf8(first).ok().and_then(|digits| digits.parse::<i64>().ok());
    length.and_then(|length| u64::try_from(length).ok()).map(Some).ok_or(ResponseError::ContentLength)
}
