//! Checks in columns: all of them in a few answers, for readers that show every check at once.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::time::{SystemTime, UNIX_EPOCH};

use hc_types::{CheckId, CheckSpec, Failure, Outcome, Status};
use serde::{Deserialize, Serialize};

use crate::FilterError;
use crate::state::target_text;

/// The most checks in one [`Rows`].
pub const MAX_ROWS: usize = 10_000;

/// The checks in one [`Rows`] where nothing else is asked for.
pub const DEFAULT_ROWS: usize = 5_000;

/// The most ids in one query of [`RowsOf`].
pub const MAX_IDS: usize = 500;

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsOf {
    /// `id`: these checks and no others, where one is given. Those that do not run are left out of
    /// the answer.
    pub ids: Vec<u64>,
    /// `after`: behind this place.
    pub after: Option<u64>,
    /// `limit`: at most so many, up to [`MAX_ROWS`].
    pub limit: NonZeroUsize,
}

impl RowsOf {
    /// Reads the query of a URL (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// [`FilterError`] names the first key that is not known or has a value that makes no sense.
    pub fn from_query(query: &str) -> Result<Self, FilterError> {
        let limit = const { NonZeroUsize::new(DEFAULT_ROWS).expect("not 0") };
        let mut of = Self { ids: Vec::new(), after: None, limit };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |problem: String| FilterError { key: key.to_string(), problem };
            let number = || value.parse().map_err(|_| wrong(format!("{value:?} is no number")));
            match &*key {
                "id" if of.ids.len() == MAX_IDS => {
                    return Err(wrong(format!("more than {MAX_IDS} of them")));
                }
                "id" => of.ids.push(number()?),
                "after" => of.after = Some(number()?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit: &NonZeroUsize| limit.get() <= MAX_ROWS);
                    of.limit =
                        limit.ok_or_else(|| wrong(format!("{value:?} is not from 1 to {MAX_ROWS}")))?;
                }
                _ => return Err(wrong("not known; there are id, after and limit".to_owned())),
            }
        }
        Ok(of)
    }
}

/// Checks in columns, in the order in which the checker holds them. Every column has one entry for
/// each check.
///
/// Texts that many checks share are in `words`, and a column has their index; the first word is the
/// empty one, which means none. Instants are milliseconds since 1970 in UTC, and absent ones are
/// null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Rows {
    /// Where the journal of changes ended before the first of these rows was read:
    /// `EPOCH-SEQUENCE`. Events behind it bring the rows up to date.
    pub position: String,
    /// What to give as `after` for the next rows. Absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Texts of these rows.
    pub words: Vec<String>,
    /// Labels of these rows.
    pub label_sets: Vec<BTreeMap<String, String>>,
    /// Ids, strings of digits.
    pub id: Vec<String>,
    /// Names; empty for a check without one.
    pub name: Vec<String>,
    /// Where probes go.
    pub target: Vec<String>,
    /// Index into `label_sets`.
    pub labels: Vec<u32>,
    /// Word: what kind of probe.
    pub kind: Vec<u32>,
    /// Word: `healthy`, `unhealthy` or `unknown`.
    pub health: Vec<u32>,
    /// When the health last changed.
    pub since_ms: Vec<Option<u64>>,
    /// Start of the latest probe that ended in a verdict.
    pub last_check_ms: Vec<Option<u64>>,
    /// How long that probe took, in microseconds.
    pub duration_us: Vec<u64>,
    /// The average of how long probes took, in which the latest weigh most, in microseconds. 0:
    /// none has ended.
    pub mean_us: Vec<u32>,
    /// How long the longest took, in microseconds.
    pub max_us: Vec<u32>,
    /// Word: the latest result in words.
    pub message: Vec<u32>,
    /// Word: why the latest probe that failed did so. None: none has failed since the check began.
    pub failure: Vec<u32>,
    /// When that probe began.
    pub failed_ms: Vec<Option<u64>>,
    /// Word: why the health is held because of the checker's own machine. None: it is not.
    pub held: Vec<u32>,
    /// Word: the health that consumers get, where it is another one.
    pub reported: Vec<u32>,
    /// Word: the stage that is the reason, such as `guard`, `override` or `dependency`.
    pub reported_by: Vec<u32>,
    /// Word: the overrides that stand now, as `forced unhealthy`, `muted`, `paused`, several with
    /// commas.
    pub overrides: Vec<u32>,
    /// Word: what somebody should look at although the check is healthy. None: nothing. Missing from
    /// older servers.
    #[serde(default)]
    pub warning: Vec<u32>,
}

