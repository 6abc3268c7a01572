//! What operators say of checks, from a request to what stands.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_admin::{ActionError, Caller};
use hc_api::{CheckState, Filter, MAX_REASON, OverrideKind, OverrideRequest, Selection, WithdrawRequest};
use hc_pipeline::{Pipeline, parse_instant, parse_weekly};
use hc_types::{CheckId, Health, Operator, Override, Ruling, Subject, Weekly};
use hc_view::{CheckView, Cursor, View};
use tokio::task::yield_now;
use tracing::info;

use super::reader::Sources;
use super::users::Users;
use crate::snapshots::Flush;

/// Checks of one request that the log names.
const NAMED: usize = 100;

/// Rows that are read from the view at once.
const ROWS: usize = 500;

/// Sets overrides and ends them.
pub(crate) struct Overriding {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) view: Arc<View>,
    pub(crate) known: Arc<Sources>,
    pub(crate) users: Users,
    pub(crate) flush: Flush,
}

/// When an override stands.
struct Span {
    from: SystemTime,
    until: Option<SystemTime>,
    weekly: Option<Weekly>,
}

/// Checks that a request is of.
#[derive(Default)]
struct Chosen {
    /// What they are called, by what overrides know them by.
    titles: BTreeMap<Subject, String>,
    ids: BTreeSet<CheckId>,
    /// What is to be said of those that do not run.
    gone: Option<String>,
}

fn rejected(reason: impl Into<String>) -> ActionError {
    ActionError::Rejected(reason.into())
}

impl Overriding {
    pub(crate) fn is_paused(&self, id: CheckId) -> bool {
        let overrides = self.pipeline.overrides();
        overrides.of(id).any(|standing| standing.is_open && standing.order.ruling == Ruling::Pause)
    }

    /// Sets overrides; the answer says whether they would survive a restart.
    pub(crate) async fn set(&self, request: OverrideRequest, caller: Caller) -> Result<String, ActionError> {
        let asked = SystemTime::now();
        let ruling = ruling(&request)?;
        let reason = reason(&request.reason)?;
        let Span { from, until, weekly } = span(&request, asked)?;
        let Chosen { titles, mut ids, gone } = self.choose(&request.of).await?;
        let by = self.operator(caller);
        let orders: Vec<Override> = titles
            .into_iter()
            .map(|(subject, title)| Override {
                subject,
                title: title.into(),
                ruling,
                by: by.clone(),
                reason: reason.into(),
                asked,
                from,
                until,
                weekly: weekly.clone(),
            })
            .collect();
        let keys: HashSet<Subject> = orders
            .iter()
            .map(|order| &order.subject)
            .filter(|subject| matches!(subject, Subject::Key(_)))
            .cloned()
            .collect();
        let numbers =
            self.pipeline.overrule(orders.clone()).map_err(|refused| rejected(refused.to_string()))?;
        if !keys.is_empty() {
            // From now on a check that begins finds its override by itself.
            let others =
                self.each(|check| keys.contains(&self.known.subject(check)).then_some(check.id)).await;
            ids.extend(others);
        }
        self.pipeline.bind(&ids.iter().copied().collect::<Vec<_>>());
        self.pipeline.announce(&numbers);
        for order in orders.iter().take(NAMED) {
            audit(order, caller, "an override is set");
        }
        if orders.len() > NAMED {
            info!(checks = orders.len() - NAMED, %by, reason, "more checks of the same request are overridden");
        }
        let until = match (&weekly, until) {
            (Some(weekly), _) => format!(" each week {weekly}"),
            (None, Some(until)) => format!(" until {}", humantime::format_rfc3339_seconds(until)),
            (None, None) => " until somebody ends that".to_owned(),
        };
        let checks =
            if ids.len() == 1 { "1 check is".to_owned() } else { format!("{} checks are", ids.len()) };
        let gone = gone.map(|gone| format!("; but {gone}")).unwrap_or_default();
        Ok(format!("{checks} {ruling}{until}{gone}{}", self.written().await))
    }

