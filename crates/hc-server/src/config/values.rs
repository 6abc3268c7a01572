//! Values that TOML has no type for. Errors made here carry line and key, since the parser knows
//! where it is.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error as _};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The most notifications in a batch: a batch of them, each with a long message, stays far below
/// the length of a few lines.
const MAX_BATCH: usize = 10_000;

pub(super) fn octal_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(D::Error::custom(format_args!("{text:?} is not a file mode such as \"0660\""))),
    }
}

pub(super) fn above_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    if duration.is_zero() { Err(D::Error::custom("must be above 0")) } else { Ok(duration) }
}

pub(super) fn batch_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroUsize, D::Error> {
    let size = NonZeroUsize::deserialize(deserializer)?;
    if size.get() > MAX_BATCH {
        return Err(D::Error::custom(format_args!("must be at most {MAX_BATCH}")));
    }
    Ok(size)
}

/// A size such as `"64MiB"`, at least 1 MiB.
pub(super) fn probe_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let not_a_size = || D::Error::custom(format_args!("{text:?} is not a size such as \"64MiB\""));
    let size: ByteSize = text.parse().map_err(|_| not_a_size())?;
    if size < ByteSize::mib(1) {
        return Err(D::Error::custom("must be at least \"1MiB\""));
    }
    usize::try_from(size.as_u64()).map_err(|_| not_a_size())
}

/// A part of a whole that is neither nothing nor all of it.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err(D::Error::custom("must be above 0 and below 1")) }
}

/// A part of a whole, or nothing, or all of it.
pub(super) fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(D::Error::custom("must be from 0 to 1")) }
}

pub(super) fn not_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() { Err(D::Error::custom("must not be empty")) } else { Ok(list) }
}

pub(super) fn prefix_v4<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    prefix(deserializer, 32)
}

pub(super) fn prefix_v6<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    prefix(deserializer, 128)
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D, longest: u8) -> Result<u8, D::Error> {
    let prefix = u8::deserialize(deserializer)?;
    if prefix <= longest {
        Ok(prefix)
    } else {
        Err(D::Error::custom(format_args!("must be at most {longest}")))
    }
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    log_level(&text).map(|_| text).map_err(D::Error::custom)
}

/// What a level of the log lets pass.
pub(crate) fn log_level(text: &str) -> Result<Targets, String> {
    // A bare word that is no level would be taken for a part of the program: every part must say
    // its level.
    let levels = text.split(',').map(|part| part.rsplit_once('=').map_or(part, |(_, level)| level));
    // No word at all would be taken for "error", and hide warnings.
    let is_wrong = |level: &&str| level.is_empty() || level.parse::<LevelFilter>().is_err();
    match levels.map(str::trim).find(is_wrong) {
        None => text.parse().map_err(|_| format!("{text:?} is not a log level")),
        Some(word) => Err(format!("{word:?} is not a log level: error, warn, info, debug, trace or off")),
    }
}

pub(super) fn some_above_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    above_zero(deserializer).map(Some)
}

pub(super) fn some_batch_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<NonZeroUsize>, D::Error> {
    batch_size(deserializer).map(Some)
}

pub(super) fn some_octal_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    octal_mode(deserializer).map(Some)
}

/// What is written as a string.
pub(super) fn some_parsed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}