/// What a row has beyond spec and status.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowOf<'a> {
    /// The name, of a check that has one.
    pub name: Option<&'a str>,
    /// The labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// When the health last changed.
    pub since: Option<SystemTime>,
    /// The average of how long probes took, in microseconds.
    pub mean_us: u32,
    /// The longest.
    pub max_us: u32,
    /// The latest probe that failed: when it began, and why it failed.
    pub failed: Option<(SystemTime, &'a Failure)>,
    /// What consumers get instead of the health, and because of what.
    pub reported: Option<(&'a str, &'a str)>,
    /// The overrides that stand now, in words.
    pub overrides: &'a str,
}

/// Makes [`Rows`].
#[derive(Debug)]
pub struct RowsWriter {
    rows: Rows,
    words: HashMap<String, u32>,
    label_sets: HashMap<Vec<(String, String)>, u32>,
}

impl RowsWriter {
    /// Rows that are read behind `position` of the journal.
    #[must_use]
    pub fn new(position: crate::Position) -> Self {
        let rows = Rows { position: position.to_string(), ..Rows::default() };
        let mut writer = Self { rows, words: HashMap::new(), label_sets: HashMap::new() };
        writer.word("");
        writer
    }

    /// Adds a check.
    pub fn push(&mut self, id: CheckId, spec: &CheckSpec, status: &Status, more: &RowOf<'_>) {
        let labels = self.labels(more.labels);
        let kind = self.word(spec.probe().type_name());
        let health = self.word(&status.health.to_string());
        let outcome_text = || status.outcome.as_ref().map(|outcome| spec.text(outcome));
        let message = status.note.as_deref().map(str::to_owned).or_else(outcome_text).unwrap_or_default();
        let message = self.word(&message);
        let failure = more.failed.map(|(_, failure)| spec.text(&Outcome::Fail(failure.clone())));
        let failure = self.word(&failure.unwrap_or_default());
        let held = status.held.as_deref().map(|held| held.fault.to_string()).unwrap_or_default();
        let held = self.word(&held);
        let warning = self.word(status.warning().unwrap_or_default());
        let (reported, by) = more.reported.unwrap_or_default();
        let (reported, by, overrides) = (self.word(reported), self.word(by), self.word(more.overrides));
        let rows = &mut self.rows;
        rows.id.push(id.0.to_string());
        rows.name.push(more.name.unwrap_or_default().to_owned());
        rows.target.push(target_text(spec));
        rows.labels.push(labels);
        rows.kind.push(kind);
        rows.health.push(health);
        rows.since_ms.push(more.since.map(millis));
        rows.last_check_ms.push(status.last_check.map(millis));
        rows.duration_us.push(u64::try_from(status.duration.as_micros()).unwrap_or(u64::MAX));
        rows.mean_us.push(more.mean_us);
        rows.max_us.push(more.max_us);
        rows.message.push(message);
        rows.failure.push(failure);
        rows.failed_ms.push(more.failed.map(|(at, _)| millis(at)));
        rows.held.push(held);
        rows.reported.push(reported);
        rows.reported_by.push(by);
        rows.overrides.push(overrides);
        rows.warning.push(warning);
    }

