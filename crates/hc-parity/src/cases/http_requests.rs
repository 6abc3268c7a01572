//! HTTP: what is asked for, and how it looks on the wire.

use std::sync::Arc;

use hc_testkit::script::Step;
use serde_json::json;

use crate::case::{Case, bytes};
use crate::serve::Server;
use crate::trust::Trust;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a check may ask for. Nothing here names another host: with that, Seesaw in plain mode goes
/// elsewhere.
const PATHS: &[&[u8]] = &[
    b"/healthz?x=1",
    b"/",
    b"/a b#frag",
    "/\u{e9}".as_bytes(),
    b"/%41%2f",
    b"healthz",
    b"healthz/x:y",
    b"?x",
    b"?",
    b"#",
    b"#frag",
    b"/#",
    b"*",
    b"/*",
    b"foo:bar",
    b"foo:",
    b"foo:bar?x",
    b"foo:/bar",
    b"http:/bar",
    b"http:bar",
    b"http:///bar",
    b"///bar",
    b"////bar",
    b"/a//b",
    b"/./a/../b",
    b"/%zz",
    b"/%4",
    b"/%",
    b"/%00",
    b":foo",
    b"1:2",
    b"a1:2",
    b"a_b:c",
    b"/1:2",
    b"./1:2",
    b"/a?b?c",
    b"/a?b=c&d=%zz",
    b"/a?b c",
    b"/a?b#c?d",
    b"/?%",
    b"/a#%zz",
    b"/a#b#c",
    b"/a+b",
    b"/a;b,c=d@e&f$g!h'(i)j*k",
    b"/[a]",
    b"/{a}",
    b"/a|b\\c^d`e",
    b"/<a>\"b\"",
    b"/%5B%5d%7b",
    b"/a%20b c",
    b"/\xff",
    b"/\xff%20",
    b"/?\xff",
    "/?\u{e9}".as_bytes(),
    b"/\x7f",
    b"/\t",
    b"/\r\nX: y",
    b"/\n",
    b"/\0",
    b" /",
    b"/ ",
    b"/a/",
    b"/very/long/path/very/long/path/very/long/path/very/long/path/very/long/path/very/long/path",
    b"-",
    b"+:x",
    b"a.b-c+d:e",
    b"A:b",
    b"~",
    b"@",
    b"a@b",
    b"a:b@c",
    b"%41",
    b"%zz",
    b"//",
    b"///",
    b"http:",
    b"http://",
    b"https:///x",
    b"http://?x",
    b"//?x",
];

/// What names another host. In DSR mode both sides go to the target all the same.
const URIS: &[&[u8]] = &[
    b"http://www.example.com/x",
    b"https://www.example.com/x",
    b"http://www.example.com",
    b"http://www.example.com?x",
    b"http://www.example.com:8080/x",
    b"http://www.example.com:80/x",
    b"http://www.example.com:/x",
    b"http://WWW.Example.COM/X",
    b"HTTP://www.example.com/",
    b"ftp://www.example.com/x",
    b"//www.example.com/x",
    b"//www.example.com",
    b"http://user@www.example.com/",
    b"http://user:pass@www.example.com/",
    b"http://user:p%40ss@www.example.com/",
    b"http://us%3Aer:pass@www.example.com/",
    b"http://:pass@www.example.com/",
    b"http://@www.example.com/",
    b"http://a b@www.example.com/",
    b"http://a@b@www.example.com/",
    b"http://192.0.2.9/x",
    b"http://192.0.2.9:81/x",
    b"http://[2001:db8::9]/x",
    b"http://[2001:db8::9]:81/x",
    b"http://[2001:DB8:0:0::9]/x",
    b"http://[fe80::1%25eth0]/x",
    b"http://[fe80::1%eth0]/x",
    b"http://[::1/x",
    b"http://::1]/x",
    b"http://[::1]x/",
    b"http://[]/",
    b"http://[x]/",
    b"http://[192.0.2.1]/",
    b"http://a:b/x",
    b"http://a:1:2/x",
    b"http://a:-1/x",
    b"http://a:99999/x",
    b"http://a b/x",
    b"http://a%20b/x",
    b"http://a%41b/x",
    b"http://a_b/x",
    b"http://a<b/x",
    b"http://a<b",
    b"http://a\"b/x",
    b"http://a^b/x",
    b"http://a!b/x",
    b"http://a*b/x",
    b"http://a,b/x",
    b"http://a;b=c/x",
    b"http://a&b/x",
    b"http://a$b/x",
    b"http://a'b(c)/x",
    b"http://-/x",
    b"http://./x",
    b"http://../x",
    b"http://a../x",
    b"http://a.b./x",
    b"http://www.example.com/a b",
    b"http://www.example.com/%zz",
    b"http://www.example.com/#f",
    b"http://www.example.com/*",
    b"http://www.example.com*",
    b"http://www.example.com\\x",
    b"http://%77ww.example.com/",
    b"http://www.example.com%2f/",
    b"http://%/",
    "http://b\u{fc}cher.example/".as_bytes(),
    "http://xn--bcher-kva.example/".as_bytes(),
    b"http://b%C3%BCcher.example/",
    "http://www.B\u{dc}CHER.Example:8080/x".as_bytes(),
    "http://\u{fc}.xn--bcher-kva/".as_bytes(),
    "http://\u{fc}.xn--Bcher-KVA/".as_bytes(),
    "http://\u{fc}.xn--abc-/".as_bytes(),
    "http://fa\u{df}.example/".as_bytes(),
    "http://\u{4f8b}\u{3048}\u{3002}\u{30c6}\u{30b9}\u{30c8}/".as_bytes(),
    "http://a_b.\u{fc}/".as_bytes(),
    "http://\u{fc}-.example/".as_bytes(),
    b"http://b%FCcher.example/",
];

