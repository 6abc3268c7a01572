//! Puts defaults, groups and templates under the checks.

use std::collections::{BTreeMap, HashMap};

use crate::diagnostic::{Report, Span};
use crate::form::{Key, Located, Settings, Value};
use crate::keys::{self, CHECK_TABLE};
use crate::suggest::nearest;
use crate::words::quoted;

/// How many templates may extend each other in a row. More is a mistake of a program that writes
/// such files.
const MAX_DEPTH: usize = 64;

/// Settings that were put together, and the kind of probe that the nearest of them names.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    pub(crate) settings: Settings,
    pub(crate) kind: Option<&'static Key>,
    /// Whether it extends something that is not known: then nobody can say what is missing.
    pub(crate) incomplete: bool,
}

impl Layer {
    fn overlay(&mut self, nearer: &Layer) {
        self.settings.overlay(&nearer.settings, &CHECK_TABLE);
        self.kind = nearer.kind.or(self.kind);
        self.incomplete |= nearer.incomplete;
    }
}

/// A named table and where its name stands.
struct Entry<'d> {
    settings: &'d Settings,
    at: Span,
}

/// The templates and groups of all files.
pub(crate) struct Catalog<'d> {
    templates: BTreeMap<&'d str, Entry<'d>>,
    groups: BTreeMap<&'d str, Entry<'d>>,
    /// Templates with those that they extend.
    flat_templates: HashMap<&'d str, Layer>,
    flat_groups: HashMap<&'d str, Layer>,
}

impl<'d> Catalog<'d> {
    /// Reads the templates and groups of all files. A name that two of them have is reported.
    pub(crate) fn new(documents: &'d [Settings], report: &mut Report) -> Self {
        let templates = collect(documents, &keys::TEMPLATE, report);
        let groups = collect(documents, &keys::GROUP, report);
        let mut catalog =
            Self { templates, groups, flat_templates: HashMap::new(), flat_groups: HashMap::new() };
        // All of them, so that one that nobody uses yet is judged too.
        let names: Vec<&'d str> = catalog.templates.keys().copied().collect();
        for name in names {
            catalog.flatten_template(name, &mut Vec::new(), report);
        }
        let names: Vec<&'d str> = catalog.groups.keys().copied().collect();
        for name in names {
            let group = catalog.groups[name].settings;
            let flat = catalog.based(group, &format!("group.{name}"), &mut Vec::new(), report);
            catalog.flat_groups.insert(name, flat);
        }
        catalog
    }

    /// A check with everything that it inherits.
    pub(crate) fn flatten_check(
        &mut self,
        check: &Settings,
        defaults: &Settings,
        report: &mut Report,
    ) -> Layer {
        let mut flat = Layer { settings: defaults.clone(), ..Layer::default() };
        if let Some(Located { value: Value::Text(name), at }) = check.get(&keys::GROUP_NAME) {
            match self.flat_groups.get(name.as_str()) {
                Some(group) => flat.overlay(group),
                None => {
                    unknown("group", name, *at, "check.group", self.groups.keys().copied(), report);
                    flat.incomplete = true;
                }
            }
        }
        flat.overlay(&self.based(check, "check", &mut Vec::new(), report));
        flat
    }

    /// `settings` over the templates that they extend.
    fn based(
        &mut self,
        settings: &Settings,
        path: &str,
        stack: &mut Vec<&'d str>,
        report: &mut Report,
    ) -> Layer {
        let mut flat = Layer::default();
        for item in settings.items(&keys::EXTENDS) {
            let Value::Text(name) = &item.value else { continue };
            let path = format!("{path}.extends");
            let Some((name, _)) = self.templates.get_key_value(name.as_str()) else {
                unknown("template", name, item.at, &path, self.templates.keys().copied(), report);
                flat.incomplete = true;
                continue;
            };
            let name = *name;
            if let Some(start) = stack.iter().position(|other| *other == name) {
                let circle = [&stack[start..], &[name]].concat().join(" extends ");
                report.add(item.at, path, format!("templates extend each other in a loop: {circle}"));
            } else if stack.len() >= MAX_DEPTH {
                report.add(
                    item.at,
                    path,
                    format!("more than {MAX_DEPTH} templates extend each other in a row"),
                );
            } else {
                self.flatten_template(name, stack, report);
                if let Some(template) = self.flat_templates.get(name) {
                    flat.overlay(template);
                }
            }
        }
        let kind = kind_of(settings, path, report);
        flat.overlay(&Layer { settings: settings.clone(), kind, incomplete: false });
        flat
    }

    fn flatten_template(&mut self, name: &'d str, stack: &mut Vec<&'d str>, report: &mut Report) {
        if self.flat_templates.contains_key(name) {
            return;
        }
        stack.push(name);
        let flat = self.based(self.templates[name].settings, &format!("template.{name}"), stack, report);
        stack.pop();
        self.flat_templates.insert(name, flat);
    }
}

fn collect<'d>(documents: &'d [Settings], key: &Key, report: &mut Report) -> BTreeMap<&'d str, Entry<'d>> {
    let mut entries: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
    for (name, located) in documents.iter().flat_map(|document| document.named(key)) {
        let Value::Table(settings) = &located.value else { continue };
        if let Some(first) = entries.get(name.as_str()) {
            let problem = format!("another file has a {} of this name", key.name);
            report.add(located.at, format!("{}.{name}", key.name), problem).see(first.at);
            continue;
        }
        entries.insert(name, Entry { settings, at: located.at });
    }
    entries
}

fn unknown<'a>(
    what: &str,
    name: &str,
    at: Span,
    path: &str,
    known: impl Iterator<Item = &'a str>,
    report: &mut Report,
) {
    report
        .add(at, path, format!("there is no {what} {}", quoted(name)))
        .suggest(nearest(name, known.take(1000)));
}

/// The kind of probe that a table names; two are reported.
fn kind_of(settings: &Settings, path: &str, report: &mut Report) -> Option<&'static Key> {
    let mut kinds = keys::KINDS.iter().copied().filter(|kind| settings.has(kind));
    let first = kinds.next()?;
    if let Some(second) = kinds.next()
        && let Some(located) = settings.get(second)
    {
        let problem = format!("not together with `{}`: a check has one kind of probe", first.name);
        report.add(located.at, format!("{path}.{}", second.name), problem);
    }
    Some(first)
}

/// The table of a document's key that holds a table, or an empty one.
pub(crate) fn defaults(document: &Settings) -> Settings {
    document.table(&keys::DEFAULTS).cloned().unwrap_or_default()
}
