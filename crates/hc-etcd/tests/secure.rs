//! TLS with client certificates, and users with passwords, with real etcd.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::Path;

use base64::Engine as _;
use hc_etcd::{EtcdConfig, Store};
use hc_fleet::NodeName;
use hc_testkit::certificate::{Authority, Identity, Purpose, Wish};
use hc_testkit::etcd::{Etcd, Version};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{Node, PREFIX, base64, config};

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn write(directory: &Path, name: &str, identity: &Identity) -> [String; 2] {
    let [certificate, key] = ["pem", "key"].map(|ending| directory.join(format!("{name}.{ending}")));
    fs::write(&certificate, pem("CERTIFICATE", &identity.chain[0])).unwrap();
    fs::write(&key, pem("PRIVATE KEY", &identity.key())).unwrap();
    [certificate, key].map(|path| path.to_str().unwrap().to_owned())
}

fn identity(authority: &Authority, names: &[&str]) -> Identity {
    let both = vec![Purpose::ServerAuth, Purpose::ClientAuth];
    authority.sign(&Wish { purposes: both, ..Wish::valid_for(names) }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_shown_and_servers_verified() {
    for version in [Version::Debian, Version::Current] {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = Authority::new("fleet", 2000, 2100).unwrap();
        let other = Authority::new("other", 2000, 2100).unwrap();
        fs::write(path("ca.pem"), authority.pem()).unwrap();
        fs::write(path("other.pem"), other.pem()).unwrap();
        // Etcd asks itself by its own certificate, for its JSON API.
        let server = write(directory.path(), "server", &identity(&authority, &["etcd.example", "127.0.0.1"]));
        write(directory.path(), "client", &identity(&authority, &["lb1"]));
        write(directory.path(), "stranger", &identity(&other, &["lb1"]));
        let ca = path("ca.pem");
        let flags = [
            "--cert-file",
            &server[0],
            "--key-file",
            &server[1],
            "--client-cert-auth",
            "--trusted-ca-file",
            ca.to_str().unwrap(),
        ];
        let etcd = Etcd::start(version, directory.path(), 1, &flags);
        let right = |config: &mut EtcdConfig| {
            config.ca_file = Some(path("ca.pem"));
            config.cert_file = Some(path("client.pem"));
            config.key_file = Some(path("client.key"));
        };
        let mut with_name = config(etcd.endpoints());
        right(&mut with_name);
        with_name.server_name = Some("etcd.example".into());
        Node::start("lb1", with_name).join("one").await;
        let mut by_address = config(etcd.endpoints());
        right(&mut by_address);
        Node::start("lb2", by_address.clone()).join("one").await;
        let wrong: [fn(&Path, &mut EtcdConfig); 4] = [
            |directory, config| config.ca_file = Some(directory.join("other.pem")),
            |_, config| config.server_name = Some("elsewhere.example".into()),
            |_, config| (config.cert_file, config.key_file) = (None, None),
            |directory, config| {
                config.cert_file = Some(directory.join("stranger.pem"));
                config.key_file = Some(directory.join("stranger.key"));
            },
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let mut config = by_address.clone();
            change(directory.path(), &mut config);
            let mut node = Node::start("lb3", config);
            node.ask(hc_fleet::Request::Grant).await;
            let why = node
                .wait("a refusal", |event| match event {
                    hc_fleet::StoreEvent::Failed(why) => Some(why.clone()),
                    hc_fleet::StoreEvent::Granted(_) => panic!("{number}: granted"),
                    _ => None,
                })
                .await;
            assert!(why.contains(&etcd.address(0).to_string()), "{number}: {why}");
            assert_eq!(node.snapshots, 0);
        }
    }
}

fn call(etcd: &Etcd, what: &str, token: Option<&str>, body: Value) -> Value {
    let answer = etcd.call(0, what, token, &body);
    assert_eq!(answer["error"], Value::Null, "{what}: {answer}");
    answer
}

/// A user who may do what a node must, and nothing else.
fn protect(etcd: &Etcd, password: &str) {
    for (user, password) in [("root", "top"), ("fleet", password)] {
        call(etcd, "auth/user/add", None, json!({"name": user, "password": password}));
        call(etcd, "auth/role/add", None, json!({"name": user}));
        call(etcd, "auth/user/grant", None, json!({"user": user, "role": user}));
    }
    let (key, end) = (base64(PREFIX), base64("/t0"));
    let permission = json!({"permType": "READWRITE", "key": key, "range_end": end});
    call(etcd, "auth/role/grant", None, json!({"name": "fleet", "perm": permission}));
    call(etcd, "auth/enable", None, json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_logs_in_and_does_so_again_when_the_token_is_no_more() {
    for version in [Version::Debian, Version::Current] {
        let directory = TempDir::new().unwrap();
        let etcd = Etcd::start(version, directory.path(), 1, &["--auth-token-ttl", "1"]);
        protect(&etcd, "secret");
        let file = directory.path().join("password");
        fs::write(&file, "secret\n").unwrap();
        let mut config = config(etcd.endpoints());
        (config.user, config.password_file) = (Some("fleet".into()), Some(file.clone()));
        let mut node = Node::start("lb1", config.clone());
        let term = node.join("one").await;
        // A change of users makes all tokens old at once, and time the rest: these take seconds.
        for ticket in 0..3 {
            let root = call(&etcd, "auth/authenticate", None, json!({"name": "root", "password": "top"}));
            let user = json!({"name": format!("u{ticket}"), "password": "x"});
            call(&etcd, "auth/user/add", root["token"].as_str(), user);
            node.quiet().await;
            node.quiet().await;
            assert!(node.keep_alive(term).await.is_ok());
            node.write(term, ticket, &[("log/a", b"1")]).await.unwrap();
            node.changes("opinions/lb1/log/a").await;
        }
        assert_eq!((node.deaf, node.snapshots), (0, 1));
        // Another password in the file counts at the next login.
        fs::write(&file, "wrong\n").unwrap();
        let mut other = Node::start("lb2", config);
        other.ask(hc_fleet::Request::Grant).await;
        let why = other
            .wait("a refusal", |event| match event {
                hc_fleet::StoreEvent::Failed(why) => Some(why.clone()),
                _ => None,
            })
            .await;
        assert!(why.contains("invalid user ID or password") && !why.contains("wrong"), "{why}");
        fs::write(&file, "secret").unwrap();
        other.snapshot().await;
        let term = other.grant().await;
        assert_eq!(other.register(term, "two").await, Some(true));
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty");
    fs::write(&empty, "").unwrap();
    let missing = directory.path().join("missing");
    let key_of = |change: &dyn Fn(&mut EtcdConfig)| {
        let mut config = config(vec!["https://etcd.example".into()]);
        change(&mut config);
        let error = Store::new(config, NodeName::new("lb1").unwrap()).err().unwrap();
        (error.key, error.problem)
    };
    assert_eq!(key_of(&|config| config.endpoints.clear()).0, "endpoints");
    assert_eq!(key_of(&|config| config.endpoints.push("http://other".into())).0, "endpoints");
    assert_eq!(key_of(&|config| config.prefix.clear()).0, "prefix");
    assert_eq!(key_of(&|config| config.silence = config.ttl).0, "silence");
    assert_eq!(key_of(&|config| config.server_name = Some("a b".into())).0, "server_name");
    for file in [&empty, &missing] {
        let (key, problem) = key_of(&|config| config.ca_file = Some(file.clone()));
        assert!(key == "ca_file" && problem.contains(file.to_str().unwrap()), "{problem}");
        let (key, problem) = key_of(&|config| {
            (config.user, config.password_file) = (Some("a".into()), Some(file.clone()));
        });
        assert!(key == "password_file" && problem.contains(file.to_str().unwrap()), "{problem}");
    }
    assert_eq!(key_of(&|config| config.user = Some("a".into())).0, "password_file");
    assert_eq!(key_of(&|config| config.cert_file = Some(empty.clone())).0, "key_file");
}
