//! Reads a TOML document against the table of keys. Everything that is wrong is reported, and what
//! is right is kept.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hc_types::{JsonNumber, JsonScalar};
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use crate::diagnostic::{Report, Span};
use crate::form::{Form, Located, Settings, Syntax, Table, Value};
use crate::suggest::nearest;
use crate::words::{self, quoted};

/// Reads one file. `None` if it is not TOML.
pub(crate) fn document(
    bytes: &[u8],
    file: usize,
    table: &'static Table,
    report: &mut Report,
) -> Option<Settings> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            report.add(Span { file, start: error.valid_up_to() }, "", "is not UTF-8");
            return None;
        }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let start = error.span().map_or(0, |span| span.start);
        report.add(Span { file, start }, "", error.message());
    }
    // What the parser guesses behind a syntax error would only lead to more of them.
    if !errors.is_empty() {
        return None;
    }
    Some(Reader { file, report, around: Vec::new() }.table(document.get_ref(), table, ""))
}

struct Reader<'r> {
    file: usize,
    report: &'r mut Report,
    /// The tables around the one that is read, and their paths.
    around: Vec<(&'static Table, String)>,
}

impl Reader<'_> {
    fn span<T>(&self, spanned: &Spanned<T>) -> Span {
        Span { file: self.file, start: spanned.span().start }
    }

    fn table(&mut self, source: &DeTable<'_>, table: &'static Table, path: &str) -> Settings {
        let mut settings = Settings::default();
        self.around.push((table, path.to_owned()));
        for (name, value) in source {
            let Some(key) = table.key(name.get_ref()) else {
                self.unknown_key(name, table, path);
                continue;
            };
            let path = join(path, name.get_ref());
            let at = self.span(value);
            let value = self.value(value, &key.form, &path);
            settings.insert(key, value.unwrap_or(Located { value: Value::Wrong, at }));
        }
        self.around.pop();
        for names in table.exclusive {
            self.one_of(&settings, names, path);
        }
        settings
    }

    /// Reports a key that the table does not have: it may be misspelt, or belong into another
    /// table.
    fn unknown_key(&mut self, name: &Spanned<DeString<'_>>, table: &'static Table, path: &str) {
        let (word, at, key) = (name.get_ref(), self.span(name), join(path, name.get_ref()));
        // What follows `[check.http]` belongs to that table, which is easily forgotten.
        let outer = self.around.iter().rev().skip(1).find(|(table, _)| table.key(word).is_some());
        if let Some((_, outer)) = outer {
            let outer = if outer.is_empty() { "the file".to_owned() } else { format!("`{outer}`") };
            let problem = format!("is not a key of this table but of {outer}: write it above `[{path}]`");
            self.report.add(at, key, problem);
            return;
        }
        let inner =
            table.keys.iter().find(|key| key.form.table().is_some_and(|inner| inner.key(word).is_some()));
        let suggestion = match inner {
            Some(inner) => Some(format!("{}.{word}", inner.name)),
            None => nearest(word, table.keys.iter().map(|key| key.name)).map(str::to_owned),
        };
        self.report.add(at, key, "is not a key of this table").suggest(suggestion);
    }

    fn one_of(&mut self, settings: &Settings, names: &[&str], path: &str) {
        let mut present =
            names.iter().filter_map(|name| settings.by_name(name).map(|value| (name, value.at)));
        if let (Some((first, first_at)), Some((second, at))) = (present.next(), present.next()) {
            self.report.add(at, join(path, second), format!("not together with `{first}`")).see(first_at);
        }
    }

    fn value(&mut self, source: &Spanned<DeValue<'_>>, form: &'static Form, path: &str) -> Option<Located> {
        let at = self.span(source);
        let value = match (form, source.get_ref()) {
            (Form::Flag, DeValue::Boolean(flag)) => Value::Flag(*flag),
            (Form::Integer(min, max), DeValue::Integer(integer)) => {
                Value::Integer(self.integer(integer, (*min, *max), at, path)?)
            }
            (Form::Duration(min, max), DeValue::String(text)) => {
                self.judged(duration(text, *min, *max), at, path)?
            }
            (Form::Text(syntax), source) => self.text(source, syntax, form, at, path)?,
            (Form::TextOrTable(syntax, _), source @ DeValue::String(_)) => {
                self.text(source, syntax, form, at, path)?
            }
            (Form::Bytes | Form::Secret, DeValue::String(text)) => Value::Bytes(text.as_bytes().to_vec()),
            (Form::Bytes | Form::Secret, DeValue::Table(table)) => {
                self.judged(encoded(table, matches!(form, Form::Secret)), at, path)?
            }
            (Form::Word(words), DeValue::String(text)) => self.word(text, words, at, path)?,
            (Form::List(item) | Form::OneOrMany(item), DeValue::Array(items)) => {
                // A wrong entry keeps its place, so that a list is not taken for one that lacks it.
                let entry = |entry| {
                    let at = self.span(entry);
                    self.value(entry, item, path).unwrap_or(Located { value: Value::Wrong, at })
                };
                Value::List(items.iter().map(entry).collect())
            }
            (Form::OneOrMany(item), _) => return self.value(source, item, path),
            (
                Form::Table(table) | Form::FlagOrTable(table) | Form::TextOrTable(_, table),
                DeValue::Table(source),
            ) => Value::Table(self.table(source, table, path)),
            (Form::FlagOrTable(_), DeValue::Boolean(flag)) => Value::Flag(*flag),
            (Form::Named(table), DeValue::Table(source)) => Value::Named(self.named(source, table, path)),
            (Form::Labels, DeValue::Table(source)) => {
                let problem = "a label begins with a letter or `_` and has letters, digits and `_`";
                Value::Labels(self.strings(source, path, words::is_label_name, problem))
            }
            (Form::Fields, DeValue::Table(source)) => {
                let problem = "is not the name of a header field";
                Value::Labels(self.strings(source, path, words::is_token, problem))
            }
            (Form::Scalar, source) => match scalar(source) {
                Some(scalar) => Value::Scalar(scalar),
                None => {
                    self.wrong_type(form, source, at, path);
                    return None;
                }
            },
            (form, source) => {
                self.wrong_type(form, source, at, path);
                return None;
            }
        };
        Some(Located { value, at })
    }

    fn wrong_type(&mut self, form: &Form, found: &DeValue<'_>, at: Span, path: &str) {
        let text = format!("expected {}, found {}", form.noun(), article(found.type_str()));
        self.report.add(at, path, text);
    }

    fn judged(&mut self, value: Result<Value, String>, at: Span, path: &str) -> Option<Value> {
        value.map_err(|problem| self.report.add(at, path, problem).suggest(None::<String>)).ok()
    }

    fn text(
        &mut self,
        source: &DeValue<'_>,
        syntax: &Syntax,
        form: &Form,
        at: Span,
        path: &str,
    ) -> Option<Value> {
        match (source, syntax.integer) {
            (DeValue::String(text), _) => self.judged((syntax.read)(text), at, path),
            (DeValue::Integer(integer), Some(range)) => {
                let integer = self.integer(integer, range, at, path)?;
                self.judged((syntax.read)(&integer.to_string()), at, path)
            }
            _ => {
                self.wrong_type(form, source, at, path);
                None
            }
        }
    }

    fn integer(&mut self, source: &DeInteger<'_>, range: (i64, i64), at: Span, path: &str) -> Option<i64> {
        let (min, max) = range;
        match i64::from_str_radix(source.as_str(), source.radix()) {
            Ok(integer) if (min..=max).contains(&integer) => Some(integer),
            _ => {
                self.report.add(at, path, format!("{source} is not in {min} to {max}"));
                None
            }
        }
    }

    fn word(&mut self, text: &str, words: &'static [&'static str], at: Span, path: &str) -> Option<Value> {
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Some(Value::Word(word));
        }
        let problem = format!("{} is not one of {}", quoted(text), words.join(", "));
        self.report.add(at, path, problem).suggest(nearest(text, words.iter().copied()));
        None
    }

    fn named(
        &mut self,
        source: &DeTable<'_>,
        table: &'static Table,
        path: &str,
    ) -> BTreeMap<String, Located> {
        let mut tables = BTreeMap::new();
        for (name, value) in source {
            let path = join(path, name.get_ref());
            let at = self.span(name);
            if let DeValue::Table(source) = value.get_ref() {
                let value = Value::Table(self.table(source, table, &path));
                tables.insert(name.get_ref().to_string(), Located { value, at });
            } else {
                let found = article(value.get_ref().type_str());
                self.report.add(at, path, format!("expected a table, found {found}"));
            }
        }
        tables
    }

    fn strings(
        &mut self,
        source: &DeTable<'_>,
        path: &str,
        is_name: fn(&str) -> bool,
        problem: &str,
    ) -> BTreeMap<String, String> {
        let mut strings = BTreeMap::new();
        for (name, value) in source {
            let path = join(path, name.get_ref());
            if !is_name(name.get_ref()) {
                self.report.add(self.span(name), path, problem);
            } else if let Some(text) = value.get_ref().as_str() {
                strings.insert(name.get_ref().to_string(), text.to_owned());
            } else {
                let found = article(value.get_ref().type_str());
                self.report.add(self.span(value), path, format!("expected a string, found {found}"));
            }
        }
        strings
    }
}

