//! HTTP: bodies, their framing and their compression.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::http::respond;
use crate::case::Case;

/// A body in gzip (RFC 1952).
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

fn with(name: &str, fields: &str, body: impl AsRef<[u8]>, wanted: &[u8]) -> Case {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    respond(&format!("body/{name}"), [head.as_bytes(), body.as_ref()].concat(), &[200], wanted)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(chunks());
    cases.extend(compressed());
    cases.extend(without_body());
    cases
}

fn lengths() -> Vec<Case> {
    vec![
        with("exact", "Content-Length: 2\r\n", "ok", b"ok"),
        with("longer", "Content-Length: 9\r\n", "ok indeed", b"ok"),
        with("shorter", "Content-Length: 1\r\n", "o", b"ok"),
        with("wrong", "Content-Length: 2\r\n", "no", b"ok"),
        with("empty", "Content-Length: 0\r\n", "", b"ok"),
        with("nul-behind", "Content-Length: 3\r\n", "ok\n", b"ok\n\0"),
        with("nul-behind-comes", "Content-Length: 4\r\n", "ok\n\0", b"ok\n\0"),
        with("nul-alone", "Content-Length: 1\r\n", "\0", b"\0"),
        with("nul-for-nothing", "Content-Length: 0\r\n", "", b"\0"),
        with("any-byte", "Content-Length: 4\r\n", b"\x00\xff\x80\n", b"\x00\xff\x80\n"),
        with("beyond-length", "Content-Length: 2\r\n", "okay", b"okay"),
        with("length-too-long", "Content-Length: 9\r\n", "ok", b"ok"),
        with("length-too-long-unexpected", "Content-Length: 9\r\n", "ok", b"ok indeed"),
        with("length-same-twice", "Content-Length: 2\r\nContent-Length: 2\r\n", "ok", b"ok"),
        with("length-other-twice", "Content-Length: 2\r\nContent-Length: 3\r\n", "ok", b"ok"),
        with("length-list", "Content-Length: 2, 2\r\n", "ok", b"ok"),
        with("length-negative", "Content-Length: -1\r\n", "ok", b"ok"),
        with("length-plus", "Content-Length: +2\r\n", "ok", b"ok"),
        with("length-empty", "Content-Length:\r\n", "ok", b"ok"),
        with("length-empty-not-wanted", "Content-Length:\r\n", "ok", b""),
        with("length-word", "Content-Length: two\r\n", "ok", b"ok"),
        with("length-hexadecimal", "Content-Length: 0x2\r\n", "ok", b"ok"),
        with("length-zeroes", "Content-Length: 0002\r\n", "ok", b"ok"),
        with("length-zeroes-twice", "Content-Length: 2\r\nContent-Length: 02\r\n", "ok", b"ok"),
        with("length-blank", "Content-Length: 2 \r\n", "ok", b"ok"),
        with("length-too-big", "Content-Length: 99999999999999999999\r\n", "ok", b"ok"),
        with("length-biggest", "Content-Length: 9223372036854775807\r\n", "ok", b"ok"),
        with("length-above-biggest", "Content-Length: 9223372036854775808\r\n", "ok", b"ok"),
        with("until-close", "", "ok", b"ok"),
        with("until-close-shorter", "", "o", b"ok"),
        with("until-close-empty", "", "", b"ok"),
        with("large", "Content-Length: 100000\r\n", [b'x'; 100_000], &[b'x'; 100_000]),
        with("large-prefix", "Content-Length: 100000\r\n", [b'x'; 100_000], &[b'x'; 10]),
        with("large-until-close", "", [b'x'; 100_000], &[b'x'; 100_000]),
    ]
}

