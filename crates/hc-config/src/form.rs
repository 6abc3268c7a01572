//! The table of keys: what a key may hold, from which reading, schema and reference are made.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hc_types::{Jitter, JsonScalar, Pattern};

use crate::diagnostic::Span;
use crate::range::{PortRange, TargetItem};

/// One key of the format.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// The value without the key, as TOML or in words.
    pub(crate) default: &'static str,
    /// One or two sentences for the reference and for editors.
    pub(crate) doc: &'static str,
}

/// A TOML table of the format.
pub(crate) struct Table {
    /// For the reference: `check.http`.
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [&'static Key],
    /// Keys of which a table may have one only, and of which a nearer table replaces a farther
    /// one's.
    pub(crate) exclusive: &'static [&'static [&'static str]],
}

impl Table {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().copied().find(|key| key.name == name)
    }
}

impl Form {
    /// The table that a key holds.
    pub(crate) fn table(&self) -> Option<&'static Table> {
        match self {
            Form::Table(table)
            | Form::FlagOrTable(table)
            | Form::TextOrTable(_, table)
            | Form::Named(table) => Some(table),
            Form::List(item) | Form::OneOrMany(item) => item.table(),
            _ => None,
        }
    }
}

/// What a key may hold.
pub(crate) enum Form {
    Flag,
    /// Smallest and largest.
    Integer(i64, i64),
    /// A humantime string; shortest and longest.
    Duration(Duration, Duration),
    /// A string with a syntax.
    Text(&'static Syntax),
    /// A string, or `{ hex = "…" }`, or `{ base64 = "…" }`.
    Bytes,
    /// Like `Bytes`, but never quoted.
    Secret,
    /// One of these words.
    Word(&'static [&'static str]),
    List(&'static Form),
    OneOrMany(&'static Form),
    Table(&'static Table),
    /// A string, or a table that holds such a string and more.
    TextOrTable(&'static Syntax, &'static Table),
    /// `true` stands for an empty table.
    FlagOrTable(&'static Table),
    /// Tables by a name that the file chooses.
    Named(&'static Table),
    /// Strings by a name that the file chooses.
    Labels,
    /// Header fields: strings by the name of the field, never quoted.
    Fields,
    /// A string, a number, `true` or `false`.
    Scalar,
}

/// The syntax of a string.
pub(crate) struct Syntax {
    /// With its article: `an IP address`.
    pub(crate) noun: &'static str,
    /// For the schema.
    pub(crate) pattern: Option<&'static str>,
    /// Smallest and largest, where an integer may stand instead.
    pub(crate) integer: Option<(i64, i64)>,
    /// Reads the string, or says what is wrong with it.
    pub(crate) read: fn(&str) -> Result<Value, String>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Located {
    pub(crate) value: Value,
    pub(crate) at: Span,
}

/// What a key holds, judged by its form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Flag(bool),
    Integer(i64),
    Duration(Duration),
    Text(String),
    Bytes(Vec<u8>),
    Word(&'static str),
    Address(IpAddr),
    Target(TargetItem),
    Ports(PortRange),
    Codes(std::ops::RangeInclusive<u16>),
    Jitter(Jitter),
    List(Vec<Located>),
    Table(Settings),
    Named(BTreeMap<String, Located>),
    /// Labels or header fields.
    Labels(BTreeMap<String, String>),
    Pattern(Pattern),
    Scalar(JsonScalar),
    /// Wrong and reported: the key is there, so nothing says that it is missing.
    Wrong,
}

/// The keys of one table, or of several that were put over each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Few of them, and a map of its own for each check would take a kilobyte.
    keys: Vec<(&'static str, Located)>,
}

impl Settings {
    pub(crate) fn insert(&mut self, key: &'static Key, value: Located) {
        self.set(key.name, value);
    }

    fn set(&mut self, name: &'static str, value: Located) {
        match self.keys.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.keys.push((name, value)),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Located> {
        self.by_name(key.name)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Located> {
        self.keys.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn text(&self, key: &Key) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn word(&self, key: &Key) -> Option<&'static str> {
        match self.get(key)?.value {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, key: &Key) -> Option<bool> {
        match self.get(key)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, key: &Key) -> Option<i64> {
        match self.get(key)?.value {
            Value::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, key: &Key) -> Option<Duration> {
        match self.get(key)?.value {
            Value::Duration(duration) => Some(duration),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self, key: &Key) -> Option<&[u8]> {
        match &self.get(key)?.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn table(&self, key: &Key) -> Option<&Settings> {
        match &self.get(key)?.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn labels(&self, key: &Key) -> Option<&BTreeMap<String, String>> {
        match &self.get(key)?.value {
            Value::Labels(labels) => Some(labels),
            _ => None,
        }
    }

    pub(crate) fn named(&self, key: &Key) -> impl Iterator<Item = (&String, &Located)> {
        let tables = match self.get(key).map(|located| &located.value) {
            Some(Value::Named(tables)) => Some(tables),
            _ => None,
        };
        tables.into_iter().flatten()
    }

    /// The items of a list; a single value is a list of one.
    pub(crate) fn items(&self, key: &Key) -> &[Located] {
        match self.get(key) {
            Some(Located { value: Value::List(items), .. }) => items,
            Some(single) => std::slice::from_ref(single),
            None => &[],
        }
    }

    /// Puts `nearer` over these: its keys win, tables and labels are joined key by key.
    pub(crate) fn overlay(&mut self, nearer: &Settings, table: &Table) {
        for (name, value) in &nearer.keys {
            for others in table.exclusive.iter().filter(|names| names.contains(name)) {
                self.keys.retain(|(key, _)| key == name || !others.contains(key));
            }
            let form = table.key(name).map(|key| &key.form);
            match (self.keys.iter_mut().find(|(other, _)| other == name), form) {
                (Some((_, farther)), Some(form)) => farther.overlay(value, form),
                _ => self.set(name, value.clone()),
            }
        }
    }
}

impl Located {
    fn overlay(&mut self, nearer: &Located, form: &Form) {
        match (&mut self.value, &nearer.value, form) {
            (Value::Table(farther), Value::Table(nearer), Form::Table(table) | Form::FlagOrTable(table)) => {
                farther.overlay(nearer, table)
            }
            (Value::Labels(farther), Value::Labels(nearer), _) => {
                farther.extend(nearer.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            (farther, nearer, _) => *farther = nearer.clone(),
        }
        self.at = nearer.at;
    }
}
