//! Questions to hc-server's admin API over its Unix socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::process::PATIENCE;

/// Status and body of an answer, as it came. `request` is a method and a path: `GET /metrics`.
///
/// # Panics
/// When there is no answer within [`PATIENCE`], or none in HTTP.
#[must_use]
pub fn ask_text(socket: &Path, request: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).expect("the admin socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let length = body.len();
    let fields = format!("Host: h\r\nContent-Length: {length}\r\nConnection: close");
    write!(stream, "{request} HTTP/1.1\r\n{fields}\r\n\r\n{body}").expect("the question is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// The same with a body of JSON; one that is none is a string.
///
/// # Panics
/// As [`ask_text`].
#[must_use]
pub fn ask(socket: &Path, request: &str, body: &str) -> (u16, Value) {
    let (status, body) = ask_text(socket, request, body);
    (status, serde_json::from_str(&body).unwrap_or_else(|_| body.into()))
}
