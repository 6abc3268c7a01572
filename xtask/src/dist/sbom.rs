//! What is linked into the programs, of both languages, as CycloneDX 1.5.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::programs::ships;
use crate::command;
use crate::go::go;
use crate::workspace::{Package, Workspace};

/// The bill of materials of everything that ships.
pub(super) fn cyclone_dx(workspace: &Workspace, epoch: u64) -> Result<Value> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = command::output(
        workspace
            .cargo()
            .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform"])
            .arg(&triple),
    )?;
    let metadata = serde_json::from_str(&metadata).context("cannot read cargo's metadata")?;
    let lock =
        std::fs::read_to_string(workspace.root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let roots: BTreeSet<&str> =
        workspace.packages().filter(ships).map(|package: Package<'_>| package.name()).collect();
    let mut parts = rust(&metadata, &checksums(&lock), &roots)?;
    parts.extend(go_parts(workspace)?);
    let time = command::output(
        Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(format!("@{epoch}")),
    )?;
    let component = |part: &Part| {
        let mut component = json!({
            "type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version, "purl": part.purl,
        });
        if let Some(licence) = &part.licence {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        if let Some(sum) = &part.sha256 {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        component
    };
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.trim(),
            "component": {
                "type": "application", "bom-ref": "hc", "name": "hc", "version": super::version(),
                "licenses": [{ "expression": "Apache-2.0" }],
            },
        },
        "components": parts.values().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies(&parts),
    }))
}

/// One library, or one of our crates.
#[derive(Debug, Default)]
struct Part {
    name: String,
    version: String,
    purl: String,
    licence: Option<String>,
    sha256: Option<String>,
    needs: Vec<String>,
    /// Whether it is one of those that the programs begin with.
    is_root: bool,
}

fn dependencies(parts: &BTreeMap<String, Part>) -> Value {
    let roots: Vec<&String> = parts.values().filter(|part| part.is_root).map(|part| &part.purl).collect();
    let mut all = vec![json!({ "ref": "hc", "dependsOn": roots })];
    all.extend(parts.values().map(|part| json!({ "ref": part.purl, "dependsOn": part.needs })));
    all.into()
}

/// The crates that `roots` need to be built and to run, on this platform, without those of tests.
fn rust(
    metadata: &Value,
    checksums: &BTreeMap<(String, String), String>,
    roots: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Part>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let purl =
        |package: &Value| format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]));
    let is_root =
        |package: &Value| package["source"].is_null() && roots.contains(text(&package["name"]).as_str());
    let mut waiting: Vec<String> =
        packages.iter().filter(|(_, package)| is_root(package)).map(|(id, _)| id.clone()).collect();
    let mut parts = BTreeMap::new();
    while let Some(id) = waiting.pop() {
        let package = packages.get(&id).with_context(|| format!("cargo's metadata lacks {id}"))?;
        let node = nodes.get(&id).with_context(|| format!("cargo resolved nothing for {id}"))?;
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let linked = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let deps = list(&node["deps"]);
        let needs: Vec<String> = deps.iter().filter(linked).map(|dep| text(&dep["pkg"])).collect();
        let sha256 = checksums.get(&(name.clone(), version.clone())).cloned();
        let mut needed: Vec<String> = needs.iter().filter_map(|id| packages.get(id)).map(purl).collect();
        needed.sort();
        let part = Part {
            purl: purl(package),
            licence: package["license"].as_str().map(|licence| licence.replace('/', " OR ")),
            is_root: is_root(package),
            needs: needed,
            name,
            version,
            sha256,
        };
        if parts.insert(part.purl.clone(), part).is_none() {
            waiting.extend(needs);
        }
    }
    Ok(parts)
}

/// The checksums of the crates in `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?))
        })
        .collect()
}

/// The modules that are linked into hc-proxy, and Go's own library.
fn go_parts(workspace: &Workspace) -> Result<BTreeMap<String, Part>> {
    let listed = command::output(go(&workspace.proxy()).args([
        "list",
        "-deps",
        "-f",
        "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Sum}}\t{{.Dir}}{{end}}{{end}}",
        "./cmd/hc-proxy",
    ]))?;
    let library = command::output(go(&workspace.proxy()).args(["env", "GOVERSION", "GOROOT"]))?;
    let (version, root) = library.trim().split_once('\n').context("go says nothing of itself")?;
    // A checksum of it stands nowhere: it is part of the toolchain.
    let library = format!("std\t{}\t\t{root}", version.trim_start_matches("go"));
    let modules = listed.lines().filter(|line| !line.is_empty()).chain([library.as_str()]);
    let parts = modules.map(|line| {
        let [name, version, sum, directory] = line.split('\t').collect::<Vec<_>>()[..] else {
            bail!("go list said {line:?}")
        };
        let text = std::fs::read_to_string(Path::new(directory).join("LICENSE"));
        let text = text.with_context(|| format!("the licence of {name}"))?;
        let licence = licence(&text).with_context(|| format!("{name} has a licence that is not known"))?;
        go_module(name, version, sum, licence)
    });
    parts.map(|part| part.map(|part| (part.purl.clone(), part))).collect()
}

