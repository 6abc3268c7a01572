//! How often a check probes, and how many results change its health: from the file, and into a
//! file.

use std::time::Duration;

use hc_types::{AdaptiveTimeout, Jitter, Timing};
use toml::{Table, Value as TomlValue};

use crate::form::{Key, Settings, Value};
use crate::keys;

/// Reads the keys of a check.
pub(crate) fn read(settings: &Settings) -> Timing {
    let number =
        |key: &Key, less: i64| settings.integer(key).and_then(|number| u32::try_from(number - less).ok());
    let mut timing = Timing::default();
    timing.interval = settings.duration(&keys::INTERVAL).unwrap_or(timing.interval);
    timing.timeout = settings.duration(&keys::TIMEOUT).unwrap_or(timing.timeout);
    timing.retries = number(&keys::RETRIES, 0).or_else(|| number(&keys::FALL, 1)).unwrap_or(timing.retries);
    timing.rise = number(&keys::RISE, 0).unwrap_or(timing.rise);
    timing.fast_interval = settings.duration(&keys::FAST_INTERVAL);
    timing.down_interval = settings.duration(&keys::DOWN_INTERVAL);
    if let Some(Value::Jitter(jitter)) = settings.get(&keys::JITTER).map(|located| &located.value) {
        timing.jitter = *jitter;
    }
    timing.start_delay = settings.duration(&keys::START_DELAY).unwrap_or(timing.start_delay);
    timing.adaptive_timeout = match settings.word(&keys::ADAPTIVE_TIMEOUT) {
        Some("suggest") => AdaptiveTimeout::Suggest,
        Some("apply") => AdaptiveTimeout::Apply,
        _ => AdaptiveTimeout::Off,
    };
    timing
}

/// Writes the keys of a check; beyond those of Seesaw only what is not the default.
pub(crate) fn put(table: &mut Table, timing: &Timing) {
    let mut put = |key: &Key, value: TomlValue| drop(table.insert(key.name.to_owned(), value));
    let text = |duration: Duration| TomlValue::from(humantime::format_duration(duration).to_string());
    put(&keys::INTERVAL, text(timing.interval));
    put(&keys::TIMEOUT, text(timing.timeout));
    put(&keys::RETRIES, i64::from(timing.retries).into());
    if timing.rise != 1 {
        put(&keys::RISE, i64::from(timing.rise).into());
    }
    if let Some(interval) = timing.fast_interval {
        put(&keys::FAST_INTERVAL, text(interval));
    }
    if let Some(interval) = timing.down_interval {
        put(&keys::DOWN_INTERVAL, text(interval));
    }
    match timing.jitter {
        Jitter::None => {}
        Jitter::Percent(share) => put(&keys::JITTER, format!("{share}%").into()),
        Jitter::Time(time) => put(&keys::JITTER, text(time)),
    }
    if !timing.start_delay.is_zero() {
        put(&keys::START_DELAY, text(timing.start_delay));
    }
    if timing.adaptive_timeout != AdaptiveTimeout::Off {
        put(&keys::ADAPTIVE_TIMEOUT, timing.adaptive_timeout.label().into());
    }
}
