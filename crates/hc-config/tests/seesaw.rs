//! `cluster.pb`, held against what Seesaw's engine makes of it.
//!
//! The files beside the clusters are what the real engine handed out, as hc-proxy converts it. They
//! are written by `HC_UPDATE=1 cargo xtask integration TestClusterChecks` and held against the
//! engine by the same test without the variable.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hc_config::{Checks, ConfigErrors, Limits, NoFiles, SourceFile, parse};
use hc_wire::{CheckLine, parse_check};
use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seesaw")
}

fn clusters(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "pb")).collect()
}

fn read(bytes: &[u8]) -> Result<Checks, ConfigErrors> {
    parse(&[SourceFile::new("cluster.pb", bytes)], &Limits::default(), &NoFiles)
}

/// A check as hc-proxy would send it, without what is each one's own choice. `None` if hc-server
/// would reject it.
fn normal(mut check: Value) -> Option<String> {
    let object = check.as_object_mut().unwrap();
    object.insert("id".to_owned(), 0.into());
    // A rejection for the want of a mark would not be the check's fault.
    if object.contains_key("mode") {
        object.insert("mark".to_owned(), 1.into());
    }
    let line = parse_check(&check.to_string()).ok()?;
    Some(serde_json::to_string(&line).unwrap())
}

#[test]
fn the_checks_are_those_of_the_engine() {
    let clusters = clusters(&directory());
    assert_eq!(clusters.len(), 4);
    for path in clusters {
        let expected: Vec<Value> =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let mut expected: Vec<String> = expected.into_iter().filter_map(normal).collect();
        let read = read(&std::fs::read(&path).unwrap()).unwrap();
        let mut ours: Vec<String> = read
            .checks
            .iter()
            .map(|check| serde_json::to_value(CheckLine { id: check.id, spec: check.spec.clone() }).unwrap())
            .map(|check| normal(check).unwrap())
            .collect();
        expected.sort();
        ours.sort();
        assert_eq!(ours, expected, "{}", path.display());
    }
}

