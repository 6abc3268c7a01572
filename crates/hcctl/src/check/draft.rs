//! A check as a URL and flags, written as a file of checks.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use percent_encoding::percent_decode_str;

use crate::cli::CheckArgs;

/// The schemes: the kind of probe that each stands for, whether it speaks TLS, and the usual port
/// of a `Host` field.
const SCHEMES: [(&str, &str, bool, Option<u16>); 19] = [
    ("tcp", "tcp", false, None),
    ("tls", "tcp", true, None),
    ("http", "http", false, Some(80)),
    ("https", "http", true, Some(443)),
    ("grpc", "grpc", false, None),
    ("grpcs", "grpc", true, None),
    ("udp", "udp", false, None),
    ("dns", "dns", false, None),
    ("radius", "radius", false, None),
    ("icmp", "icmp", false, None),
    ("redis", "redis", false, None),
    ("rediss", "redis", true, None),
    ("smtp", "smtp", false, None),
    ("smtps", "smtp", true, None),
    ("postgresql", "postgresql", false, None),
    ("mysql", "mysql", false, None),
    ("ldap", "ldap", false, None),
    ("ldaps", "ldap", true, None),
    ("agent", "agent", false, None),
];

/// A check that is not yet one.
#[derive(Debug)]
pub(super) struct Draft {
    kind: &'static str,
    host: String,
    port: Option<u16>,
    /// Keys below `[[check]]` with their values, as TOML.
    keys: Vec<(String, String)>,
}