    /// Ends overrides.
    pub(crate) async fn withdraw(
        &self,
        request: WithdrawRequest,
        caller: Caller,
    ) -> Result<String, ActionError> {
        let WithdrawRequest { kind, of } = request;
        let standings = self.pipeline.overrides();
        let named: HashSet<&str> = of.checks.iter().map(String::as_str).collect();
        let (ids, _) = self.chosen_ids(&of).await?;
        let is_meant = |standing: &&hc_pipeline::Standing| {
            let name = match &standing.order.subject {
                Subject::Name(name) => named.contains(&**name),
                Subject::Key(_) => false,
            };
            let is_gone = standing.checks.is_empty() && named.contains(&*standing.order.title);
            OverrideKind::from(&standing.order.ruling) == kind
                && (name || is_gone || standing.checks.iter().any(|id| ids.contains(id)))
        };
        let numbers: Vec<u64> =
            standings.all.iter().filter(is_meant).map(|standing| standing.number).collect();
        let by = self.operator(caller);
        let ended = self.pipeline.withdraw(&numbers, &by);
        if ended.is_empty() {
            return Err(ActionError::NotFound(format!("there is no such {}", kind.label())));
        }
        for order in ended.iter().take(NAMED) {
            audit(order, caller, "an override is ended");
        }
        let what = if ended.len() == 1 {
            "1 override is".to_owned()
        } else {
            format!("{} overrides are", ended.len())
        };
        Ok(format!("{what} ended{}", self.written().await))
    }

    fn operator(&self, caller: Caller) -> Operator {
        Operator { uid: caller.uid, user: self.users.name(caller.uid) }
    }

    /// What the answer says of the disk.
    async fn written(&self) -> String {
        match self.flush.flush().await {
            Ok(()) => String::new(),
            Err(error) => format!("; but this is not on the disk and would not survive a restart: {error}"),
        }
    }

    async fn choose(&self, of: &Selection) -> Result<Chosen, ActionError> {
        let (ids, gone) = self.chosen_ids(of).await?;
        let gone = match &*gone {
            [] => None,
            [one] => Some(format!("{one} does not run and is left as it was")),
            all => Some(format!("{} do not run and are left as they were", all.join(", "))),
        };
        let mut chosen = Chosen { gone, ..Chosen::default() };
        for id in ids {
            let Some(check) = self.view.check(id) else { continue };
            let name = self.known.directory().get(id).and_then(|metadata| metadata.name.clone());
            let title = name.map_or_else(|| id.to_string(), |name| name.to_string());
            chosen.titles.insert(self.known.subject(&check), title);
            chosen.ids.insert(id);
        }
        if chosen.ids.is_empty() {
            let gone = chosen.gone.map(|gone| format!(": {gone}")).unwrap_or_default();
            return Err(ActionError::NotFound(format!("no check is meant by that{gone}")));
        }
        Ok(chosen)
    }

    /// The checks that run and are meant, and those of them that are named, do not run, and of
    /// which an override stands. One that is named and of which nothing is known is an error.
    async fn chosen_ids(&self, of: &Selection) -> Result<(BTreeSet<CheckId>, Vec<String>), ActionError> {
        let (mut ids, mut gone) = (BTreeSet::new(), Vec::new());
        for check in &of.checks {
            let by_id = check.parse().ok().map(CheckId).filter(|id| self.view.check(*id).is_some());
            let id = by_id.or_else(|| self.known.id_of(check));
            let is_known = || self.pipeline.overrides().all.iter().any(|one| *one.order.title == **check);
            match id {
                Some(id) => _ = ids.insert(id),
                None if is_known() => gone.push(check.clone()),
                None => return Err(ActionError::NotFound(format!("no check with the id or name {check:?}"))),
            }
        }
        if let Some(query) = &of.filter {
            let (filter, _) = Filter::from_query(query).map_err(|error| rejected(error.to_string()))?;
            // These take every check, too.
            let mut bare = filter.clone();
            bare.name.take_if(|name| name == "*");
            bare.text.take_if(|text| text.is_empty());
            if bare == Filter::default() {
                return Err(rejected("a filter that takes every check is not taken: name the checks"));
            }
            ids.extend(self.each(|check| filter.takes(&self.state(check)).then_some(check.id)).await);
        }
        if of.checks.is_empty() && of.filter.is_none() {
            return Err(rejected("no check is named"));
        }
        Ok((ids, gone))
    }

