//! The format as a JSON Schema, for editors.

use serde_json::{Map, Value, json};

use crate::form::{Form, Key, Syntax, Table};
use crate::{keys, words};

/// The JSON Schema (draft 2020-12) of a TOML file of checks, made from the same table of keys that
/// reads it.
///
/// What needs more than one key to judge is left to [`parse`](crate::parse): whether a check has a
/// target, say, since it may come from a template.
#[must_use]
pub fn schema() -> Value {
    let mut tables = Map::new();
    let mut document = table_schema(&keys::DOCUMENT, &mut tables);
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    document["title"] = json!("Checks of hc-server");
    document["$defs"] = Value::Object(tables);
    document
}

fn table_schema(table: &Table, tables: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        properties.insert(key.name.to_owned(), key_schema(key, tables));
    }
    // Whatever else a check needs may be inherited.
    let always = |key: &&&Key| keys::ALWAYS.iter().any(|always| std::ptr::eq(**key, *always));
    let required: Vec<&str> = table.keys.iter().filter(always).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn key_schema(key: &Key, tables: &mut Map<String, Value>) -> Value {
    let mut schema = form_schema(&key.form, tables);
    schema["description"] = json!(format!("{} Default: {}.", key.doc, key.default));
    schema
}

/// The schema of a table stands once, and all keys that hold one refer to it.
fn reference(table: &Table, tables: &mut Map<String, Value>) -> Value {
    let name = table.name.split(',').next().unwrap_or_default();
    if !tables.contains_key(name) {
        tables.insert(name.to_owned(), Value::Null);
        let schema = table_schema(table, tables);
        tables.insert(name.to_owned(), schema);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn form_schema(form: &Form, tables: &mut Map<String, Value>) -> Value {
    match form {
        Form::Flag => json!({ "type": "boolean" }),
        Form::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Form::Duration(..) => json!({ "type": "string", "pattern": "^[0-9]" }),
        Form::Text(syntax) => text_schema(syntax),
        Form::Bytes | Form::Secret => json!({ "anyOf": [
            { "type": "string" },
            encoded("hex", "^( *[0-9A-Fa-f] *[0-9A-Fa-f])* *$"),
            encoded("base64", "^[A-Za-z0-9+/]*=*$"),
        ] }),
        Form::Word(words) => json!({ "enum": words }),
        Form::List(item) => json!({ "type": "array", "items": form_schema(item, tables) }),
        Form::OneOrMany(item) => {
            let item = form_schema(item, tables);
            json!({ "anyOf": [item, { "type": "array", "items": item }] })
        }
        Form::Table(table) => reference(table, tables),
        Form::TextOrTable(syntax, table) => {
            json!({ "anyOf": [text_schema(syntax), reference(table, tables)] })
        }
        Form::FlagOrTable(table) => json!({ "anyOf": [{ "type": "boolean" }, reference(table, tables)] }),
        Form::Named(table) => json!({ "type": "object", "additionalProperties": reference(table, tables) }),
        Form::Fields => json!({
            "type": "object",
            "propertyNames": { "pattern": words::TOKEN },
            "additionalProperties": { "type": "string" },
        }),
        Form::Scalar => json!({ "anyOf": [
            { "type": "string" },
            { "type": "boolean" },
            { "type": "integer" },
            { "type": "number" },
        ] }),
        Form::Labels => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "additionalProperties": { "type": "string" },
        }),
    }
}

fn text_schema(syntax: &Syntax) -> Value {
    let mut text = json!({ "type": "string" });
    if let Some(pattern) = syntax.pattern {
        text["pattern"] = json!(pattern);
    }
    match syntax.integer {
        Some((min, max)) => json!({ "anyOf": [text, { "type": "integer", "minimum": min, "maximum": max }] }),
        None => text,
    }
}

fn encoded(encoding: &str, pattern: &str) -> Value {
    json!({
        "type": "object",
        "properties": { encoding: { "type": "string", "pattern": pattern } },
        "required": [encoding],
        "additionalProperties": false,
    })
}
