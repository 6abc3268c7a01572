//! The log: to standard error, as text or as JSON.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// When the level does not parse (a [`Config`](crate::Config) that was read has been checked for that), or when the
/// process logs already.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let LogConfig { format, level } = config;
    let filter: Targets = level.parse()?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}
