//! The graph of our crates, held against `cargo metadata`: who may know whom.

use serde_json::Value;

/// For each crate the crates of ours that its normal and build dependencies may name.
///
/// The four in the middle know the vocabulary and not each other; the server joins them. A new
/// crate is entered here when it is made, so that its place is a decision.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("hc-types", &[]),
    ("hc-libssl", &[]),
    ("hc-checkers", &["hc-libssl", "hc-types"]),
    ("hc-manager", &["hc-types"]),
    ("hc-view", &["hc-types"]),
    ("hc-notifier", &["hc-types", "hc-view"]),
    ("hc-wire", &["hc-types"]),
    ("hc-ipc", &["hc-types", "hc-wire"]),
    ("hc-pipeline", &["hc-types", "hc-view"]),
    ("hc-snapshot", &["hc-types"]),
    ("hc-api", &["hc-types"]),
    ("hc-admin", &["hc-api"]),
    ("hc-metrics", &["hc-types"]),
    ("hc-otlp", &["hc-types"]),
    ("hc-resolve", &["hc-types"]),
    ("hc-fleet", &["hc-types"]),
    ("hc-etcd", &["hc-fleet", "hc-types"]),
    ("hc-files", &["hc-config", "hc-resolve", "hc-types"]),
    ("hcctl", &["hc-api", "hc-checkers", "hc-config", "hc-types"]),
    ("hc-sinks", &["hc-api", "hc-types"]),
    ("hc-config", &["hc-types"]),
    ("hc-sources", &["hc-types"]),
    ("hc-sandbox", &[]),
    (
        "hc-server",
        &[
            "hc-admin",
            "hc-api",
            "hc-checkers",
            "hc-config",
            "hc-etcd",
            "hc-files",
            "hc-fleet",
            "hc-ipc",
            "hc-manager",
            "hc-metrics",
            "hc-notifier",
            "hc-otlp",
            "hc-pipeline",
            "hc-resolve",
            "hc-sandbox",
            "hc-sinks",
            "hc-snapshot",
            "hc-sources",
            "hc-types",
            "hc-view",
        ],
    ),
    ("hc-testkit", &["hc-types"]),
    ("hc-bench-uring", &[]),
    (
        "hc-bench",
        &["hc-bench-uring", "hc-checkers", "hc-manager", "hc-snapshot", "hc-testkit", "hc-types", "hc-view"],
    ),
    ("hc-fuzz", &["hc-fuzz-targets"]),
    (
        "hc-fuzz-targets",
        &[
            "hc-checkers",
            "hc-config",
            "hc-fleet",
            "hc-ipc",
            "hc-server",
            "hc-snapshot",
            "hc-sources",
            "hc-types",
            "hc-wire",
        ],
    ),
    ("hc-parity", &["hc-checkers", "hc-testkit", "hc-types", "hc-wire"]),
    (
        "hc-sim",
        &[
            "hc-config",
            "hc-files",
            "hc-fleet",
            "hc-ipc",
            "hc-manager",
            "hc-notifier",
            "hc-pipeline",
            "hc-resolve",
            "hc-sources",
            "hc-types",
            "hc-view",
            "hc-wire",
        ],
    ),
    ("xtask", &[]),
];

/// What any crate's tests may know on top.
const TESTS_MAY_KNOW: &[&str] = &["hc-types", "hc-testkit", "hc-wire"];

/// What the tests of single crates may know on top.
const TESTS_OF: &[(&str, &str)] = &[
    ("hcctl", "hc-server"),
    // Its examples have a prober that probes.
    ("hc-manager", "hc-checkers"),
];