    /// What the filter looks at.
    fn state(&self, check: &CheckView) -> CheckState {
        self.known.named(CheckState::new(check.id, &check.spec, &check.status), check.id)
    }

    /// Looks at all checks, with others in between.
    async fn each<T>(&self, look: impl Fn(&CheckView) -> Option<T>) -> Vec<T> {
        let (mut found, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = next {
            let page = self.view.page(from, ROWS);
            found.extend(page.checks.iter().filter_map(&look));
            next = page.next;
            yield_now().await;
        }
        found
    }
}

fn audit(order: &Override, caller: Caller, what: &'static str) {
    let Override { title, ruling, by, reason, until, weekly, .. } = order;
    let until = until.map(|until| humantime::format_rfc3339_seconds(until).to_string());
    let weekly = weekly.as_ref().map(ToString::to_string);
    let (kind, uid, pid) = (ruling.label(), caller.uid, caller.pid);
    info!(check = %title, kind, %ruling, %by, uid, pid, %reason, until, weekly, "{what}");
}

fn ruling(request: &OverrideRequest) -> Result<Ruling, ActionError> {
    match (request.kind, request.health) {
        (OverrideKind::Force, Some(health @ (Health::Healthy | Health::Unhealthy))) => {
            Ok(Ruling::Force(health))
        }
        (OverrideKind::Force, _) => Err(rejected("health: healthy or unhealthy")),
        (_, Some(_)) => Err(rejected("health: only for force")),
        (OverrideKind::Mute, None) => Ok(Ruling::Mute { kept: None }),
        (OverrideKind::Pause, None) => Ok(Ruling::Pause),
    }
}

fn reason(text: &str) -> Result<&str, ActionError> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_REASON || text.chars().any(char::is_control) {
        return Err(rejected(format!("reason: needed, on one line, of at most {MAX_REASON} bytes")));
    }
    Ok(text)
}