fn join(path: &str, name: &str) -> String {
    // Names of keys come from anywhere: a line break in one must not forge a line of an error.
    let name = if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// `None` for what JSON has no scalar for.
fn scalar(source: &DeValue<'_>) -> Option<JsonScalar> {
    match source {
        DeValue::String(text) => Some(JsonScalar::String(text.as_ref().into())),
        DeValue::Boolean(value) => Some(JsonScalar::Bool(*value)),
        DeValue::Integer(integer) => {
            let integer = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            Some(JsonScalar::Number(integer.into()))
        }
        DeValue::Float(float) => {
            float.as_str().parse().ok().and_then(JsonNumber::from_f64).map(JsonScalar::Number)
        }
        _ => None,
    }
}

fn article(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {type_name}")
}

fn duration(text: &str, min: std::time::Duration, max: std::time::Duration) -> Result<Value, String> {
    let duration = humantime::parse_duration(text).map_err(|error| {
        format!("{} is not a duration such as \"5s\" or \"500ms\": {error}", quoted(text))
    })?;
    if !(min..=max).contains(&duration) {
        let (min, max) = (humantime::format_duration(min), humantime::format_duration(max));
        return Err(format!("{} is not in {min} to {max}", quoted(text)));
    }
    Ok(Value::Duration(duration))
}

/// `{ hex = "…" }` or `{ base64 = "…" }`.
fn encoded(table: &DeTable<'_>, secret: bool) -> Result<Value, String> {
    let mut entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref().as_str()));
    let (Some((encoding, Some(text))), None) = (entries.next(), entries.next()) else {
        return Err("expected a string, { hex = \"...\" } or { base64 = \"...\" }".to_owned());
    };
    let bytes = match encoding {
        "hex" => hex(text).ok_or_else(|| "hex: two digits for each byte".to_owned()),
        "base64" if secret => BASE64.decode(text).map_err(|_| "base64: not valid".to_owned()),
        "base64" => BASE64.decode(text).map_err(|error| format!("base64: {error}")),
        _ => Err("expected a string, { hex = \"...\" } or { base64 = \"...\" }".to_owned()),
    };
    bytes.map(Value::Bytes)
}

/// Blanks between the bytes are fine.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

impl Form {
    /// With its article, for errors.
    fn noun(&self) -> String {
        match self {
            Form::Flag => "true or false".to_owned(),
            Form::Integer(min, max) => format!("an integer from {min} to {max}"),
            Form::Duration(..) => "a duration such as \"5s\"".to_owned(),
            Form::Text(syntax) if syntax.integer.is_some() => syntax.noun.to_owned(),
            Form::Text(syntax) => format!("{} in a string", syntax.noun),
            Form::TextOrTable(syntax, _) => format!("{} in a string, or a table", syntax.noun),
            Form::Bytes | Form::Secret => "a string, { hex = \"...\" } or { base64 = \"...\" }".to_owned(),
            Form::Word(words) => format!("one of {}", words.join(", ")),
            Form::List(item) => format!("a list, each of its entries {}", item.noun()),
            Form::OneOrMany(item) => format!("{}, or a list", item.noun()),
            Form::Table(_) | Form::Named(_) | Form::Labels | Form::Fields => "a table".to_owned(),
            Form::Scalar => "a string, a finite number, true or false".to_owned(),
            Form::FlagOrTable(_) => "true, false or a table".to_owned(),
        }
    }
}
