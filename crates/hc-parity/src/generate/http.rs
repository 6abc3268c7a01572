//! HTTP responses from a grammar, then changed.

use fastrand::Rng;
use hc_testkit::script::Step;
use serde_json::json;

use super::mutation::mutate;
use crate::case::{self, Case};
use crate::cases::gzip;
use crate::serve::Server;

pub(super) fn case(n: usize, rng: &mut Rng) -> Case {
    let method = pick(rng, &["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]);
    let content = content(rng);
    let (mut response, code) = response(rng, &content);
    let changed = rng.u8(..3) > 0;
    if changed {
        mutate(&mut response, rng);
    }
    let wanted = match rng.u8(..4) {
        0 => Vec::new(),
        1 => content[..rng.usize(..=content.len())].to_vec(),
        2 => content,
        _ => [&content[..], b"more"].concat(),
    };
    let codes = [vec![], vec![code], vec![200]][rng.usize(..3)].clone();
    let check = json!({
        "checker_type": "http", "method": method, "expected_codes": codes, "expected_body": case::bytes(wanted),
    });
    let mut steps = vec![Step::ReadHead];
    while !response.is_empty() {
        let rest = response.split_off(rng.usize(1..=response.len()));
        steps.push(Step::send(&response));
        response = rest;
    }
    let kind = if changed { "changed" } else { "whole" };
    Case::new(format!("generated/http/{kind}/{n}"), Server::Tcp(steps), check)
}

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}

fn content(rng: &mut Rng) -> Vec<u8> {
    let length = [0, 2, 20, 300, 9000][rng.usize(..5)];
    std::iter::repeat_with(|| if rng.u8(..20) == 0 { rng.u8(..) } else { rng.u8(b' '..=b'~') })
        .take(length)
        .collect()
}

/// A whole response, and its code.
fn response(rng: &mut Rng, content: &[u8]) -> (Vec<u8>, u16) {
    let mut bytes = Vec::new();
    for _ in 0..[0, 0, 0, 1, 2][rng.usize(..5)] {
        bytes.extend(format!("HTTP/1.1 10{} Word\r\n", rng.u8(..4)).bytes());
        fields(rng, &mut bytes);
        bytes.extend(b"\r\n");
    }
    let code = if rng.bool() { 200 } else { rng.u16(200..=599) };
    let version = pick(rng, &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let reason = pick(rng, &[" OK", "", " ", " Not Found", "  two  blanks ", " (very) odd;"]);
    bytes.extend(format!("{version} {code}{reason}\r\n").bytes());
    fields(rng, &mut bytes);
    let body = if rng.u8(..4) == 0 {
        bytes.extend(b"Content-Encoding: gzip\r\n");
        gzip(content)
    } else {
        content.to_vec()
    };
    match rng.u8(..3) {
        0 => {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
            fields(rng, &mut bytes);
            bytes.extend(b"\r\n");
            bytes.extend(body);
        }
        1 => {
            bytes.extend(b"\r\n");
            bytes.extend(body);
        }
        _ => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            chunk(rng, &body, &mut bytes);
        }
    }
    (bytes, code)
}

fn fields(rng: &mut Rng, bytes: &mut Vec<u8>) {
    const FIELDS: &[&str] = &[
        "Server: x/1.0 (y)",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Connection: close",
        "Connection: keep-alive",
        "Location: /login",
        "Location: http://other.test/a%20b",
        "Content-Type: text/plain; charset=utf-8",
        "X-Empty:",
        "X-Folded: a\r\n b",
        "Set-Cookie: a=b; Path=/",
        "Trailer: X",
        "Upgrade: h2c",
    ];
    for _ in 0..rng.usize(..4) {
        bytes.extend(pick(rng, FIELDS).bytes());
        bytes.extend(b"\r\n");
    }
}

fn chunk(rng: &mut Rng, body: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = body;
    while !rest.is_empty() {
        let (data, left) = rest.split_at(rng.usize(1..=rest.len()));
        let extension = pick(rng, &["", "", ";a=b", " ", ";a=\"b\""]);
        bytes.extend(format!("{:x}{extension}\r\n", data.len()).bytes());
        bytes.extend(data);
        bytes.extend(b"\r\n");
        rest = left;
    }
    let trailer = pick(rng, &["", "", "X: y\r\n"]);
    bytes.extend(format!("0\r\n{trailer}\r\n").bytes());
}
