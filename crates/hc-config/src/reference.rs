//! The operator's page of the format.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::form::{Form, Table};
use crate::keys;

/// The page `docs/checks.md`: an introduction, then every key with its type, its default and its
/// meaning.
#[must_use]
pub fn reference() -> String {
    let mut page = include_str!("reference.md").to_owned();
    let mut seen = BTreeSet::new();
    table(&keys::DOCUMENT, &mut page, &mut seen);
    page
}

fn table(table: &'static Table, page: &mut String, seen: &mut BTreeSet<&'static str>) {
    if !seen.insert(table.name) {
        return;
    }
    let title = if table.name.is_empty() {
        "The file".to_owned()
    } else {
        format!("`[{}]`", table.name.replace(", ", "]`, `["))
    };
    // Writing to a string does not fail.
    let _ = write!(page, "\n### {title}\n\n{}\n", table.doc);
    // Of keys that a check has as well, one list is enough.
    let shared = std::ptr::eq(table.keys, keys::SHARED_KEYS);
    let listed = if shared { &[] } else { table.keys };
    if !listed.is_empty() {
        page.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    }
    for key in listed {
        let (name, default, doc) = (key.name, key.default, key.doc);
        let _ = writeln!(page, "| `{name}` | {} | {default} | {doc} |", type_name(&key.form));
    }
    for key in table.keys {
        if let Some(inner) = key.form.table() {
            self::table(inner, page, seen);
        }
    }
}

fn type_name(form: &Form) -> String {
    match form {
        Form::Flag => "true or false".to_owned(),
        Form::Integer(min, max) => format!("integer, {min} to {max}"),
        Form::Duration(min, max) => {
            let (min, max) = (humantime::format_duration(*min), humantime::format_duration(*max));
            format!("duration with unit, {min} to {max}")
        }
        Form::Text(syntax) => without_article(syntax.noun).to_owned(),
        Form::Bytes | Form::Secret => "string, `{ hex = \"...\" }` or `{ base64 = \"...\" }`".to_owned(),
        Form::Word(words) => format!("one of `{}`", words.join("`, `")),
        Form::List(item) => format!("list: {}", type_name(item)),
        Form::OneOrMany(item) => format!("{}, or a list", type_name(item)),
        Form::Table(_) => "table".to_owned(),
        Form::TextOrTable(syntax, _) => format!("{}, or a table", without_article(syntax.noun)),
        Form::FlagOrTable(_) => "true, false or table".to_owned(),
        Form::Named(_) => "tables by name".to_owned(),
        Form::Labels => "table of strings".to_owned(),
        Form::Fields => "table of strings by name of the field".to_owned(),
        Form::Scalar => "string, number, true or false".to_owned(),
    }
}

fn without_article(noun: &str) -> &str {
    noun.strip_prefix("a ").or_else(|| noun.strip_prefix("an ")).unwrap_or(noun)
}
