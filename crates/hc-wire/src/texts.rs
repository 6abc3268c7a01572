//! A set whose checks are not read yet.

use serde::Deserialize;
use serde_json::value::RawValue;

/// How a message with a set begins, as hc-proxy writes it: the first check, or the end of the list,
/// comes next.
pub const CONFIGS_BEGIN: &[u8] = br#"{"type":"update_configs","configs":["#;

/// An [`UpdateConfigs`](crate::UpdateConfigs) whose checks are still texts: who has seen them before
/// need not read them again ([`parse_check`](crate::parse_check)).
///
/// ```
/// use hc_wire::ConfigTexts;
///
/// let line = br#"{"type":"update_configs","configs":[{"id":1},{"id":2}],"generation":7}"#;
/// let texts = ConfigTexts::read(line).unwrap();
/// let configs: Vec<&str> = texts.configs().collect();
/// assert_eq!((configs, texts.generation), (vec![r#"{"id":1}"#, r#"{"id":2}"#], Some(7)));
/// assert!(ConfigTexts::read(br#"{"type":"hello","protocol":1,"version":"1"}"#).is_none());
/// ```
#[derive(Debug, Deserialize)]
pub struct ConfigTexts<'a> {
    #[serde(rename = "type")]
    _type: &'a str,
    #[serde(borrow)]
    configs: Vec<&'a RawValue>,
    /// Name of the set.
    pub generation: Option<u64>,
    /// Which part of the set this is, from 1.
    pub part: Option<u32>,
    /// How many parts the set has.
    pub parts: Option<u32>,
}

impl<'a> ConfigTexts<'a> {
    /// `None` for a line that begins otherwise than hc-proxy writes it, and for one that is wrong:
    /// [`decode`](crate::decode) says what it is.
    #[must_use]
    pub fn read(line: &'a [u8]) -> Option<Self> {
        if !line.starts_with(CONFIGS_BEGIN) {
            return None;
        }
        serde_json::from_slice(line).ok()
    }

    /// The checks, each a JSON value.
    pub fn configs(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a, '_> {
        self.configs.iter().map(|raw| raw.get())
    }
}
