//! Which checks somebody wants to see.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr as _;

use hc_types::Health;
use serde::{Deserialize, Serialize};

use crate::CheckState;

/// The most checks in one page.
pub const MAX_PAGE: usize = 1000;

/// The checks in one page where nothing else is asked for.
pub const DEFAULT_PAGE: usize = 100;

/// Which checks; everything that is given must hold. As a query:
/// `health=unhealthy&label.group=web&limit=50`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// `health`: one of these; none means any. Given several times.
    pub health: Vec<Health>,
    /// `type`: the kind of probe; none means any. Given several times.
    pub kinds: Vec<String>,
    /// `name`: the whole name, or its beginning with `*` behind it.
    pub name: Option<String>,
    /// `label.KEY`: the value of a label.
    pub labels: Vec<(String, String)>,
    /// `held`: whether the health is held.
    pub held: Option<bool>,
    /// `q`: occurs in name, id, target or message, in any case of letters.
    pub text: Option<String>,
}

/// Which part of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// `after`: behind the check with this id.
    pub after: Option<u64>,
    /// `limit`: at most so many, up to [`MAX_PAGE`].
    pub limit: NonZeroUsize,
}

impl Default for PageOf {
    fn default() -> Self {
        Self { after: None, limit: const { NonZeroUsize::new(DEFAULT_PAGE).expect("not 0") } }
    }
}

/// A part of the checks, in the order of their ids as numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Page {
    /// The checks.
    pub checks: Vec<CheckState>,
    /// What to give as `after` for the next part. Absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Page {
    /// These checks; more follow behind `next`.
    #[must_use]
    pub fn new(checks: Vec<CheckState>, next: Option<u64>) -> Self {
        Self { checks, next: next.map(|next| next.to_string()) }
    }
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for FilterError {}

const KEYS: &str = "health, type, name, label.KEY, held, q, after and limit";

impl Filter {
    /// Reads the query of a URL (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// [`FilterError`] names the first key that is not known or has a value that makes no sense.
    pub fn from_query(query: &str) -> Result<(Self, PageOf), FilterError> {
        let (mut filter, mut page) = (Self::default(), PageOf::default());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |problem: String| FilterError { key: key.to_string(), problem };
            match &*key {
                "health" => {
                    filter.health.push(health(&value).ok_or_else(|| {
                        wrong(format!("{value:?} is none of healthy, unhealthy and unknown"))
                    })?)
                }
                "type" => filter.kinds.push(value.into_owned()),
                "name" => filter.name = Some(value.into_owned()),
                "held" => {
                    filter.held = Some(
                        bool::from_str(&value)
                            .map_err(|_| wrong(format!("{value:?} is neither true nor false")))?,
                    );
                }
                "q" => filter.text = Some(value.into_owned()),
                "after" => {
                    page.after =
                        Some(value.parse().map_err(|_| wrong(format!("{value:?} is no id of a check")))?);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit: &NonZeroUsize| limit.get() <= MAX_PAGE);
                    page.limit =
                        limit.ok_or_else(|| wrong(format!("{value:?} is not from 1 to {MAX_PAGE}")))?;
                }
                other => match other.strip_prefix("label.").filter(|label| !label.is_empty()) {
                    Some(label) => filter.labels.push((label.to_owned(), value.into_owned())),
                    None => return Err(wrong(format!("not known; there are {KEYS}"))),
                },
            }
        }
        Ok((filter, page))
    }

    /// The query that [`from_query`](Self::from_query) reads.
    #[must_use]
    pub fn to_query(&self, page: &PageOf) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for health in &self.health {
            query.append_pair("health", &health.to_string());
        }
        for kind in &self.kinds {
            query.append_pair("type", kind);
        }
        if let Some(name) = &self.name {
            query.append_pair("name", name);
        }
        for (key, value) in &self.labels {
            query.append_pair(&format!("label.{key}"), value);
        }
        if let Some(held) = self.held {
            query.append_pair("held", if held { "true" } else { "false" });
        }
        if let Some(text) = &self.text {
            query.append_pair("q", text);
        }
        if let Some(after) = page.after {
            query.append_pair("after", &after.to_string());
        }
        query.append_pair("limit", &page.limit.to_string());
        query.finish()
    }

    /// Whether `check` is one of those.
    #[must_use]
    pub fn takes(&self, check: &CheckState) -> bool {
        let has_name = self.name.as_ref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => check.title().starts_with(beginning),
            None => check.title() == wanted,
        });
        let has_labels = self.labels.iter().all(|(key, value)| check.labels.get(key) == Some(value));
        self.may_take(check.health, &check.kind, check.held.is_some())
            && has_name
            && has_labels
            && self.has_text(check)
    }

    /// Whether a check with this health and kind, held or not, can be one of those: what can be
    /// told without its words.
    #[must_use]
    pub fn may_take(&self, health: Health, kind: &str, is_held: bool) -> bool {
        (self.health.is_empty() || self.health.contains(&health))
            && (self.kinds.is_empty() || self.kinds.iter().any(|known| known == kind))
            && self.held.is_none_or(|held| held == is_held)
    }

    fn has_text(&self, check: &CheckState) -> bool {
        let Some(text) = &self.text else { return true };
        let text = text.to_lowercase();
        [check.title(), &check.id, &check.target, &check.message]
            .iter()
            .any(|field| field.to_lowercase().contains(&text))
    }
}