fn chunks() -> Vec<Case> {
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let large = format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000));
    let mut cases: Vec<Case> = [
        ("one", "2\r\nok\r\n0\r\n\r\n"),
        ("two", "1\r\no\r\n1\r\nk\r\n0\r\n\r\n"),
        ("upper-case", "0A\r\nok45678901\r\n0\r\n\r\n"),
        ("lower-case", "a\r\nok45678901\r\n0\r\n\r\n"),
        ("zeroes", "0002\r\nok\r\n0\r\n\r\n"),
        ("extension", "2;name=value\r\nok\r\n0\r\n\r\n"),
        ("extension-with-blank", "2 ;name\r\nok\r\n0\r\n\r\n"),
        ("blank-behind", "2 \r\nok\r\n0\r\n\r\n"),
        ("blank-before", " 2\r\nok\r\n0\r\n\r\n"),
        ("trailer", "2\r\nok\r\n0\r\nX: y\r\n\r\n"),
        ("no-end", "2\r\nok\r\n"),
        ("no-end-line", "2\r\nok\r\n0\r\n"),
        ("cut-in-data", "4\r\nok"),
        ("cut-in-size", "2"),
        ("lf-alone", "2\nok\n0\n\n"),
        ("lf-behind-data", "2\r\nok\n0\r\n\r\n"),
        ("data-too-long", "2\r\nokay\r\n0\r\n\r\n"),
        ("data-too-long-wanted", "1\r\nokay\r\n0\r\n\r\n"),
        ("size-empty", "\r\nok\r\n0\r\n\r\n"),
        ("size-word", "two\r\nok\r\n0\r\n\r\n"),
        ("size-negative", "-2\r\nok\r\n0\r\n\r\n"),
        ("size-plus", "+2\r\nok\r\n0\r\n\r\n"),
        ("size-hexadecimal", "0x2\r\nok\r\n0\r\n\r\n"),
        ("size-of-16-digits", "0000000000000002\r\nok\r\n0\r\n\r\n"),
        ("size-of-17-digits", "00000000000000002\r\nok\r\n0\r\n\r\n"),
        ("size-too-big", "ffffffffffffffff\r\nok\r\n0\r\n\r\n"),
        ("empty", "0\r\n\r\n"),
        ("cr-in-size", "2\r\r\nok\r\n0\r\n\r\n"),
        ("not-chunked", "ok"),
    ]
    .into_iter()
    .map(|(name, body)| with(&format!("chunked/{name}"), CHUNKED, body, b"ok"))
    .collect();
    let line = format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(5000));
    cases.push(with("chunked/long-extension", CHUNKED, line, b"ok"));
    let line = format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(4000));
    cases.push(with("chunked/extension-of-4000", CHUNKED, line, b"ok"));
    cases.push(with("chunked/many", CHUNKED, "1\r\nx\r\n".repeat(3000) + "0\r\n\r\n", &[b'x'; 3000]));
    cases.push(with(
        "chunked/many-with-extensions",
        CHUNKED,
        "1;aaaaaaaaaaaaaaaa\r\nx\r\n".repeat(3000) + "0\r\n\r\n",
        &[b'x'; 3000],
    ));
    cases.push(with("chunked/large", CHUNKED, large, &[b'x'; 100_000]));
    for (name, fields) in [
        ("upper-case", "Transfer-Encoding: CHUNKED\r\n"),
        ("with-length", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        ("with-bad-length", "Transfer-Encoding: chunked\r\nContent-Length: x\r\n"),
        ("with-two-lengths", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\nContent-Length: 4\r\n"),
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("list-twice", "Transfer-Encoding: chunked, chunked\r\n"),
        ("gzip-too", "Transfer-Encoding: gzip, chunked\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n"),
        ("empty", "Transfer-Encoding:\r\n"),
        ("unknown", "Transfer-Encoding: x\r\n"),
        ("blanks", "Transfer-Encoding:  chunked \r\n"),
        ("comma", "Transfer-Encoding: chunked,\r\n"),
    ] {
        cases.push(with(&format!("encoding/{name}"), fields, "2\r\nok\r\n0\r\n\r\n", b"ok"));
        cases.push(with(&format!("encoding/{name}-not-wanted"), fields, "2\r\nok\r\n0\r\n\r\n", b""));
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    cases.push(respond("body/encoding/http-1.0", old, &[200], b"ok"));
    cases.push(respond("body/encoding/http-1.0-raw", old, &[200], b"2\r\nok"));
    cases
}

fn compressed() -> Vec<Case> {
    const GZIP: &str = "Content-Encoding: gzip\r\n";
    let packed = gzip(b"hello world");
    let half = packed.len() / 2;
    let mut spoilt = packed.clone();
    if let Some(byte) = spoilt.iter_mut().nth_back(5) {
        *byte ^= 1;
    }
    let two = [gzip(b"hello "), gzip(b"world")].concat();
    let chunked = [format!("{:x}\r\n", packed.len()).as_bytes(), &packed, b"\r\n0\r\n\r\n"].concat();
    let length = format!("{GZIP}Content-Length: {}\r\n", packed.len());
    let large = gzip(&[b'x'; 1_000_000]);
    vec![
        with("gzip/until-close", GZIP, &packed, b"hello world"),
        with("gzip/length", &length, &packed, b"hello world"),
        with("gzip/prefix", &length, &packed, b"hello"),
        with("gzip/wrong", &length, &packed, b"hallo"),
        with("gzip/longer-than-comes", &length, &packed, b"hello world and more"),
        with("gzip/raw-wanted", &length, &packed, &packed[..4]),
        with("gzip/not-wanted", &length, &packed, b""),
        with("gzip/chunked", &format!("{GZIP}Transfer-Encoding: chunked\r\n"), chunked, b"hello world"),
        with("gzip/upper-case", "Content-Encoding: GZIP\r\n", &packed, b"hello world"),
        with("gzip/x-gzip", "Content-Encoding: x-gzip\r\n", &packed, b"hello world"),
        with("gzip/identity-too", "Content-Encoding: gzip, identity\r\n", &packed, b"hello world"),
        with("gzip/two-members", GZIP, two, b"hello world"),
        with("gzip/cut", GZIP, &packed[..half], b"hello world"),
        with("gzip/cut-before-checksum", GZIP, &packed[..packed.len() - 8], b"hello world"),
        with("gzip/cut-in-header", GZIP, &packed[..5], b"hello world"),
        with("gzip/wrong-checksum", GZIP, &spoilt, b"hello world"),
        with("gzip/wrong-checksum-longer", GZIP, &spoilt, b"hello world and"),
        with("gzip/trailing-bytes", GZIP, [&packed[..], b"trailing"].concat(), b"hello world"),
        with("gzip/trailing-bytes-longer", GZIP, [&packed[..], b"trailing"].concat(), b"hello world!"),
        with("gzip/trailing-zeroes-longer", GZIP, [&packed[..], &[0; 20]].concat(), b"hello world!"),
        with("gzip/not-packed", GZIP, "hello world", b"hello world"),
        with("gzip/empty", GZIP, "", b"hello"),
        with("gzip/empty-length", &format!("{GZIP}Content-Length: 0\r\n"), "", b"hello"),
        with("gzip/packed-nothing", GZIP, gzip(b""), b"hello"),
        with("gzip/large", GZIP, large, &[b'x'; 50_000]),
        with("deflate", "Content-Encoding: deflate\r\n", deflate(b"hello"), b"hello"),
        with("deflate-raw-wanted", "Content-Encoding: deflate\r\n", deflate(b"hello"), &deflate(b"hello")),
        with("br", "Content-Encoding: br\r\n", "hello", b"hello"),
        with("identity", "Content-Encoding: identity\r\n", "hello", b"hello"),
    ]
}

/// Responses that have none by their meaning.
fn without_body() -> Vec<Case> {
    let mut cases = Vec::new();
    for code in [204, 205, 304] {
        let response = format!("HTTP/1.1 {code} Word\r\nContent-Length: 2\r\n\r\nok");
        cases.push(respond(&format!("body/none/{code}"), &response, &[code], b"ok"));
        cases.push(respond(&format!("body/none/{code}-not-wanted"), &response, &[code], b""));
        let response = format!("HTTP/1.1 {code} Word\r\n\r\nok");
        cases.push(respond(&format!("body/none/{code}-without-length"), &response, &[code], b"ok"));
        let response = format!("HTTP/1.1 {code} Word\r\nContent-Length: x\r\n\r\nok");
        cases.push(respond(&format!("body/none/{code}-bad-length"), &response, &[code], b""));
        let response =
            format!("HTTP/1.1 {code} Word\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        cases.push(respond(&format!("body/none/{code}-chunked"), &response, &[code], b"ok"));
    }
    for (name, fields, body) in [
        ("head", "Content-Length: 2\r\n", ""),
        ("head-with-body", "Content-Length: 2\r\n", "ok"),
        ("head-chunked", "Transfer-Encoding: chunked\r\n", ""),
        ("head-without-length", "", ""),
        ("head-bad-length", "Content-Length: x\r\n", ""),
        ("head-two-lengths", "Content-Length: 2\r\nContent-Length: 3\r\n", ""),
        ("head-gzip", "Content-Encoding: gzip\r\nContent-Length: 20\r\n", ""),
    ] {
        for (wanted, word) in [(&b""[..], "not-wanted"), (b"ok", "wanted")] {
            let mut case = with(&format!("none/{name}-{word}"), fields, body, wanted);
            case.check["method"] = "HEAD".into();
            cases.push(case);
        }
    }
    cases
}