/// `sum` is as `go.sum` has it: `h1:` and a SHA-256 in base64, over the names and checksums of all
/// files of the module. It may be empty.
fn go_module(name: &str, version: &str, sum: &str, licence: &str) -> Result<Part> {
    let sha256 = match sum.strip_prefix("h1:") {
        Some(text) => {
            let bytes = BASE64.decode(text).with_context(|| format!("the checksum of {name}: {sum}"))?;
            Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
        None => None,
    };
    Ok(Part {
        purl: format!("pkg:golang/{name}@{version}"),
        name: name.to_owned(),
        version: version.to_owned(),
        licence: Some(licence.to_owned()),
        sha256,
        is_root: true,
        ..Part::default()
    })
}

/// The SPDX name of a licence, by what stands in it. Go says it nowhere else.
fn licence(text: &str) -> Option<&'static str> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let has = |words: &str| text.contains(words);
    if has("Apache License Version 2.0") {
        Some("Apache-2.0")
    } else if has("Permission is hereby granted, free of charge") {
        Some("MIT")
    } else if has("Redistribution and use in source and binary forms") {
        Some(if has("Neither the name of") { "BSD-3-Clause" } else { "BSD-2-Clause" })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_what_is_linked_and_not_what_tests_use() {
        let kind = |kind: Value| json!([{ "kind": kind }]);
        let package = |name: &str, source: Value| json!({ "id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT/Apache-2.0" });
        let metadata = json!({
            "packages": [package("ours", Value::Null), package("used", "r".into()), package("builds", "r".into()), package("tests", "r".into())],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [
                    { "pkg": "used", "dep_kinds": kind(Value::Null) },
                    { "pkg": "tests", "dep_kinds": kind("dev".into()) },
                ] },
                { "id": "used", "deps": [{ "pkg": "builds", "dep_kinds": kind("build".into()) }] },
                { "id": "builds", "deps": [] },
                { "id": "tests", "deps": [] },
            ] },
        });
        let lock = "[[package]]\nname = \"used\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let parts = rust(&metadata, &checksums(lock), &BTreeSet::from(["ours"])).unwrap();
        let names: Vec<&str> = parts.keys().map(String::as_str).collect();
        assert_eq!(names, ["pkg:cargo/builds@1.0.0", "pkg:cargo/ours@1.0.0", "pkg:cargo/used@1.0.0"]);
        let used = &parts["pkg:cargo/used@1.0.0"];
        assert_eq!(
            (used.sha256.as_deref(), used.licence.as_deref()),
            (Some("abc"), Some("MIT OR Apache-2.0"))
        );
        assert_eq!(dependencies(&parts)[0], json!({ "ref": "hc", "dependsOn": ["pkg:cargo/ours@1.0.0"] }));
    }

    #[test]
    fn has_the_modules_of_go() {
        let parts = go_parts(&Workspace::load().unwrap()).unwrap();
        let glog = parts.values().find(|part| part.name == "github.com/golang/glog").unwrap();
        assert_eq!(glog.licence.as_deref(), Some("Apache-2.0"));
        assert!(glog.sha256.as_ref().is_some_and(|sum| sum.len() == 64), "{glog:?}");
        let library = parts.values().find(|part| part.name == "std").unwrap();
        assert_eq!((library.licence.as_deref(), &library.sha256), (Some("BSD-3-Clause"), &None));
        assert_eq!(parts.len(), 2, "{parts:?}");
    }

    #[test]
    fn reads_a_checksum_of_go() {
        let part = go_module("a", "v1", "h1:AP+AAA==", "MIT").unwrap();
        assert_eq!((part.purl.as_str(), part.sha256.as_deref()), ("pkg:golang/a@v1", Some("00ff8000")));
        assert!(go_module("a", "v1", "h1:?", "MIT").is_err());
        assert_eq!(licence("All rights reserved."), None);
    }
}
