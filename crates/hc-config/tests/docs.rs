//! Pages that are made from the table of keys, and examples.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hc_config::{Limits, SourceFile, parse};
use serde_json::{Value, json};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[track_caller]
fn is_current(name: &str, expected: &str) {
    let committed = std::fs::read_to_string(docs().join(name)).unwrap();
    let advice = "run `cargo run -p hc-config --example write-docs`";
    assert!(committed == expected, "docs/{name} is stale: {advice}");
}

#[test]
fn the_reference_is_current() {
    is_current("checks.md", &hc_config::reference());
}

#[test]
fn the_schema_is_current() {
    is_current("checks.schema.json", &format!("{:#}\n", hc_config::schema()));
}

fn example() -> String {
    std::fs::read_to_string(docs().join("examples/checks.toml")).unwrap()
}

#[test]
fn the_example_is_read() {
    let files: BTreeMap<PathBuf, Vec<u8>> = [(PathBuf::from("radius.secret"), b"s3cret\n".to_vec())].into();
    let checks =
        parse(&[SourceFile::new("checks.toml", example())], &Limits::default(), &files).unwrap().checks;
    assert_eq!(checks.len(), 4 + 2 + 5 + 15);
    let kinds: std::collections::BTreeSet<&str> =
        checks.iter().map(|check| check.spec.probe().type_name()).collect();
    assert_eq!(kinds, hc_types::ProbeSpec::TYPE_NAMES.iter().copied().collect(), "one of every kind");
}

#[test]
fn the_blocks_of_the_reference_are_read() {
    let page = hc_config::reference();
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let read = parse(&[SourceFile::new("checks.md", block)], &Limits::default(), &hc_config::NoFiles);
        assert!(read.is_ok(), "{}", read.unwrap_err());
    }
}

fn as_json(toml: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(toml).unwrap()).unwrap()
}

/// What of `value` the schema refuses. Knows the words that [`hc_config::schema`] uses and fails on
/// any other.
fn refused(schema: &Value, value: &Value, root: &Value) -> Option<String> {
    for (word, rule) in schema.as_object().unwrap() {
        let problem = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => None,
            "$ref" => {
                refused(root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value, root)
            }
            "type" => (type_of(value) != rule.as_str().unwrap()).then(|| format!("{value} is no {rule}")),
            "enum" => (!rule.as_array().unwrap().contains(value)).then(|| format!("{value} not in {rule}")),
            "minimum" => (value.as_i64() < rule.as_i64()).then(|| format!("{value} < {rule}")),
            "maximum" => (value.as_i64() > rule.as_i64()).then(|| format!("{value} > {rule}")),
            // Patterns are for editors. They are held against the readers of strings by hand.
            "pattern" | "propertyNames" => None,
            "anyOf" => {
                let problems: Vec<Option<String>> =
                    rule.as_array().unwrap().iter().map(|schema| refused(schema, value, root)).collect();
                problems.iter().all(Option::is_some).then(|| format!("{problems:?}"))
            }
            "items" => value.as_array().into_iter().flatten().find_map(|item| refused(rule, item, root)),
            "required" => {
                let missing =
                    rule.as_array().unwrap().iter().find(|name| value.get(name.as_str().unwrap()).is_none());
                missing.map(|name| format!("no {name}"))
            }
            "properties" => {
                let known = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(key, value)| Some((rule.get(key)?, value)));
                known.into_iter().find_map(|(schema, value)| refused(schema, value, root))
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                let others = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| known.is_none_or(|known| known.get(key).is_none()));
                others.into_iter().find_map(|(key, value)| match rule {
                    Value::Bool(false) => Some(format!("{key} is not known")),
                    schema => refused(schema, value, root),
                })
            }
            other => panic!("the schema has a word that this test does not know: {other}"),
        };
        if problem.is_some() {
            return problem;
        }
    }
    None
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        _ => "something else",
    }
}

#[test]
fn the_schema_takes_the_example_and_refuses_mistakes() {
    let schema = hc_config::schema();
    let example = as_json(&example());
    assert_eq!(refused(&schema, &example, &schema), None);
    let mistakes: [(&str, Value); 8] = [
        ("/check/0", json!({ "target": "192.0.2.1" })),
        ("/check/0/target", json!(1)),
        ("/check/3/port", json!([70000])),
        ("/check/3/tcp", json!({ "sent": "" })),
        ("/check/1/http/expected_headers", json!({ "equals": "json" })),
        ("/template/web/http/path", json!(["/"])),
        ("/defaults/interval", json!(5)),
        ("/check", json!({})),
    ];
    for (place, mistake) in mistakes {
        let mut wrong = example.clone();
        *wrong.pointer_mut(place).unwrap() = mistake;
        assert!(refused(&schema, &wrong, &schema).is_some(), "{place}");
    }
}