    /// How many were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.id.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.id.is_empty()
    }

    /// The rows; more follow behind `next`.
    #[must_use]
    pub fn end(mut self, next: Option<u64>) -> Rows {
        self.rows.next = next.map(|next| next.to_string());
        self.rows
    }

    fn word(&mut self, word: &str) -> u32 {
        if let Some(index) = self.words.get(word) {
            return *index;
        }
        let index = u32::try_from(self.rows.words.len()).unwrap_or(u32::MAX);
        self.rows.words.push(word.to_owned());
        self.words.insert(word.to_owned(), index);
        index
    }

    fn labels(&mut self, labels: &[(&str, &str)]) -> u32 {
        let set = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let next = u32::try_from(self.rows.label_sets.len()).unwrap_or(u32::MAX);
        let Self { rows, label_sets, .. } = self;
        *label_sets.entry(set).or_insert_with_key(|set| {
            rows.label_sets.push(set.iter().cloned().collect());
            next
        })
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{Health, Held, LocalFault, Pass, ProbeSpec, Target, TcpProbe, Timing};
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_share_their_words() {
        let second = Duration::from_secs(1);
        let target = |last| Target::plain([192, 0, 2, last].into(), 80);
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        let spec = |last| {
            CheckSpec::new(target(last), probe.clone(), Timing::every(second).timeout(second)).unwrap()
        };
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut writer = RowsWriter::new(crate::Position { epoch: 7, sequence: 9 });
        let down = Status {
            health: Health::Unhealthy,
            last_check: Some(at),
            duration: Duration::from_micros(1500),
            outcome: Some(Outcome::Fail(Failure::Refused)),
            held: Some(Box::new(Held { fault: LocalFault::Ports, since: at })),
            ..Status::NEW
        };
        let more = RowOf {
            name: Some("web/1"),
            labels: &[("group", "web")],
            since: Some(at),
            mean_us: 900,
            max_us: 1500,
            failed: Some((at, &Failure::Refused)),
            reported: Some(("healthy", "override")),
            overrides: "muted",
        };
        writer.push(CheckId(u64::MAX), &spec(1), &down, &more);
        writer.push(
            CheckId(2),
            &spec(2),
            &Status::NEW,
            &RowOf { labels: &[("group", "web")], ..RowOf::default() },
        );
        let pass = Pass::Plain.warned(Some("ends soon".into()));
        let warned = Status { health: Health::Healthy, outcome: Some(Outcome::Pass(pass)), ..Status::NEW };
        writer.push(CheckId(3), &spec(3), &warned, &RowOf::default());
        let said = spec(3).text(warned.outcome.as_ref().unwrap());
        let refused = spec(1).text(&Outcome::Fail(Failure::Refused));
        let ports = LocalFault::Ports.to_string();
        let rows = writer.end(Some(2));
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(
            json,
            json!({
                "position": "7-9", "next": "2",
                "words": ["", "tcp", "unhealthy", refused, ports, "healthy", "override", "muted", "unknown", said, "ends soon"],
                "label_sets": [{"group": "web"}, {}],
                "id": ["18446744073709551615", "2", "3"], "name": ["web/1", "", ""],
                "target": ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"],
                "labels": [0, 0, 1], "kind": [1, 1, 1], "health": [2, 8, 5], "since_ms": [1_700_000_000_123u64, null, null],
                "last_check_ms": [1_700_000_000_123u64, null, null], "duration_us": [1500, 0, 0], "mean_us": [900, 0, 0],
                "max_us": [1500, 0, 0], "message": [3, 0, 9], "failure": [3, 0, 0], "failed_ms": [1_700_000_000_123u64, null, null],
                "held": [4, 0, 0], "reported": [5, 0, 0], "reported_by": [6, 0, 0], "overrides": [7, 0, 0], "warning": [0, 0, 10],
            })
        );
        assert_eq!(serde_json::from_value::<Rows>(json).unwrap(), rows);
    }

    #[test]
    fn a_query_is_read() {
        let of = |query: &str| RowsOf::from_query(query);
        assert_eq!(of("").unwrap().limit.get(), DEFAULT_ROWS);
        let read = of("id=1&id=18446744073709551615&after=5&limit=10000").unwrap();
        assert_eq!((read.ids, read.after, read.limit.get()), (vec![1, u64::MAX], Some(5), MAX_ROWS));
        for (query, problem) in [
            ("limit=0", "limit: \"0\" is not from 1 to 10000"),
            ("limit=10001", "limit: \"10001\" is not from 1 to 10000"),
            ("id=x", "id: \"x\" is no number"),
            ("q=x", "q: not known; there are id, after and limit"),
        ] {
            assert_eq!(of(query).unwrap_err().to_string(), problem);
        }
        assert!(of(&"id=1&".repeat(MAX_IDS)).is_ok());
        assert!(of(&"id=1&".repeat(MAX_IDS + 1)).is_err());
    }
}
