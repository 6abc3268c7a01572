//! Spans of the real program, as a collector gets them.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rig::{Answer, Receiver, Rig, backend, wait_until};

/// One message of protobuf, read without knowing its type: values by the numbers of their fields.
#[derive(Clone, Debug, Default)]
struct Message(BTreeMap<u64, Vec<Field>>);

#[derive(Clone, Debug)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    fn read(mut bytes: &[u8]) -> Self {
        let mut message = Self::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut bytes).try_into().unwrap();
                    Field::Bytes(take(&mut bytes, length).to_vec())
                }
                kind => panic!("wire type {kind}"),
            };
            message.0.entry(tag >> 3).or_default().push(field);
        }
        message
    }

    fn all(&self, number: u64) -> impl Iterator<Item = Message> {
        self.0.get(&number).into_iter().flatten().map(|field| match field {
            Field::Bytes(bytes) => Self::read(bytes),
            Field::Number(number) => panic!("{number} is no message"),
        })
    }

    fn text(&self, number: u64) -> String {
        match self.0.get(&number).map(|fields| &fields[0]) {
            Some(Field::Bytes(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn number(&self, number: u64) -> Option<u64> {
        match self.0.get(&number).map(|fields| &fields[0])? {
            Field::Number(number) => Some(*number),
            Field::Bytes(bytes) => panic!("{bytes:?} is no number"),
        }
    }

    /// Attributes that are texts, and those that are integers as texts.
    fn attributes(&self, number: u64) -> BTreeMap<String, String> {
        let value = |pair: &Message| {
            let value = pair.all(2).next().unwrap();
            value.number(3).map_or_else(|| value.text(1), |number| number.to_string())
        };
        self.all(number).map(|pair| (pair.text(1), value(&pair))).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn config(dir: &Path, collector: &Receiver, port: u16) -> String {
    let files = dir.join("checks.toml");
    let checks = format!(
        "[defaults]\ninterval = \"100ms\"\nfall = 1\n[defaults.labels]\nsite = \"ams\"\n\
         [[check]]\nname = \"traced-up\"\ntarget = \"127.0.0.1:{port}\"\ntcp = {{}}\n\
         [[check]]\nname = \"traced-down\"\ntarget = \"127.0.0.2:{port}\"\ntcp = {{}}\n\
         [[check]]\nname = \"other\"\ntarget = \"127.0.0.1:{port}\"\ntcp = {{}}\n"
    );
    fs::write(&files, checks).unwrap();
    format!(
        "[source]\nkind = \"file\"\nfiles = [{files:?}]\n\
         [trace]\nendpoint = \"http://{}/v1/traces\"\nratio = 0.0\nnames = [\"traced-*\"]\n",
        collector.address
    )
}

#[test]
fn probes_of_chosen_checks_have_spans() {
    let (backend, collector) = (backend(), Receiver::start(&[Answer::Status(503)]));
    let port = backend.address().port();
    let rig = Rig::start(|dir| config(dir, &collector, port));
    let spans = || {
        let requests = collector.posts().into_iter().map(|post| Message::read(&post.body));
        let scopes = requests.flat_map(|request| request.all(1).collect::<Vec<_>>());
        let scopes = scopes.flat_map(|resource| resource.all(2).collect::<Vec<_>>());
        scopes.flat_map(|scope| scope.all(2).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let of = |name: &str| {
        spans().into_iter().find(|span| span.attributes(9).get("hc.check.name").is_some_and(|n| n == name))
    };
    wait_until("spans of both", || of("traced-up").is_some() && of("traced-down").is_some());
    let (up, down) = (of("traced-up").unwrap(), of("traced-down").unwrap());

    let attributes = up.attributes(9);
    let port = port.to_string();
    for (key, value) in [
        ("hc.check.type", "tcp"),
        ("hc.check.health", "healthy"),
        ("hc.probe.outcome", "pass"),
        ("hc.label.site", "ams"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ] {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key} {attributes:?}");
    }
    assert_eq!((up.text(5).as_str(), up.number(6)), ("probe tcp", Some(3)));
    assert!(up.number(7) < up.number(8), "it took some time");
    assert!(up.all(11).any(|event| event.text(2) == "connect" && event.number(1) > up.number(7)));
    assert!(up.all(15).next().is_none(), "no status");
    assert_eq!(down.attributes(9).get("error.type").map(String::as_str), Some("refused"));
    let status = down.all(15).next().unwrap();
    assert_eq!(status.number(3), Some(2));
    assert!(status.text(2).contains("refused"), "{}", status.text(2));

    let posts = collector.posts();
    assert_eq!(posts[0].header("content-type"), Some("application/x-protobuf"));
    assert!(posts[0].head.starts_with("POST /v1/traces HTTP/1.1"), "{}", posts[0].head);
    let resource = Message::read(&posts[0].body).all(1).next().unwrap().all(1).next().unwrap();
    assert_eq!(resource.attributes(1)["service.name"], "hc-server");
    // What was refused for now is sent again as it is.
    wait_until("the batch again", || collector.posts().len() > 1);
    let posts = collector.posts();
    let first = |post: &rig::Post| {
        let resource = Message::read(&post.body).all(1).next().unwrap();
        resource.all(2).next().unwrap().all(2).next().unwrap().0.get(&2).map(|id| format!("{id:?}"))
    };
    assert_eq!(first(&posts[0]), first(&posts[1]));
    assert!(spans().iter().all(|span| span.attributes(9)["hc.check.name"] != "other"));
    wait_until("figures", || {
        let text = rig.get("/metrics");
        let exported =
            text.lines().find_map(|line| line.strip_prefix("hc_spans_total{result=\"exported\"} "));
        exported.is_some_and(|count| count != "0")
    });
}

#[test]
fn a_collector_that_hangs_holds_nothing_up() {
    let (backend, collector) = (backend(), Receiver::start(&[]));
    collector.hang(true);
    let port = backend.address().port();
    let mut rig = Rig::start(|dir| config(dir, &collector, port));
    wait_until("a request hangs", || !collector.posts().is_empty());
    let is = |health: &str| {
        let check: serde_json::Value = serde_json::from_str(&rig.get("/api/v1/checks/traced-up")).unwrap();
        check["health"] == health
    };
    wait_until("healthy", || is("healthy"));
    drop(backend);
    wait_until("unhealthy", || is("unhealthy"));
    // Also at the end: what cannot be sent within the grace is given up.
    assert!(rig.server.terminate().success());
}