fn health(word: &str) -> Option<Health> {
    [Health::Healthy, Health::Unhealthy, Health::Unknown]
        .into_iter()
        .find(|health| health.to_string() == word)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{CheckId, CheckSpec, ProbeSpec, Status, Target, Timing};

    use super::*;

    fn check() -> CheckState {
        let second = Duration::from_secs(1);
        let spec = CheckSpec::new(
            Target::plain([192, 0, 2, 1].into(), 0),
            ProbeSpec::Icmp,
            Timing::every(second).timeout(second),
        );
        let status = Status { health: Health::Healthy, ..Status::NEW };
        CheckState::new(CheckId(7), &spec.unwrap(), &status)
            .with_name(Some("Web-1"))
            .with_labels([("group", "web")])
    }

    #[test]
    fn queries_read_back() {
        let query = "health=healthy&health=unknown&type=tcp&name=web*&label.group=a%26b&held=false&q=x+y&after=18446744073709551615&limit=5";
        let (filter, page) = Filter::from_query(query).unwrap();
        assert_eq!(filter.to_query(&page), query);
        assert_eq!(filter.labels, [("group".to_owned(), "a&b".to_owned())]);
        let (filter, page) = Filter::from_query("").unwrap();
        assert_eq!((filter, page), (Filter::default(), PageOf::default()));
    }

    #[track_caller]
    fn check_takes(query: &str, expected: bool) {
        assert_eq!(Filter::from_query(query).unwrap().0.takes(&check()), expected, "{query}");
    }

    #[test]
    fn everything_that_is_given_must_hold() {
        for query in [
            "",
            "health=healthy",
            "health=unhealthy&health=healthy",
            "type=icmp",
            "name=Web-1",
            "name=We*",
            "name=*",
        ] {
            check_takes(query, true);
        }
        for query in [
            "label.group=web",
            "held=false",
            "q=192.0.2",
            "q=wEB",
            "type=icmp&label.group=web&health=healthy",
        ] {
            check_takes(query, true);
        }
        for query in [
            "health=unhealthy",
            "type=tcp",
            "name=Web",
            "name=eb*",
            "label.group=db",
            "label.other=web",
            "held=true",
            "q=db",
        ] {
            check_takes(query, false);
            check_takes(&format!("health=healthy&health=unhealthy&{query}"), query == "health=unhealthy");
        }
    }

    #[test]
    fn bad_queries_name_the_key() {
        for (query, text) in [
            ("health=up", "health: \"up\" is none of healthy, unhealthy and unknown"),
            ("limit=0", "limit: \"0\" is not from 1 to 1000"),
            ("limit=1001", "limit: \"1001\" is not from 1 to 1000"),
            ("after=x", "after: \"x\" is no id of a check"),
            ("held=yes", "held: \"yes\" is neither true nor false"),
            (
                "label.=x",
                "label.: not known; there are health, type, name, label.KEY, held, q, after and limit",
            ),
            (
                "helth=x",
                "helth: not known; there are health, type, name, label.KEY, held, q, after and limit",
            ),
        ] {
            assert_eq!(Filter::from_query(query).unwrap_err().to_string(), text);
        }
    }
}
