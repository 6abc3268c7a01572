//! Settings from the environment: `HC_SERVER_NOTIFY_BATCH_SIZE=50` is `batch_size` of `[notify]`.

use super::{Config, ConfigError};

/// What a variable begins with to be a setting. The word after it is the section, the rest the key.
pub const PREFIX: &str = "HC_SERVER_";

/// One setting from the environment.
pub(super) struct Override {
    variable: String,
    section: String,
    key: String,
    text: String,
}

pub(super) fn overrides(variables: impl Iterator<Item = (String, String)>) -> Vec<Override> {
    let mut overrides: Vec<Override> = variables
        .filter_map(|(variable, text)| {
            let path = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
            // No section has an underscore in its name.
            let (section, key) = path.split_once('_').unwrap_or((&path, ""));
            let (section, key) = (section.to_owned(), key.to_owned());
            Some(Override { variable, section, key, text })
        })
        .collect();
    overrides.sort_by(|a, b| a.variable.cmp(&b.variable));
    overrides
}

/// Puts the overrides over the file, one by one, so that an error is that of the variable just
/// applied.
pub(super) fn apply(mut table: toml::Table, overrides: Vec<Override>) -> Result<Config, ConfigError> {
    let mut config = Err(String::new());
    for Override { variable, section, key, text } in overrides {
        config = Err("names no setting".to_owned());
        // A number or a list is written as in the file; anything else is a string and needs no
        // quotes.
        let number_or_list = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
        let values = number_or_list.and_then(|mut table| table.remove("value")).into_iter();
        for value in values.chain([toml::Value::String(text)]) {
            let mut changed = table.clone();
            let entry =
                changed.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(keys) = entry.as_table_mut() else { break };
            keys.insert(key.clone(), value);
            match serde_path_to_error::deserialize::<_, Config>(changed.clone()) {
                Ok(read) => {
                    (config, table) = (Ok(read), changed);
                    break;
                }
                // The first reading is the likelier one: its complaint is kept.
                Err(error) if config.as_ref().is_err_and(|e| e == "names no setting") => {
                    config = Err(error.to_string());
                }
                Err(_) => {}
            }
        }
        if let Err(problem) = &config {
            return Err(ConfigError::Environment { variable, problem: problem.trim().to_owned() });
        }
    }
    config.map_err(|problem| ConfigError::Environment { variable: PREFIX.to_owned(), problem })
}