/// Foreign crates that a crate of ours must not use, because of what it must not do.
const MUST_NOT_USE: &[(&str, &str, &str)] = &[
    ("hc-types", "tokio", "the vocabulary does no I/O"),
    ("hc-types", "socket2", "the vocabulary does no I/O"),
    ("hc-types", "serde_json", "the JSON of the protocol is in hc-wire"),
    ("hc-config", "tokio", "files are read without a runtime"),
    ("hc-manager", "socket2", "the manager opens no sockets"),
    ("hc-fleet", "socket2", "the store is reached through a library"),
    ("hc-manager", "serde_json", "the manager knows nothing of JSON"),
    ("hc-notifier", "serde_json", "the notifier does not know how a batch travels"),
];

/// What in `metadata` (of `cargo metadata`) breaks the rules, a line each.
pub(super) fn violations(metadata: &Value) -> Vec<String> {
    let packages = || metadata["packages"].as_array().into_iter().flatten();
    let ours: Vec<&str> = packages().filter_map(|package| package["name"].as_str()).collect();
    let mut violations = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, may_know)) = MAY_KNOW.iter().find(|(known, _)| *known == name) else {
            violations.push(format!(
                "{name} has no place in the graph of crates (MAY_KNOW in xtask/src/ci/graph.rs)"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            if ours.contains(&on) {
                let tests_may = TESTS_MAY_KNOW.contains(&on) || TESTS_OF.contains(&(name, on));
                let allowed = may_know.contains(&on) || (for_tests && tests_may);
                if !allowed {
                    let of = if for_tests { "tests of " } else { "" };
                    violations.push(format!("{of}{name} must not depend on {on}"));
                }
            } else if let Some((.., why)) =
                MUST_NOT_USE.iter().find(|(who, what, _)| !for_tests && *who == name && *what == on)
            {
                violations.push(format!("{name} must not depend on {on}: {why}"));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn the_workspace_keeps_the_rules() {
        let workspace = Workspace::load().unwrap();
        assert_eq!(violations(workspace.metadata()), Vec::<String>::new());
    }

    /// A workspace of all crates in which `from` has one more dependency.
    #[track_caller]
    fn check(from: &str, kind: Option<&str>, on: &str, expected: Option<&str>) {
        let packages: Vec<Value> = MAY_KNOW
            .iter()
            .map(|(name, _)| {
                let dependencies =
                    if *name == from { vec![json!({"name": on, "kind": kind})] } else { Vec::new() };
                json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        let found = violations(&json!({"packages": packages}));
        assert_eq!(found, expected.map(str::to_owned).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_middle_crates_do_not_know_each_other() {
        check("hc-manager", None, "hc-types", None);
        check("hc-manager", None, "hc-checkers", Some("hc-manager must not depend on hc-checkers"));
        check("hc-ipc", Some("build"), "hc-notifier", Some("hc-ipc must not depend on hc-notifier"));
        check("hc-notifier", Some("dev"), "hc-ipc", Some("tests of hc-notifier must not depend on hc-ipc"));
    }

    #[test]
    fn the_server_joins_them_and_none_of_them_knows_it() {
        check("hc-server", None, "hc-ipc", None);
        check("hc-checkers", None, "hc-server", Some("hc-checkers must not depend on hc-server"));
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        check("hc-server", Some("dev"), "hc-testkit", None);
        check("hc-server", None, "hc-testkit", Some("hc-server must not depend on hc-testkit"));
    }

    #[test]
    fn xtask_knows_none_of_ours() {
        check("xtask", None, "hc-types", Some("xtask must not depend on hc-types"));
    }

    #[test]
    fn some_foreign_crates_are_out_of_place() {
        check("hc-wire", None, "serde_json", None);
        check(
            "hc-types",
            None,
            "serde_json",
            Some("hc-types must not depend on serde_json: the JSON of the protocol is in hc-wire"),
        );
        check(
            "hc-types",
            None,
            "tokio",
            Some("hc-types must not depend on tokio: the vocabulary does no I/O"),
        );
        check("hc-manager", Some("dev"), "serde_json", None);
    }

    #[test]
    fn a_new_crate_must_be_entered() {
        let found = violations(&json!({"packages": [{"name": "hc-new", "dependencies": []}]}));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("hc-new has no place"), "{found:?}");
    }
}