impl Draft {
    /// What the command line says.
    ///
    /// # Errors
    /// In words, for a URL that is none, and for a flag that does not belong to its kind of probe.
    pub(super) fn new(args: &CheckArgs) -> Result<Self> {
        let (scheme, rest) = args.what.split_once("://").with_context(|| {
            format!("{:?} is no URL, such as tcp://192.0.2.1:80; a name of a check needs --file", args.what)
        })?;
        let Some((_, kind, tls, usual)) = SCHEMES.into_iter().find(|(known, ..)| *known == scheme) else {
            let known: Vec<&str> = SCHEMES.iter().map(|(known, ..)| *known).collect();
            bail!("{scheme:?} is no kind of probe; there are {}", known.join(", "));
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = split(authority)?;
        let mut draft = Self { kind, host, port, keys: Vec::new() };
        if tls {
            draft.key(format!("{kind}.tls.verify"), (!args.insecure).to_string());
        } else {
            let tls = SCHEMES.iter().filter(|(_, _, tls, _)| *tls).map(|(scheme, ..)| *scheme);
            ensure!(!args.insecure, "--insecure is for {}", tls.collect::<Vec<_>>().join(", "));
        }
        match kind {
            "http" => draft.http(args, path, usual),
            "grpc" => draft.grpc(path)?,
            "dns" => draft.dns(path)?,
            "radius" => draft.query("radius", path, &[("username", "username")])?,
            _ => ensure!(path.is_empty() || path == "/", "{scheme} has no path: {path:?}"),
        }
        draft.exchange(args)?;
        if let Some(mark) = args.mark {
            draft.key("mark", mark.to_string());
        }
        for set in &args.set {
            let (key, value) =
                set.split_once('=').with_context(|| format!("--set {set:?} is not KEY=VALUE"))?;
            draft.key(key.trim(), value);
        }
        Ok(draft)
    }

    /// The address or the name.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A file with this check.
    pub(super) fn file(&self, timeout: Duration) -> String {
        let host = self.host();
        let target = match (self.port, host.parse()) {
            (None, _) => host.to_owned(),
            (Some(port), Ok(ip)) => SocketAddr::new(ip, port).to_string(),
            (Some(port), Err(_)) => format!("{host}:{port}"),
        };
        let target = text(&target);
        let mut file = format!(
            "[[check]]\nname = \"check\"\ntarget = {target}\ninterval = \"1day\"\ntimeout = \"{}\"\n",
            humantime::format_duration(timeout)
        );
        let prefix = format!("{}.", self.kind);
        if !self.keys.iter().any(|(key, _)| key.starts_with(&prefix)) {
            let _ = writeln!(file, "{} = {{}}", self.kind);
        }
        for (key, value) in &self.keys {
            // Writing to a String cannot fail.
            let _ = writeln!(file, "{key} = {value}");
        }
        file
    }

    fn key(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.keys.push((key.into(), value.into()));
    }

    fn http(&mut self, args: &CheckArgs, path: &str, usual: Option<u16>) {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        self.key("http.path", text(&path));
        let named = match self.port.filter(|port| Some(*port) != usual) {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        };
        let named = (self.host.parse::<IpAddr>().is_err()).then_some(named);
        if let Some(host) = args.host.clone().or(named) {
            self.key("http.host", text(&host));
        }
        if !args.code.is_empty() {
            let codes: Vec<String> = args.code.iter().map(|code| number_or_text(code)).collect();
            self.key("http.expected_codes", format!("[{}]", codes.join(", ")));
        }
        if let Some(body) = &args.body {
            self.key("http.expected_body", text(body));
        }
    }

    /// `/SERVICE`, or nothing for the server as a whole.
    fn grpc(&mut self, path: &str) -> Result<()> {
        let service = decoded(path.trim_start_matches('/'))?;
        if !service.is_empty() {
            self.key("grpc.service", text(&service));
        }
        Ok(())
    }

    /// `/NAME?type=TYPE&class=CLASS`
    fn dns(&mut self, path: &str) -> Result<()> {
        let (name, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let name = name.trim_start_matches('/');
        ensure!(!name.is_empty(), "the name that is asked for is missing: dns://SERVER/NAME");
        self.key("dns.query", text(&decoded(name)?));
        self.query("dns", query, &[("type", "query_type"), ("class", "query_class")])
    }

    /// The query of a URL, of which these keys are known.
    fn query(&mut self, kind: &str, path: &str, known: &[(&str, &str)]) -> Result<()> {
        let query = path.trim_start_matches('/');
        let Some(query) = query.strip_prefix('?') else {
            ensure!(query.is_empty(), "{kind} has no path: {path:?}");
            return Ok(());
        };
        for pair in query.split('&') {
            let (word, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some((_, key)) = known.iter().find(|(known, _)| *known == word) else {
                let known: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
                bail!(
                    "{word:?} is not known in the query of a {kind} URL; there are {}",
                    known.join(" and ")
                );
            };
            self.key(format!("{kind}.{key}"), text(&decoded(value)?));
        }
        Ok(())
    }

    fn exchange(&mut self, args: &CheckArgs) -> Result<()> {
        for (flag, value, kinds) in [
            ("send", &args.send, &["tcp", "udp", "agent"][..]),
            ("receive", &args.receive, &["tcp", "udp"]),
            ("host", &args.host, &["http"]),
            ("body", &args.body, &["http"]),
            ("code", &args.code.first().cloned(), &["http"]),
        ] {
            let Some(value) = value else { continue };
            ensure!(kinds.contains(&self.kind), "--{flag} is for {}", kinds.join(" and "));
            if self.kind != "http" {
                self.key(format!("{}.{flag}", self.kind), text(value));
            }
        }
        Ok(())
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6 address.
fn split(authority: &str) -> Result<(String, Option<u16>)> {
    ensure!(!authority.is_empty(), "the host is missing");
    ensure!(!authority.contains('@'), "no user and no password in a URL: others can read a command line");
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) =
                rest.split_once(']').with_context(|| format!("`]` is missing in {authority:?}"))?;
            (ip, port.strip_prefix(':'))
        }
        None if authority.parse::<IpAddr>().is_ok() => (authority, None),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().with_context(|| format!("{port:?} is no port"))).transpose()?;
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.with_context(|| format!("{text:?} is not UTF-8"))?.into_owned())
}

/// A string of TOML.
fn text(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn number_or_text(code: &str) -> String {
    if code.parse::<u16>().is_ok() { code.to_owned() } else { text(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(what: &str, args: CheckArgs, expected: &[&str]) {
        let draft = Draft::new(&CheckArgs { what: what.to_owned(), ..args }).unwrap();
        let file = draft.file(Duration::from_secs(1));
        let lines: Vec<&str> = file.lines().skip(2).filter(|line| !line.starts_with("interval")).collect();
        assert_eq!(lines, expected, "{what}");
    }

    #[test]
    fn urls_are_files_of_checks_in_short() {
        let none = CheckArgs::default;
        let text = |text: &str| Some(text.to_owned());
        let (target, timeout) = ("target = \"h:25\"", "timeout = \"1s\"");
        check("tcp://h:25", none(), &[target, timeout, "tcp = {}"]);
        check("tls://h:25", none(), &[target, timeout, "tcp.tls.verify = true"]);
        let args = CheckArgs { send: text("a\"\r\n"), receive: text("b"), ..none() };
        check(
            "tcp://h:25/",
            args,
            &[target, timeout, "tcp.send = \"a\\\"\\u000d\\u000a\"", "tcp.receive = \"b\""],
        );
        let bare = "target = \"h\"";
        check("icmp://::1", none(), &["target = \"::1\"", timeout, "icmp = {}"]);
        check("grpc://h:25", none(), &[target, timeout, "grpc = {}"]);
        check(
            "grpcs://h:25/a.B%20c",
            none(),
            &[target, timeout, "grpc.tls.verify = true", "grpc.service = \"a.B c\""],
        );
        let args = CheckArgs { insecure: true, ..none() };
        check("rediss://h", args, &[bare, timeout, "redis.tls.verify = false"]);
        for kind in ["redis", "smtp", "postgresql", "mysql", "ldap", "agent"] {
            check(&format!("{kind}://h"), none(), &[bare, timeout, &format!("{kind} = {{}}")]);
        }
        let args = CheckArgs { send: text("web\n"), ..none() };
        check("agent://h:25", args, &[target, timeout, "agent.send = \"web\\u000a\""]);
        check(
            "http://www.example.com/a?b=c",
            CheckArgs { code: vec!["200".into(), "2xx".into()], ..none() },
            &[
                "target = \"www.example.com\"",
                timeout,
                "http.path = \"/a?b=c\"",
                "http.host = \"www.example.com\"",
                "http.expected_codes = [200, \"2xx\"]",
            ],
        );
        check(
            "https://[::1]:25?x",
            CheckArgs { insecure: true, mark: 7.try_into().ok(), host: text("h"), ..none() },
            &[
                "target = \"[::1]:25\"",
                timeout,
                "http.tls.verify = false",
                "http.path = \"/?x\"",
                "http.host = \"h\"",
                "mark = 7",
            ],
        );
        check(
            "dns://h/www.example.com?type=AAAA",
            CheckArgs { set: vec!["retries = 1".into()], ..none() },
            &[bare, timeout, "dns.query = \"www.example.com\"", "dns.query_type = \"AAAA\"", "retries =  1"],
        );
        check("radius://h?username=a%20b", none(), &[bare, timeout, "radius.username = \"a b\""]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let words = |what: &str, args| {
            Draft::new(&CheckArgs { what: what.to_owned(), ..args }).unwrap_err().to_string()
        };
        for (what, expected) in [
            ("web", "a name of a check needs --file"),
            ("ftp://h", "\"ftp\" is no kind of probe; there are tcp, tls,"),
            ("tcp://", "the host is missing"),
            ("tcp://h:x", "\"x\" is no port"),
            ("tcp://h:1/path", "tcp has no path"),
            ("http://u:p@h/", "no user and no password in a URL"),
            ("dns://h", "the name that is asked for is missing"),
            ("dns://h/a?kind=A", "there are type and class"),
            ("radius://h?secret=x", "there are username"),
            ("tcp://[::1", "`]` is missing"),
        ] {
            let words = words(what, CheckArgs::default());
            assert!(words.contains(expected), "{what}: {words}");
        }
        let send = CheckArgs { send: Some(String::new()), ..CheckArgs::default() };
        assert_eq!(words("icmp://h", send), "--send is for tcp and udp and agent");
        let insecure = CheckArgs { insecure: true, ..CheckArgs::default() };
        assert_eq!(words("http://h", insecure), "--insecure is for tls, https, grpcs, rediss, smtps, ldaps");
        let set = CheckArgs { set: vec!["x".into()], ..CheckArgs::default() };
        assert_eq!(words("tcp://h:1", set), "--set \"x\" is not KEY=VALUE");
    }
}
