//! Makes checks of settings.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hc_types::{CheckSpec, Mark, Mode, OpinionKeys, ProbeSpec, Quorum, SpecError, Target, TlsOptions};

use crate::diagnostic::{Report, Span};
use crate::expand::{Expansion, Host, Place};
use crate::form::{Key, Settings, Value};
use crate::host::{self, HostCheck, Resolve};
use crate::inherit::Layer;
use crate::way::Ways;
use crate::{DependsOn, Files, Labels, SourceFile, expand, keys, probe, timing, tls, words};

/// One check before its id is known, and the place that names it.
pub(crate) struct Draft {
    pub(crate) name: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) depends_on: DependsOn,
    pub(crate) metrics: bool,
    pub(crate) opinions: OpinionKeys,
    pub(crate) spec: CheckSpec,
    pub(crate) at: Span,
}

/// One check of a host name, and the place that names it.
pub(crate) struct HostDraft {
    pub(crate) check: HostCheck,
    pub(crate) at: Span,
}

/// The checks of one `[[check]]`, or of all files.
#[derive(Default)]
pub(crate) struct Drafts {
    pub(crate) checks: Vec<Draft>,
    pub(crate) hosts: Vec<HostDraft>,
    /// What depends on what, and where that stands.
    pub(crate) edges: Vec<Edge>,
}

/// A name in `depends_on`, and the checks that have it there: all those of one `[[check]]`.
pub(crate) struct Edge {
    pub(crate) from: Arc<[Arc<str>]>,
    pub(crate) to: Box<str>,
    pub(crate) at: Span,
}

/// Where the contents of files come from that the settings name.
pub(crate) struct SecretFiles<'a> {
    pub(crate) sources: &'a [SourceFile],
    pub(crate) files: &'a dyn Files,
    /// The options of TLS so far: checks with the same ones share them.
    pub(crate) tls_options: RefCell<HashSet<Arc<TlsOptions>>>,
}

impl SecretFiles<'_> {
    /// The same options, shared with the checks before that have them.
    pub(crate) fn shared(&self, options: Arc<TlsOptions>) -> Arc<TlsOptions> {
        let mut known = self.tls_options.borrow_mut();
        if let Some(known) = known.get(&options) {
            return Arc::clone(known);
        }
        known.insert(Arc::clone(&options));
        options
    }

    /// Reads a file that a key names, relative to the file in which the key stands.
    pub(crate) fn read(&self, name: &str, at: Span) -> Result<Vec<u8>, String> {
        let source = self.sources.get(at.file).map(|source| Path::new(&source.name));
        let path: PathBuf = source.and_then(Path::parent).unwrap_or(Path::new("")).join(name);
        let mut bytes =
            self.files.read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        Ok(bytes)
    }
}

/// One `[[check]]`, with everything that it inherits.
pub(crate) struct Build<'a> {
    pub(crate) layer: &'a Layer,
    /// Where `[[check]]` stands.
    pub(crate) header: Span,
    pub(crate) secrets: &'a SecretFiles<'a>,
    pub(crate) report: &'a mut Report,
}