const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "Get",
    "PURGE",
    "M-SEARCH",
    "!#$%&'*+-.^_`|~",
    "",
    "GE T",
    "GET ",
    " GET",
    "G\tT",
    "G(T",
    "G\u{c9}T",
    "GET\r\nX: y",
    ":",
];

pub(super) fn cases(trust: &Trust) -> Vec<Case> {
    let answer = || Server::Tcp(Step::respond(OK));
    let shown = |request: &[u8]| hc_types::quote(request).replace('|', "%7c");
    let mut cases = Vec::new();
    for path in PATHS {
        for (form, fields) in [
            ("plain", json!({})),
            ("dsr", json!({"mode": "dsr", "mark": 65536})),
            ("proxy", json!({"mode": "dsr", "mark": 65536, "proxy": true})),
            ("options", json!({"method": "OPTIONS"})),
            ("connect", json!({"mode": "dsr", "mark": 65536, "method": "CONNECT"})),
        ] {
            let mut case = Case::new(format!("http/request/{form}/{}", shown(path)), answer(), request(path));
            merge(&mut case, fields);
            cases.push(case);
        }
    }
    for uri in URIS {
        for (form, fields) in [
            ("dsr", json!({"mode": "dsr", "mark": 65536})),
            ("tun", json!({"mode": "tun", "mark": 65537})),
            ("proxy", json!({"mode": "dsr", "mark": 65536, "proxy": true})),
            ("connect", json!({"mode": "dsr", "mark": 65536, "method": "CONNECT"})),
        ] {
            let mut case = Case::new(format!("http/uri/{form}/{}", shown(uri)), answer(), request(uri));
            merge(&mut case, fields);
            cases.push(case);
        }
        let mut case = Case::new(
            format!("https/uri/dsr/{}", shown(uri)),
            Server::Tls(Arc::clone(&trust.good), Step::respond(OK)),
            request(uri),
        );
        merge(&mut case, json!({"mode": "dsr", "mark": 65536, "secure": true, "tls_verify": false}));
        cases.push(case);
    }
    // In plain mode Seesaw goes where the URI says. Nobody listens on port 80 of this network.
    for uri in ["http://localhost/s", "http://127.0.0.1/s", "//localhost/s", "http://name.invalid/s"] {
        cases.push(Case::new(format!("http/uri/plain/{uri}"), answer(), request(uri.as_bytes())));
    }
    for proxied in ["/s", "http://localhost/s"] {
        let mut case =
            Case::new(format!("http/uri/plain-proxy/{proxied}"), answer(), request(proxied.as_bytes()));
        merge(&mut case, json!({"proxy": true}));
        cases.push(case);
    }
    for method in METHODS {
        let mut case = Case::new(format!("http/method/{method:?}"), answer(), request(b"/x"));
        merge(&mut case, json!({"method": method}));
        cases.push(case);
    }
    cases
}

fn request(path: &[u8]) -> serde_json::Value {
    json!({"checker_type": "http", "path": bytes(path), "expected_codes": [200]})
}

fn merge(case: &mut Case, fields: serde_json::Value) {
    if let (Some(all), serde_json::Value::Object(own)) = (case.check.as_object_mut(), fields) {
        all.extend(own);
    }
}