#[test]
fn what_the_engine_refuses_is_refused() {
    let clusters = clusters(&directory().join("refused"));
    assert!(clusters.len() > 20);
    let mut wrong = Vec::new();
    for path in clusters {
        // Metadata as all files have it, so that each is refused for the reason of its name.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"metadata: < last_updated: 1 >\n");
        let errors = read(&bytes).expect_err(path.to_str().unwrap());
        let name = path.file_stem().unwrap().to_str().unwrap();
        let first = errors.diagnostics()[0].to_string();
        if !first.contains(reason(name)) {
            wrong.push(first);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where each is wrong, and some of the words that say so.
fn reason(name: &str) -> &'static str {
    match name {
        "bad-byte" => "cluster.pb:3:1: unexpected byte 0x40",
        "bad-escape" => "cluster.pb:3:15: unknown escape",
        "bad-number" => "cluster.pb:3:16: Cluster.bgp_local_asn: expected a positive integer",
        "bad-subnet" => "cluster.pb:3:23: dedicated_vip_subnet: is not an address with a prefix length",
        "bare-word" => "cluster.pb:3:7: Cluster.vmac: expected a string, found \"x\"",
        "empty" => "cluster.pb:1:1: Cluster.seesaw_vip: is missing",
        "empty-list" => "cluster.pb:3:24: Cluster.dedicated_vip_subnet: expected a string, found `]`",
        "extension" => "cluster.pb:3:1: Cluster: expected a field, found `[`",
        "large-number" => "cluster.pb:3:97: VserverEntry.port: expected an integer of 32 bits",
        "list-of-one-value" => "cluster.pb:3:7: Cluster.vmac: expected a string, found `[`",
        "missing-required" => "cluster.pb:3:75: Cluster.vserver.vserver_entry.port: is missing",
        "no-colon" => "cluster.pb:3:6: Cluster.vmac: expected `:`, found a string",
        "octal-escape" => "cluster.pb:3:15: \\777 is above \\377",
        "repeated-field" => "cluster.pb:3:21: Host.fqdn: is there already",
        "two-groups" => "cluster.pb:3:53: access_groups.name: another one has this name",
        "two-nodes" => "cluster.pb:3:15: node.fqdn: another one has this name",
        "two-peers" => "cluster.pb:3:44: bgp_peer.fqdn: another one has this name",
        "two-vlans" => "cluster.pb:3:60: vlan.vlan_id: another VLAN has this id",
        "unclosed" => "Host: there is no field \"metadata\" here",
        "unknown-enum" => "did you mean `PRODUCTION`?",
        "unknown-field" => "cluster.pb:3:12: Vserver: there is no field \"nam\" here; did you mean `name`?",
        "unmatched-quote" => "cluster.pb:3:15: the string has no end on its line",
        "wrong-bracket" => "cluster.pb:3:21: Host: expected a field or `>`, found `}`",
        other => panic!("{other} needs a reason"),
    }
}

/// Wherever a file is cut off, it is refused, or nothing that makes checks is missing.
#[test]
fn a_file_that_was_cut_off_is_never_half_a_set() {
    for name in ["shared.pb", "odd.pb"] {
        let path = directory().join(name);
        let bytes = std::fs::read(&path).unwrap();
        let whole = read(&bytes).unwrap();
        let mut refused = 0;
        for end in 0..bytes.len() {
            match read(&bytes[..end]) {
                Ok(part) => assert_eq!(part.checks, whole.checks, "{} at {end}", path.display()),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > bytes.len() * 9 / 10);
    }
}

fn shared() -> Checks {
    read(&std::fs::read(directory().join("shared.pb")).unwrap()).unwrap()
}

#[test]
fn checks_have_the_names_of_destinations_and_say_who_uses_them() {
    let read = shared();
    let names: BTreeSet<&str> = read.checks.iter().map(|check| &*check.name).collect();
    assert_eq!(names.len(), read.checks.len());
    for name in ["one/10.0.0.1:80/TCP/TCP/80_0", "two/10.0.0.1:80/TCP/HTTP/8080_0", "fwm/10.0.0.6/TCP/1002_0"]
    {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    let check = read.checks.iter().find(|check| &*check.name == "one/10.0.0.1:80/TCP/TCP/80_0").unwrap();
    let labels: Vec<(&str, &str)> = check.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(labels, [("backend", "b1."), ("service", "80/TCP"), ("vserver", "one,two")]);
}

#[test]
fn what_the_engine_leaves_out_is_a_warning_with_its_place() {
    let warnings: Vec<String> = shared().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "cluster.pb:16:40: backend.host.ipv4: \"not an address\" is not an address with a prefix length; the engine goes without it",
            "cluster.pb:17:28: backend.host.fqdn: another backend has this name; the first one counts",
            "cluster.pb:42:18: healthcheck: is the second HTTP/443_0 here; the engine drops it",
            "cluster.pb:44:18: healthcheck: is the second TCP/443_0 here; the engine drops it",
            "cluster.pb:47:18: vserver.vserver_entry: another entry has this port and protocol; the first one counts",
            "cluster.pb:69:16: healthcheck: no-port/10.0.0.8/TCP/0_0 does not run: port: must be 1 to 65535",
            "cluster.pb:74:9: vserver.name: another vserver has this name; the first one counts",
        ],
    );
}

/// Every backend and mode has a mark of its own, also where the addresses ask for the same one.
#[test]
fn marks_differ_and_stay_the_same_when_others_leave() {
    let marks = |bytes: &[u8]| -> BTreeMap<String, u32> {
        let read = read(bytes).unwrap();
        let marked = read.checks.iter().filter_map(|check| {
            let target = check.spec.target();
            Some((format!("{} {}", target.host()?, target.mode()), target.mark()?.get()))
        });
        marked.collect()
    };
    let bytes = std::fs::read(directory().join("marked.pb")).unwrap();
    let all = marks(&bytes);
    assert_eq!(all.len(), 8, "four addresses in two modes: {all:?}");
    let different: BTreeSet<u32> = all.values().copied().collect();
    assert_eq!(different.len(), all.len());
    assert!(different.iter().all(|mark| (65_536..81_536).contains(mark)));
    let text = String::from_utf8(bytes).unwrap();
    let without: String =
        text.lines().filter(|line| !line.contains("10.0.0.2")).map(|line| format!("{line}\n")).collect();
    let fewer = marks(without.as_bytes());
    assert_eq!(fewer.len(), 4);
    assert!(fewer.iter().all(|(user, mark)| all[user] == *mark));
}

#[test]
fn metadata_stands_behind_the_vservers() {
    let head = "seesaw_vip: < fqdn: \"v\" status: PRODUCTION >\n";
    let vserver = "vserver: < name: \"a\" rp: \"x\" entry_address: < fqdn: \"a\" > >\n";
    let metadata = "metadata: < last_updated: 1 >\n";
    assert!(read([head, vserver, metadata].concat().as_bytes()).is_ok());
    assert!(read([head, metadata].concat().as_bytes()).is_ok());
    let missing = read([head, vserver].concat().as_bytes()).unwrap_err().to_string();
    assert!(
        missing.starts_with("cluster.pb:1:1: metadata: is missing, so the file may have been cut off"),
        "{missing}"
    );
    let before = read([head, metadata, vserver].concat().as_bytes()).unwrap_err().to_string();
    assert!(before.starts_with("cluster.pb:2:11: metadata: must stand behind all vservers"), "{before}");
}
