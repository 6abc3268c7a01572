//! The configuration of hc-server.

use std::path::Path;

use hc_server::Config;

/// Any file and environment: an error has words, and settings that are taken are within their
/// bounds. Lines that begin with `HC_SERVER_` are variables, the others are the file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (variables, file): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with(hc_server::config::PREFIX));
    let variables = variables
        .into_iter()
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(variable, text)| (variable.to_owned(), text.to_owned()));
    match Config::parse(Path::new("hc-server.toml"), &file.join("\n"), variables) {
        Ok(config) => {
            assert!(config.socket.mode <= 0o777);
            assert!(config.notify.batch_size.get() <= 10_000);
            assert!(!config.notify.interval.is_zero() && !config.state.interval.is_zero());
            assert!(!config.log.level.trim().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
