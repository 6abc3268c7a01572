//! The examples of docs/sinks.md do what the page says.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use rig::{HaProxy, Receiver, Rig, backend, wait_until, web};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/sinks.md");

/// The blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    PAGE.split(begin.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Every kind is on the page, and every key of each in a table.
#[test]
fn every_kind_and_key_is_on_the_page() {
    let source = include_str!("../src/config/sink.rs");
    let keys = source.split("pub struct SinkConfig {").nth(1).unwrap().split("\n}").next().unwrap();
    let keys = keys.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    for key in keys {
        assert!(PAGE.contains(&format!("| `{key}` |")), "`{key}` is in no table of docs/sinks.md");
    }
    for kind in ["log", "state-file", "webhook", "command", "haproxy", "haproxy-agent"] {
        assert!(blocks("toml").iter().any(|block| block.contains(&format!("kind = \"{kind}\""))), "{kind}");
    }
}

#[test]
fn the_examples_work_together() {
    let receiver = Receiver::start(&[]);
    let hook = receiver.address;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (one, two) = (backend(), backend());
    let addresses = [one.address().to_string(), two.address().to_string()];
    // The page's places, with ours for them.
    let local = |text: &str, dir: &str| {
        text.replace("/var/log/seesaw-hc/", &format!("{dir}/"))
            .replace("/var/lib/seesaw-hc/", &format!("{dir}/"))
            .replace("/etc/seesaw/", &format!("{dir}/"))
            .replace("/usr/local/bin/", &format!("{dir}/"))
            .replace("/run/haproxy/admin.sock", &format!("{dir}/api"))
            .replace("http://alerts.example.com", &format!("http://{hook}"))
            .replace("9765", &port)
    };
    let rig = Rig::start(|path| {
        let dir = path.display().to_string();
        fs::write(path.join("alerts.secret"), "hunter2\n").unwrap();
        // The script, which writes into a file what it would log.
        let script = blocks("sh").into_iter().find(|block| block.starts_with("#!")).unwrap();
        let script = script.replace("logger -t health", "printf '%s\\n'").trim_end().to_owned();
        fs::write(path.join("on-change"), format!("{script} >> {dir}/logged\n")).unwrap();
        fs::set_permissions(path.join("on-change"), fs::Permissions::from_mode(0o755)).unwrap();
        let check = |name: &str, address: &str| {
            format!(
                "[[check]]\nname = \"{name}\"\ngroup = \"frontend\"\ntarget = \"{address}\"\ntcp = {{}}\n"
            )
        };
        let checks =
            "[defaults]\ninterval = \"100ms\"\ntimeout = \"1s\"\nretries = 0\nlabels = { site = \"ams\" }\n\
                      [group.frontend]\n"
                .to_owned()
                + &check("web-1", &addresses[0])
                + &check("web-2", &addresses[1]);
        fs::write(path.join("checks.toml"), checks).unwrap();
        let source = format!("[source]\nkind = \"file\"\nfiles = [\"{dir}/checks.toml\"]\n");
        source + &local(&blocks("toml").join("\n"), &dir)
    });

    // HAProxy by the page's lines, once with those of the agent checks and once with those of the
    // runtime API.
    let haproxy = |text: &'static str, dir: &std::path::Path| {
        let lines = text.split("backend web\n").nth(1).unwrap();
        let webs = [web("s1").address.to_string(), web("s2").address.to_string()];
        let mut servers = String::new();
        for ((line, served), (checked, of_page)) in
            lines.lines().zip(&webs).zip(addresses.iter().zip(["10.0.0.1:80", "10.0.0.2:80"]))
        {
            // The last word that is the address is where traffic goes; the others name the check.
            let words: Vec<String> = line
                .split(' ')
                .enumerate()
                .map(|(place, word)| match (place, word == of_page) {
                    (4, true) => served.clone(),
                    _ => word.replace(of_page, checked),
                })
                .collect();
            servers.push_str(&local(&words.join(" "), ""));
            servers.push('\n');
        }
        fs::create_dir_all(dir).unwrap();
        HaProxy::start_named(dir, "web", &servers)
    };
    let [agent, runtime] = blocks("haproxy")[..] else { panic!("two blocks of HAProxy are expected") };
    let by_agent = haproxy(agent, &rig.path("agent"));
    let by_runtime = haproxy(runtime, rig.dir.path());
    by_agent.wait_serves(&["s1", "s2"]);
    by_runtime.wait_serves(&["s1", "s2"]);
    wait_until("both are healthy", || receiver.states().len() == 2);
    drop(one);
    by_agent.wait_serves(&["s2"]);
    by_runtime.wait_serves(&["s2"]);

    let read = |name: &str| fs::read_to_string(rig.path(name)).unwrap_or_default();
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    for log in ["changes.log", "events.log"] {
        wait_until(log, || read(log).lines().count() == 3);
        let example = blocks("json").into_iter().find(|block| block.starts_with("{\"time\"")).unwrap();
        let (example, last) = (json(example), json(read(log).lines().last().unwrap()));
        for (key, value) in example.as_object().unwrap() {
            assert_eq!(value.is_string(), last[key].is_string(), "{key}: {last}");
        }
        assert_eq!((&last["name"], &last["reason"]), (&"web-1".into(), &example["reason"]));
    }
    wait_until("the state file", || read("health.json").contains("\"unhealthy\""));
    wait_until("the webhook", || receiver.taken().iter().any(|(_, health)| health == "unhealthy"));
    let post = receiver.posts().pop().unwrap();
    let example = json(blocks("json").into_iter().find(|block| block.starts_with("{\"version\"")).unwrap());
    let body: Value = serde_json::from_slice(&post.body).unwrap();
    for key in example.as_object().unwrap().keys() {
        assert!(body.get(key).is_some(), "{key}: {body}");
    }
    for key in example["events"][0].as_object().unwrap().keys() {
        assert!(body["events"][0].get(key).is_some(), "{key}: {body}");
    }

    // The receiver's line of the page says what the header says.
    let signature = post.header("HC-Signature").unwrap();
    let (seconds, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let verify = blocks("console,not-run").into_iter().find(|block| block.contains("openssl")).unwrap();
    let verify = verify.strip_prefix("$ ").unwrap();
    let verified = std::process::Command::new("sh")
        .args(["-c", verify])
        .env("seconds", seconds)
        .env("body", String::from_utf8(post.body.clone()).unwrap())
        .env("secret", "hunter2")
        .output()
        .unwrap();
    let verified = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.trim_end().ends_with(hex), "{verified} {signature}");

    let target = &addresses[0];
    wait_until("the script", || read("logged").contains(&format!("{target} is unhealthy (refused)\n")));
    drop(two);
}
