//! How often a check probes, and how many results change its health.

use std::time::Duration;

use hc_types::{MAX_PERIOD, MIN_INTERVAL};

use crate::form::{Form, Key, Syntax, Value};
use crate::words;

pub(crate) static INTERVAL: Key = Key {
    name: "interval",
    form: Form::Duration(MIN_INTERVAL, MAX_PERIOD),
    default: "\"10s\"",
    doc: "Time between the starts of two probes.",
};
pub(crate) static TIMEOUT: Key = Key {
    name: "timeout",
    form: Form::Duration(Duration::from_nanos(1), MAX_PERIOD),
    default: "\"5s\"",
    doc: "Deadline of one whole probe.",
};
pub(crate) static RETRIES: Key = Key {
    name: "retries",
    form: Form::Integer(0, u32::MAX as i64),
    default: "0",
    doc: "Consecutive failures that a healthy check survives: `fall` minus one.",
};
pub(crate) static FALL: Key = Key {
    name: "fall",
    form: Form::Integer(1, 1 << 32),
    default: "1",
    doc: "Consecutive failures that make a healthy check unhealthy. The other way to write `retries`; not together with it.",
};
pub(crate) static RISE: Key = Key {
    name: "rise",
    form: Form::Integer(1, u32::MAX as i64),
    default: "1",
    doc: "Consecutive passes that make an unhealthy check healthy. The first result of a check decides at once, whatever `rise` and \
          `fall` are.",
};
pub(crate) static FAST_INTERVAL: Key = Key {
    name: "fast_interval",
    form: Form::Duration(MIN_INTERVAL, MAX_PERIOD),
    default: "`interval`",
    doc: "The interval while the health may be about to change: a healthy check has failed, or an unhealthy one passed. At most \
          `interval`.",
};
pub(crate) static DOWN_INTERVAL: Key = Key {
    name: "down_interval",
    form: Form::Duration(MIN_INTERVAL, MAX_PERIOD),
    default: "`interval`",
    doc: "The interval of an unhealthy check whose probes fail.",
};
pub(crate) static JITTER: Key = Key {
    name: "jitter",
    form: Form::Text(&JITTER_SYNTAX),
    default: "none",
    doc: "How much later than planned a probe may start, chosen for each probe: a share of the interval, up to `\"50%\"`, or a \
          duration, up to half of the shortest interval.",
};
pub(crate) static START_DELAY: Key = Key {
    name: "start_delay",
    form: Form::Duration(Duration::ZERO, MAX_PERIOD),
    default: "\"0s\"",
    doc: "How long after the check begins its first probe starts, at the earliest. Until then it is unknown, and nothing is reported of \
          it. A check whose health is remembered, as after a restart, does not wait.",
};
pub(crate) static ADAPTIVE_TIMEOUT: Key = Key {
    name: "adaptive_timeout",
    form: Form::Word(&["off", "suggest", "apply"]),
    default: "\"off\"",
    doc: "Whether a shorter timeout follows from how long probes take: three times the longest of the last 64 to 128 passes, at least 300ms, \
          at most `timeout`. With \"suggest\" it is only shown. With \"apply\" a probe has it while the check is healthy and its latest \
          probe passed; after a failure each probe has `timeout`, until one passes. So only the first failure of a row can come from it, \
          and \"apply\" needs `retries` of 1 or more.",
};

static JITTER_SYNTAX: Syntax = Syntax {
    noun: "a share such as \"10%\", or a duration",
    pattern: Some("^[0-9]"),
    integer: None,
    read: |text| words::jitter(text).map(Value::Jitter),
};
