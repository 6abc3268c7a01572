//! What an operator says of checks.

use anyhow::Result;
use clap::{ArgGroup, Args, ValueEnum};
use hc_api::{Filter, OverrideKind, OverrideRequest, PageOf, Selection, WithdrawRequest};
use hc_types::Health;

use crate::cli::label;

/// Which checks: some by id or name, or all that the options take. The options count once: checks
/// that begin later are not in it.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Which {
    /// Ids or names.
    pub(crate) checks: Vec<String>,
    /// All checks with this name, or with a name that begins so: `web*`.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// All checks with this label; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// All checks of this group: short for `--label group=GROUP`.
    #[arg(long)]
    pub(crate) group: Option<String>,
}

/// How long.
#[derive(Debug, Args)]
#[group(id = "length", required = true, multiple = false)]
pub(crate) struct HowLong {
    /// For so long from now on: `30m`, `2h`.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) for_: Option<String>,
    /// Until somebody ends it.
    #[arg(long)]
    pub(crate) forever: bool,
}

/// When.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("window").required(true).multiple(false)))]
pub(crate) struct When {
    /// For so long: `30m`, `2h`.
    #[arg(long = "for", value_name = "DURATION", group = "window")]
    pub(crate) for_: Option<String>,
    /// Until then: an instant such as 2026-11-29T04:00:00+01:00 (RFC 3339).
    #[arg(long, value_name = "INSTANT", group = "window")]
    pub(crate) until: Option<String>,
    /// In this part of each week: `Sun 02:00-04:00` or `Sat 22:00-Sun 04:00`. Needs `--zone`.
    #[arg(long, value_name = "PART", group = "window", requires = "zone")]
    pub(crate) weekly: Option<String>,
    /// Until somebody ends it.
    #[arg(long, group = "window")]
    pub(crate) forever: bool,
    /// Not before then.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) from: Option<String>,
    /// The time zone of `--weekly`, such as Europe/Berlin.
    #[arg(long, requires = "weekly")]
    pub(crate) zone: Option<String>,
}

/// Why.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why, for everybody who looks.
    #[arg(long)]
    pub(crate) reason: String,
}

/// What consumers are to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Forced {
    /// Healthy.
    Up,
    /// Unhealthy.
    Down,
}

impl Which {
    fn selection(self) -> Selection {
        let Self { checks, name, mut label, group } = self;
        label.extend(group.map(|group| ("group".to_owned(), group)));
        let is_filtered = name.is_some() || !label.is_empty();
        let mut filter = Filter::default();
        (filter.name, filter.labels) = (name, label);
        Selection { checks, filter: is_filtered.then(|| filter.to_query(&PageOf::default())) }
    }
}

/// Path and body of a request for an override.
fn request(kind: OverrideKind, which: Which, why: Why) -> OverrideRequest {
    OverrideRequest {
        kind,
        health: None,
        of: which.selection(),
        reason: why.reason,
        for_: None,
        from: None,
        until: None,
        weekly: None,
        zone: None,
        forever: false,
    }
}

/// The body of a request to force checks.
pub(crate) fn force(to: Forced, which: Which, length: HowLong, why: Why) -> Result<Vec<u8>> {
    let health = match to {
        Forced::Up => Health::Healthy,
        Forced::Down => Health::Unhealthy,
    };
    let HowLong { for_, forever } = length;
    let request = request(OverrideKind::Force, which, why);
    Ok(serde_json::to_vec(&OverrideRequest { health: Some(health), for_, forever, ..request })?)
}

/// The body of a request to pause checks.
pub(crate) fn pause(which: Which, length: HowLong, why: Why) -> Result<Vec<u8>> {
    let HowLong { for_, forever } = length;
    let request = request(OverrideKind::Pause, which, why);
    Ok(serde_json::to_vec(&OverrideRequest { for_, forever, ..request })?)
}

/// The body of a request to mute checks.
pub(crate) fn mute(which: Which, when: When, why: Why) -> Result<Vec<u8>> {
    let When { for_, until, weekly, forever, from, zone } = when;
    let request = request(OverrideKind::Mute, which, why);
    Ok(serde_json::to_vec(&OverrideRequest { for_, from, until, weekly, zone, forever, ..request })?)
}

/// The body of a request to end overrides of this kind.
pub(crate) fn withdraw(kind: OverrideKind, which: Which) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&WithdrawRequest { kind, of: which.selection() })?)
}