/// When the override stands: exactly one of the ways to say that.
fn span(request: &OverrideRequest, now: SystemTime) -> Result<Span, ActionError> {
    let OverrideRequest { kind, for_, from, until, weekly, zone, forever, .. } = request;
    let ways = [for_.is_some(), until.is_some(), weekly.is_some(), *forever];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        return Err(rejected("how long: one of for, until, weekly and forever"));
    }
    if *kind != OverrideKind::Mute && (from.is_some() || weekly.is_some()) {
        return Err(rejected("from and weekly: only for mute"));
    }
    if weekly.is_some() != zone.is_some() {
        return Err(rejected("weekly and zone: both or none"));
    }
    let instant = |key: &str, text: &str| {
        parse_instant(text).ok_or_else(|| {
            rejected(format!("{key}: {text:?} is no instant such as 2026-11-29T02:00:00+01:00"))
        })
    };
    let begin = from.as_ref().map(|text| instant("from", text)).transpose()?.unwrap_or(now);
    let end = match (for_, until) {
        (Some(text), _) => {
            let length = humantime::parse_duration(text)
                .ok()
                .filter(|length| *length >= Duration::from_secs(1))
                .ok_or_else(|| {
                    rejected(format!("for: {text:?} is no duration such as 2h30m, of 1s at least"))
                })?;
            Some(begin.checked_add(length).ok_or_else(|| rejected("for: too long"))?)
        }
        (None, Some(text)) => Some(instant("until", text)?),
        (None, None) => None,
    };
    let begin = begin.max(now);
    if [Some(begin), end].into_iter().flatten().any(|at| at > hc_api::latest_instant()) {
        return Err(rejected("until: after the year 9999"));
    }
    if end.is_some_and(|end| end <= begin) {
        return Err(rejected("until: over before it begins"));
    }
    let zone = zone.as_deref().unwrap_or_default();
    let weekly = weekly.as_ref().map(|text| parse_weekly(text, zone)).transpose();
    let weekly = weekly.map_err(|error| rejected(error.to_string()))?;
    Ok(Span { from: begin, until: end, weekly })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What a request with these fields says, or what is wrong with it.
    fn read(fields: &str) -> Result<(Ruling, u64, Option<u64>, Option<String>), String> {
        let text = format!(r#"{{"of":{{"checks":["web"]}},"reason":"r",{fields}}}"#);
        let request: OverrideRequest = serde_json::from_str(&text).unwrap();
        let words = |error| match error {
            ActionError::Rejected(text) => text,
            other => panic!("{other:?}"),
        };
        let ruling = ruling(&request).map_err(words)?;
        let Span { from, until, weekly } = span(&request, at(1_000_000_000)).map_err(words)?;
        let seconds =
            |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 1_000_000_000;
        Ok((ruling, seconds(from), until.map(seconds), weekly.map(|weekly| weekly.to_string())))
    }

    #[test]
    fn requests_say_what_and_how_long() {
        let mute = Ruling::Mute { kept: None };
        let down = Ruling::Force(Health::Unhealthy);
        for (fields, expected) in [
            (r#""kind":"force","health":"unhealthy","for":"2h""#, (down, 0, Some(7200), None)),
            (r#""kind":"pause","forever":true"#, (Ruling::Pause, 0, None, None)),
            (r#""kind":"mute","until":"2001-09-09T01:47:40Z""#, (mute, 0, Some(60), None)),
            (r#""kind":"mute","from":"2001-09-09T03:46:50+02:00","for":"1m""#, (mute, 10, Some(70), None)),
            (
                r#""kind":"mute","weekly":"Sun 02:00-04:00","zone":"Europe/Berlin""#,
                (mute, 0, None, Some("Sun 02:00-04:00 Europe/Berlin".to_owned())),
            ),
        ] {
            assert_eq!(read(fields), Ok(expected), "{fields}");
        }
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        for (fields, expected) in [
            (r#""kind":"force","for":"1h""#, "health: healthy or unhealthy"),
            (r#""kind":"force","health":"unknown","for":"1h""#, "health: healthy or unhealthy"),
            (r#""kind":"mute","health":"healthy","for":"1h""#, "health: only for force"),
            (r#""kind":"pause""#, "how long: one of for, until, weekly and forever"),
            (
                r#""kind":"pause","for":"1h","forever":true"#,
                "how long: one of for, until, weekly and forever",
            ),
            (r#""kind":"pause","for":"1x""#, r#"for: "1x" is no duration such as 2h30m, of 1s at least"#),
            (r#""kind":"pause","for":"0s""#, r#"for: "0s" is no duration such as 2h30m, of 1s at least"#),
            (r#""kind":"pause","for":"9999999999999y""#, "for"),
            (
                r#""kind":"mute","until":"tomorrow""#,
                r#"until: "tomorrow" is no instant such as 2026-11-29T02:00:00+01:00"#,
            ),
            (r#""kind":"mute","until":"2001-09-09T01:46:40Z""#, "until: over before it begins"),
            (
                r#""kind":"mute","from":"2002-01-01T00:00:00Z","until":"2001-12-01T00:00:00Z""#,
                "until: over before it begins",
            ),
            (
                r#""kind":"force","health":"healthy","from":"2002-01-01T00:00:00Z","for":"1h""#,
                "from and weekly: only for mute",
            ),
            (r#""kind":"mute","weekly":"Sun 02:00-04:00""#, "weekly and zone: both or none"),
            (r#""kind":"mute","weekly":"Sun 02:00-04:00","zone":"Mars""#, r#""Mars" is no time zone"#),
        ] {
            let error = read(fields).unwrap_err();
            assert!(error.starts_with(expected), "{fields}: {error}");
        }
        for text in ["", "  ", "two\nlines", &"x".repeat(MAX_REASON + 1)] {
            assert!(reason(text).is_err(), "{text:?}");
        }
    }
}
