//! Request targets from the characters at which URLs turn.

use fastrand::Rng;
use hc_testkit::script::Step;
use serde_json::json;

use crate::case::{self, Case};
use crate::serve::Server;

const PIECES: &[&str] = &[
    "/",
    "/",
    "//",
    "a",
    "b",
    "www",
    ".",
    ":",
    ":80",
    "?",
    "#",
    "%41",
    "%2f",
    "%zz",
    "%",
    " ",
    "@",
    "[",
    "]",
    "[::1]",
    "*",
    "+",
    "&",
    "=",
    ";",
    ",",
    "!",
    "'",
    "(",
    "\"",
    "<",
    "^",
    "|",
    "\\",
    "{",
    "~",
    "_",
    "-",
    "$",
    "http:",
    "http://",
    "https://a",
    "http://a/",
    "x:",
    "1",
    "%25",
    "%20",
    "..",
    "\t",
    "\u{7f}",
];

/// Nothing outside ASCII, since in a host it is an exception. Always in DSR mode, where both sides
/// go to the target whatever the request names.
pub(super) fn case(n: usize, rng: &mut Rng) -> Case {
    let mut request = String::new();
    for _ in 0..rng.usize(1..8) {
        request.push_str(PIECES[rng.usize(..PIECES.len())]);
    }
    let methods = ["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "CONNECT"];
    let check = json!({
        "checker_type": "http", "path": case::bytes(&request), "method": methods[rng.usize(..methods.len())],
        "mode": "dsr", "mark": 65536, "proxy": rng.u8(..4) == 0, "expected_codes": [200],
    });
    let answer = Step::respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    Case::new(format!("generated/request/{n}"), Server::Tcp(answer), check)
}
