//! HTTP: heads of responses, well-formed and odd.

use super::http::respond;
use crate::case::Case;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = status_lines();
    cases.extend(fields());
    cases.extend(interim());
    cases
}

fn status_lines() -> Vec<Case> {
    [
        ("http-1.0", "HTTP/1.0 200 OK\r\n"),
        ("http-1.2", "HTTP/1.2 200 OK\r\n"),
        ("http-1.9", "HTTP/1.9 200 OK\r\n"),
        ("http-1.10", "HTTP/1.10 200 OK\r\n"),
        ("http-0.9", "HTTP/0.9 200 OK\r\n"),
        ("http-2.0", "HTTP/2.0 200 OK\r\n"),
        ("http-2", "HTTP/2 200 OK\r\n"),
        ("http-3.7", "HTTP/3.7 200 OK\r\n"),
        ("http-without-minor", "HTTP/1. 200 OK\r\n"),
        ("http-without-major", "HTTP/.1 200 OK\r\n"),
        ("http-leading-zero", "HTTP/01.1 200 OK\r\n"),
        ("lower-case", "http/1.1 200 OK\r\n"),
        ("other-protocol", "ICY 200 OK\r\n"),
        ("no-version", "HTTP 200 OK\r\n"),
        ("no-reason", "HTTP/1.1 200\r\n"),
        ("empty-reason", "HTTP/1.1 200 \r\n"),
        ("blank-reason", "HTTP/1.1 200    \r\n"),
        ("odd-reason", "HTTP/1.1 200 All is (very) well; yes!\r\n"),
        ("reason-not-ascii", "HTTP/1.1 200 Tr\u{e8}s bien\r\n"),
        ("reason-with-tab", "HTTP/1.1 200 O\tK\r\n"),
        ("reason-with-control-character", "HTTP/1.1 200 O\x01K\r\n"),
        ("reason-with-nul", "HTTP/1.1 200 O\0K\r\n"),
        ("reason-with-del", "HTTP/1.1 200 O\x7fK\r\n"),
        ("reason-with-cr", "HTTP/1.1 200 O\rK\r\n"),
        ("two-spaces-before-status", "HTTP/1.1  200 OK\r\n"),
        ("two-spaces-behind-status", "HTTP/1.1 200  OK\r\n"),
        ("tab-before-status", "HTTP/1.1\t200 OK\r\n"),
        ("tab-behind-status", "HTTP/1.1 200\tOK\r\n"),
        ("space-first", " HTTP/1.1 200 OK\r\n"),
        ("empty-line-first", "\r\nHTTP/1.1 200 OK\r\n"),
        ("lf-first", "\nHTTP/1.1 200 OK\r\n"),
        ("status-alone", "200 OK\r\n"),
        ("version-alone", "HTTP/1.1\r\n"),
        ("version-and-space", "HTTP/1.1 \r\n"),
        ("lf-alone", "HTTP/1.1 200 OK\n"),
        ("cr-alone", "HTTP/1.1 200 OK\r"),
        ("cr-cr-lf", "HTTP/1.1 200 OK\r\r\n"),
        ("empty", ""),
        ("text", "Hello, this is no HTTP\r\n"),
        ("html", "<html><body>It works!</body></html>\r\n"),
        ("a-request", "GET / HTTP/1.1\r\n"),
        ("zeroes", "\0\0\0\0\0\0\0\0\r\n"),
        ("long-reason", concat!("HTTP/1.1 200 ", "long long long long long long long long long long\r\n")),
    ]
    .into_iter()
    .flat_map(|(name, line)| {
        [
            respond(&format!("line/{name}"), format!("{line}Content-Length: 2\r\n\r\nok"), &[], b"ok"),
            respond(&format!("line/{name}-any"), format!("{line}Content-Length: 2\r\n\r\nok"), &[], b""),
            respond(&format!("line/{name}-without-fields"), format!("{line}\r\n"), &[], b""),
        ]
    })
    .collect()
}