impl Build<'_> {
    /// The checks of one `[[check]]`; none if something is wrong.
    pub(crate) fn checks(mut self, expansion: &mut Expansion) -> Drafts {
        let settings = &self.layer.settings;
        let name = settings.text(&keys::NAME);
        // A name that is wrong has been reported.
        if !settings.has(&keys::NAME) {
            self.report.add(self.header, "check.name", "a check needs a name");
        }
        let probe = self.probe();
        let targets = expand::targets(self.layer, self.header, expansion, self.report);
        let marked = self.has_mark_if_needed() && self.has_mark_beside_backend();
        let (Some(name), Some(probe), Some(targets), true) = (name, probe, targets, marked) else {
            return Drafts::default();
        };
        let labels: Vec<Labels> = targets.entries.iter().map(|entry| self.labels(entry.labels)).collect();
        let depends_on = self.depends_on();
        let mut names: Vec<Arc<str>> = Vec::new();
        let excluded = expand::excluded(self.layer);
        let metrics = settings.flag(&keys::METRICS).unwrap_or_default();
        let opinions = self.opinions();
        let ways = Ways::read(&self.layer.settings, self.report);
        let mut drafts = Drafts::default();
        let mut wrong_at = None;
        for place in targets.places {
            // One address of a range that cannot be is enough of an example.
            if wrong_at == Some(place.at) {
                continue;
            }
            let spec = self.spec(&place, &probe, &ways);
            let (name, at) = match targets.several {
                true => (format!("{name}/{}", place.suffix(&targets.entries)).into(), place.at),
                false => (name.into(), settings.get(&keys::NAME).map_or(self.header, |name| name.at)),
            };
            let name: Arc<str> = name;
            if name.len() > words::MAX_NAME {
                wrong_at = Some(place.at);
                let (length, most) = (name.len(), words::MAX_NAME);
                self.report.add(
                    at,
                    "name",
                    format!("{name:?} has {length} bytes; a name has at most {most}"),
                );
                continue;
            }
            let labels = Arc::clone(&labels[place.entry]);
            let depends_on = Arc::clone(&depends_on);
            if !depends_on.is_empty() {
                names.push(Arc::clone(&name));
            }
            match (spec, place.host) {
                (Ok(spec), Host::Ip(_)) => {
                    drafts.checks.push(Draft { name, labels, depends_on, metrics, opinions, spec, at });
                }
                (Ok(spec), Host::Name(host)) => {
                    let (port, excluded) = (place.port, Arc::clone(&excluded));
                    let (resolve, template) = (self.resolve(), Arc::new(spec));
                    let check = HostCheck {
                        name,
                        labels,
                        depends_on,
                        metrics,
                        opinions,
                        host,
                        port,
                        resolve,
                        template,
                        excluded,
                        ways: ways.clone(),
                    };
                    // The template has no source, since the family of the addresses is not known
                    // yet.
                    match check.check_of_all([]) {
                        Ok(_) => drafts.hosts.push(HostDraft { check, at }),
                        Err(error) => {
                            wrong_at = Some(place.at);
                            self.spec_error(&error, place.at);
                        }
                    }
                }
                (Err(error), _) => {
                    wrong_at = Some(place.at);
                    self.spec_error(&error, place.at);
                }
            }
        }
        let from: Arc<[Arc<str>]> = names.into();
        let edge = |(to, at)| Edge { from: Arc::clone(&from), to, at };
        drafts.edges = self.named_in_depends_on().map(edge).collect();
        drafts
    }

    /// The names in `depends_on`, each with its place.
    fn named_in_depends_on(&self) -> impl Iterator<Item = (Box<str>, Span)> {
        let items = self.layer.settings.items(&keys::DEPENDS_ON).iter();
        items.filter_map(|item| match &item.value {
            Value::Text(name) => Some((name.as_str().into(), item.at)),
            _ => None,
        })
    }

    fn depends_on(&self) -> DependsOn {
        self.named_in_depends_on().map(|(name, _)| name).collect()
    }

    /// How a fleet judges these checks.
    fn opinions(&mut self) -> OpinionKeys {
        let settings = &self.layer.settings;
        let opinions = settings.integer(&keys::OPINIONS).and_then(|number| u8::try_from(number).ok());
        let quorum: Option<Quorum> = settings.text(&keys::QUORUM).and_then(|rule| rule.parse().ok());
        if let (Some(opinions), Some(Quorum::AtLeast(needed)), Some(place)) =
            (opinions, quorum, settings.get(&keys::QUORUM))
            && needed > opinions
        {
            self.report.add(place.at, "quorum", format!("{needed} of {opinions} opinions are more than all"));
        }
        OpinionKeys { opinions, quorum }
    }

    fn probe(&mut self) -> Option<ProbeSpec> {
        let Some(kind) = self.layer.kind else {
            let kinds: Vec<&str> = keys::KINDS.iter().map(|kind| kind.name).collect();
            let problem = format!("a check needs a kind of probe: one of {}", kinds.join(", "));
            if !self.layer.incomplete {
                self.report.add(self.header, "check", problem);
            }
            return None;
        };
        probe::read(kind, self.layer, self.secrets, self.report)
    }

    fn resolve(&self) -> Resolve {
        match self.layer.settings.word(&keys::RESOLVE) {
            Some("any") => Resolve::Any,
            Some("all") => Resolve::All,
            _ => Resolve::Each,
        }
    }

    fn has_mark_if_needed(&mut self) -> bool {
        let settings = &self.layer.settings;
        let Some(mode) = settings.get(&keys::MODE) else { return true };
        let needed = matches!(mode.value, Value::Word("dsr" | "tun"));
        if needed && !settings.has(&keys::MARK) {
            self.report.add(mode.at, "check.mode", "dsr and tun need `mark`");
            return false;
        }
        true
    }

    /// A host behind the target is known by the mark that leads to it, so without one it would be
    /// without effect.
    fn has_mark_beside_backend(&mut self) -> bool {
        let settings = &self.layer.settings;
        let Some(backend) = settings.get(&keys::BACKEND) else { return true };
        if settings.has(&keys::MARK) || self.layer.incomplete {
            return true;
        }
        self.report.add(backend.at, "check.backend", "has no effect without `mark`");
        false
    }

    fn labels(&self, own: Option<&BTreeMap<String, String>>) -> Labels {
        let mut labels = self.layer.settings.labels(&keys::LABELS).cloned().unwrap_or_default();
        if let Some(group) = self.layer.settings.text(&keys::GROUP_NAME) {
            labels.entry("group".to_owned()).or_insert_with(|| group.to_owned());
        }
        labels.extend(own.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        shared(labels)
    }

    fn spec(&self, place: &Place, probe: &ProbeSpec, ways: &Ways) -> Result<CheckSpec, SpecError> {
        let probe = match &place.host {
            Host::Ip(_) => probe.clone(),
            Host::Name(name) => host::probe_of(name, place.port, probe),
        };
        CheckSpec::new(self.target(place, ways), probe, timing::read(&self.layer.settings))
    }

    fn target(&self, place: &Place, ways: &Ways) -> Target {
        let settings = &self.layer.settings;
        let mode = match settings.word(&keys::MODE) {
            Some("dsr") => Mode::Dsr,
            Some("tun") => Mode::Tun,
            _ => Mode::Plain,
        };
        let mark =
            settings.integer(&keys::MARK).and_then(|mark| u32::try_from(mark).ok()).and_then(Mark::new);
        let backend = match settings.get(&keys::BACKEND).map(|located| &located.value) {
            Some(Value::Address(ip)) => Some(*ip),
            _ => None,
        };
        let ip = match place.host {
            Host::Ip(ip) => ip,
            Host::Name(_) => host::PLACEHOLDER,
        };
        let target = match mark {
            Some(mark) => Target::marked(ip, place.port, mode, mark, backend),
            None => Target::plain(ip, place.port),
        };
        match place.host {
            Host::Ip(_) => ways.to(target),
            Host::Name(_) => ways.to_placeholder(target),
        }
    }

    /// A spec that the domain refuses: at the key that its field stands for.
    fn spec_error(&mut self, error: &SpecError, target_at: Span) {
        let (field, text) = (error.field(), error.to_string());
        let problem = text.strip_prefix(field).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text);
        if matches!(field, "ip" | "port") {
            self.report.add(target_at, format!("check.{}", keys::TARGET.name), problem);
            return;
        }
        let kind = self.layer.kind;
        let of_kind =
            kind.and_then(|kind| Some((kind.name, self.layer.settings.table(kind)?.by_name(field)?)));
        let of_tls = kind.and_then(|kind| {
            let tls = self.layer.settings.table(kind)?.table(&keys::tls::TLS)?;
            Some((kind.name, tls.by_name(field)?))
        });
        let of_check = self.layer.settings.by_name(field);
        let (at, key) = match (of_check, of_kind) {
            (None, None) if let Some((kind, located)) = of_tls => {
                (located.at, format!("check.{kind}.tls.{field}"))
            }
            (Some(located), _) => (located.at, format!("check.{field}")),
            (None, Some((kind, located))) => (located.at, format!("check.{kind}.{field}")),
            (None, None) => (self.header, format!("check.{field}")),
        };
        self.report.add(at, key, problem);
    }
}

/// Labels as checks share them.
pub(crate) fn shared(labels: BTreeMap<String, String>) -> Labels {
    labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The port of a kind of probe where none is named; 0 for ICMP.
pub(crate) fn default_port(kind: Option<&'static Key>, settings: &Settings) -> Option<u16> {
    let kind = kind?;
    let from_the_start = settings
        .table(kind)
        .is_some_and(|table| tls::is_asked_for(table) && table.flag(&keys::dialogue::STARTTLS) != Some(true));
    match kind.name {
        "http" => Some(if from_the_start { 443 } else { 80 }),
        "dns" => Some(53),
        "radius" => Some(1812),
        "redis" => Some(6379),
        "smtp" => Some(if from_the_start { 465 } else { 25 }),
        "postgresql" => Some(5432),
        "mysql" => Some(3306),
        "ldap" => Some(if from_the_start { 636 } else { 389 }),
        "icmp" => Some(0),
        _ => None,
    }
}
