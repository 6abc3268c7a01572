//! What the tools are told of TLS.

use std::net::IpAddr;

use hc_types::{Tls, TlsOptions, TlsVersion};

use super::hcctl::{set, toml};
use super::shell::Line;

/// Ciphers, key sizes and signatures of any age.
const ANY_CIPHER: &str = "ALL:@SECLEVEL=0";

fn is_lax(tls: &Tls) -> bool {
    tls.old_versions || tls.rsa_key_exchange || tls.sha1
}

/// What a tool looks at in no way, and what its files are.
fn note(options: &TlsOptions, tool: &str, notes: &mut Vec<String>) {
    if options.roots.is_some() {
        notes.push("put the name of the check's `ca_file` into the variable CA_FILE first".to_owned());
    }
    if options.identity.is_some() {
        notes.push(
            "put the names of the check's `cert_file` and `key_file` into the variables CERT_FILE and KEY_FILE first".to_owned(),
        );
    }
    if options.min_days_left.is_some() {
        notes.push(format!("{tool} does not look at the days that the certificate has left"));
    }
}

pub(super) fn of_openssl(line: &mut Line, ip: IpAddr, tls: &Tls, notes: &mut Vec<String>) {
    let default = TlsOptions::default();
    let options = tls.options.as_deref().unwrap_or(&default);
    match options.sni.as_deref() {
        Some(sni) => line.word("-servername").word(sni),
        None => line.word("-noservername"),
    };
    if tls.verify {
        line.word("-verify_return_error");
        match options.verify_name.as_deref() {
            Some(name) if name.parse::<IpAddr>().is_err() => line.word("-verify_hostname").word(name),
            name => line.word("-verify_ip").word(name.map_or_else(|| ip.to_string(), str::to_owned)),
        };
    }
    if options.roots.is_some() {
        line.raw("-CAfile \"$CA_FILE\"");
    }
    if options.identity.is_some() {
        line.raw("-cert \"$CERT_FILE\" -key \"$KEY_FILE\"");
    }
    if !options.alpn.is_empty() {
        let names = options.alpn.iter().map(|name| String::from_utf8_lossy(name.as_slice()).into_owned());
        line.word("-alpn").word(names.collect::<Vec<_>>().join(","));
    }
    if let Some(version) = options.min_version {
        // `TLSv1` is 1.0 there.
        let version = if version == TlsVersion::V1_0 { "1".to_owned() } else { version.to_string() };
        line.word("-min_protocol").word(format!("TLSv{version}"));
    }
    if is_lax(tls) {
        line.word("-cipher").word(ANY_CIPHER);
    }
    if !options.pins.is_empty() {
        notes.push("openssl does not compare the key with the check's `pins`".to_owned());
    }
    note(options, "openssl", notes);
}

pub(super) fn of_curl(line: &mut Line, tls: &Tls, is_http2: bool, notes: &mut Vec<String>) {
    let default = TlsOptions::default();
    let options = tls.options.as_deref().unwrap_or(&default);
    if is_http2 {
        // It is agreed by ALPN.
    } else if options.alpn.is_empty() {
        line.word("--no-alpn");
    } else {
        notes.push("curl offers http/1.1 by ALPN, whatever the check offers".to_owned());
    }
    if !tls.verify {
        line.word("--insecure");
    }
    if options.roots.is_some() {
        line.raw("--cacert \"$CA_FILE\"");
    }
    if options.identity.is_some() {
        line.raw("--cert \"$CERT_FILE\" --key \"$KEY_FILE\"");
    }
    match options.min_version {
        Some(version) => drop(line.word(format!("--tlsv{version}"))),
        None if tls.old_versions => drop(line.word("--tlsv1.0")),
        None => {}
    }
    if is_lax(tls) {
        line.word("--ciphers").word(ANY_CIPHER);
    }
    if let Some(name) = options.verify_name.as_deref().filter(|_| tls.verify) {
        notes
            .push(format!("curl looks for the name of the URL in the certificate, and the check for {name}"));
    }
    if !options.pins.is_empty() {
        notes.push("curl does not compare the key with the check's `pins` here".to_owned());
    }
    note(options, "curl", notes);
}

pub(super) fn of_hcctl(line: &mut Line, kind: &str, tls: &Tls, notes: &mut Vec<String>) {
    if !tls.verify {
        line.word("--insecure");
    }
    let mut set = |key: &str, value: &str| set(line, &format!("{kind}.tls.{key}"), value);
    for (key, is_set) in
        [("old_versions", tls.old_versions), ("rsa_key_exchange", tls.rsa_key_exchange), ("sha1", tls.sha1)]
    {
        if is_set {
            set(key, "true");
        }
    }
    let Some(options) = tls.options.as_deref() else { return };
    for (key, name) in [("sni", &options.sni), ("verify_name", &options.verify_name)] {
        if let Some(name) = name {
            set(key, &toml(name.as_bytes()));
        }
    }
    let list = |words: Vec<String>| format!("[{}]", words.join(", "));
    if !options.pins.is_empty() {
        set("pins", &list(options.pins.iter().map(|pin| format!("\"{pin:?}\"")).collect()));
    }
    if !options.alpn.is_empty() {
        set("alpn", &list(options.alpn.iter().map(|name| toml(name.as_slice())).collect()));
    }
    if let Some(version) = options.min_version {
        set("min_version", &toml(version.to_string().as_bytes()));
    }
    for (key, days) in [("min_days_left", options.min_days_left), ("warn_days_left", options.warn_days_left)]
    {
        if let Some(days) = days {
            set(key, &days.to_string());
        }
    }
    let mut files = Vec::new();
    if options.roots.is_some() {
        files.push("ca_file");
    }
    if options.identity.is_some() {
        files.extend(["cert_file", "key_file"]);
    }
    for key in files {
        set(key, &toml(key.as_bytes()));
        notes.push(format!("copy the check's `{key}` to the file `{key}` first"));
    }
}