fn fields() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("none", ""),
        ("usual", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: x/1.0 (y)\r\nConnection: close\r\n"),
        ("keep-alive", "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"),
        ("upper-case", "SERVER: X\r\n"),
        ("no-blank", "Server:x\r\n"),
        ("many-blanks", "Server:  \t x \t \r\n"),
        ("empty-value", "Server:\r\n"),
        ("folded", "Server: x\r\n y\r\n"),
        ("folded-with-tab", "Server: x\r\n\ty\r\n"),
        ("folded-empty", "Server: x\r\n \r\n"),
        ("first-one-folded", " Server: x\r\n"),
        ("first-one-tabbed", "\tServer: x\r\n"),
        ("no-colon", "Server\r\n"),
        ("no-name", ": x\r\n"),
        ("blank-before-colon", "Server : x\r\n"),
        ("tab-before-colon", "Server\t: x\r\n"),
        ("blank-in-name", "Ser ver: x\r\n"),
        ("parenthesis-in-name", "Ser(ver: x\r\n"),
        ("slash-in-name", "Ser/ver: x\r\n"),
        ("at-in-name", "Ser@ver: x\r\n"),
        ("quote-in-name", "\"Server\": x\r\n"),
        ("brace-in-name", "Ser{ver: x\r\n"),
        ("token-signs-in-name", "!#$%&'*+-.^_`|~: x\r\n"),
        ("name-not-ascii", "S\u{e9}rver: x\r\n"),
        ("control-character-in-name", "Ser\x01ver: x\r\n"),
        ("nul-in-name", "Ser\0ver: x\r\n"),
        ("value-not-ascii", "Server: \u{e9}\r\n"),
        ("control-character-in-value", "Server: a\x01b\r\n"),
        ("nul-in-value", "Server: a\0b\r\n"),
        ("del-in-value", "Server: a\x7fb\r\n"),
        ("tab-in-value", "Server: a\tb\r\n"),
        ("cr-in-value", "Server: a\rb\r\n"),
        ("cr-in-name", "Ser\rver: a\r\n"),
        ("cr-before-lf", "Server: a\r\r\n"),
        ("lf-alone", "Server: a\nDate: b\n"),
        ("colons-in-value", "Server: a:b:c\r\n"),
        ("same-twice", "Server: a\r\nServer: b\r\n"),
        ("trailer", "Trailer: X\r\n"),
        ("upgrade", "Upgrade: websocket\r\nConnection: upgrade\r\n"),
        ("proxy-connection", "Proxy-Connection: keep-alive\r\n"),
        ("cookie", "Set-Cookie: a=b; Path=/\r\n"),
    ]
    .into_iter()
    .map(|(name, fields)| {
        let response = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        respond(&format!("field/{name}"), response, &[200], b"ok")
    })
    .collect();
    let raw: [(&str, &[u8]); 2] =
        [("value-not-utf-8", b"Server: \xff\xfe\r\n"), ("name-not-utf-8", b"Ser\xffver: x\r\n")];
    for (name, field) in raw {
        let response = [b"HTTP/1.1 200 OK\r\n", field, b"Content-Length: 2\r\n\r\nok"].concat();
        cases.push(respond(&format!("field/{name}"), response, &[200], b"ok"));
    }
    for count in [31, 32, 33, 100, 1000, 4000] {
        let fields: String = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let response = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        cases.push(respond(&format!("field/{count}-of-them"), response, &[200], b"ok"));
    }
    for size in [1000, 10_000, 100_000, 200_000] {
        let response = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(size));
        cases.push(respond(&format!("field/of-{size}-bytes"), response, &[200], b"ok"));
    }
    // Above our limit, and well below Go's of 10 MB.
    let response = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(1_000_000));
    cases.push(respond("field/of-a-megabyte", response, &[200], b"ok"));
    cases
}

fn interim() -> Vec<Case> {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut cases: Vec<Case> = [
        ("100", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("102", "HTTP/1.1 102 Processing\r\n\r\n"),
        ("103", "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"),
        ("199", "HTTP/1.1 199 Word\r\n\r\n"),
        ("101", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        ("101-upgrade", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
        ("100-with-length", "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"),
        ("100-with-length-5", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"),
        ("100-chunked", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("100-of-http-1.0", "HTTP/1.0 100 Continue\r\n\r\n"),
        ("100-malformed", "HTTP/1.1 100 Continue\r\nno colon\r\n\r\n"),
    ]
    .into_iter()
    .map(|(name, first)| respond(&format!("interim/{name}"), format!("{first}{ok}"), &[200], b"ok"))
    .collect();
    for count in [2, 4, 5, 6, 20] {
        let response = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count) + ok;
        cases.push(respond(&format!("interim/103-times-{count}"), response, &[200], b"ok"));
    }
    for code in [100, 101, 103] {
        let response = format!("HTTP/1.1 {code} Word\r\n\r\n");
        cases.push(respond(&format!("interim/{code}-alone"), &response, &[code], b""));
        cases.push(respond(&format!("interim/{code}-alone-any"), response, &[], b""));
    }
    cases
}
