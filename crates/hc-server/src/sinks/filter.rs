//! Which checks a sink hears of.

use std::convert::Infallible;
use std::str::FromStr;

use hc_types::Metadata;
use serde::Deserialize;

/// A pattern for names: `*` stands for any text, also none, and `?` for any one character.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Glob(String);

impl FromStr for Glob {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl Glob {
    /// Whether `name` is like this, as a whole.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut here) = (0, 0);
        // The latest star, and how far the text that it stands for reaches: only that one is ever
        // tried again.
        let mut star = None;
        while here < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, here));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || *wanted == name[here] => (at, here) = (at + 1, here + 1),
                _ => {
                    let Some((star_at, reached)) = star else { return false };
                    star = Some((star_at, reached + 1));
                    (at, here) = (star_at + 1, reached + 1);
                }
            }
        }
        pattern[at..].iter().all(|left| *left == '*')
    }
}

/// Everything that is given must hold. A check without a name or labels passes only where none is
/// asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) names: Vec<Glob>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) groups: Vec<String>,
}

impl Filter {
    pub(crate) fn takes(&self, metadata: Option<&Metadata>) -> bool {
        let name = metadata.and_then(|metadata| metadata.name.as_deref());
        let label = |key: &str| {
            let labels = metadata.map_or(&[] as &[_], |metadata| &metadata.labels);
            labels.iter().find(|(known, _)| **known == *key).map(|(_, value)| &**value)
        };
        let Self { names, labels, groups } = self;
        (names.is_empty() || name.is_some_and(|name| names.iter().any(|glob| glob.matches(name))))
            && labels.iter().all(|(key, value)| label(key) == Some(value))
            && (groups.is_empty()
                || label("group").is_some_and(|group| groups.iter().any(|known| known == group)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, likes: &[&str], dislikes: &[&str]) {
        let glob: Glob = pattern.parse().unwrap();
        for name in likes {
            assert!(glob.matches(name), "{pattern} {name}");
        }
        for name in dislikes {
            assert!(!glob.matches(name), "{pattern} {name}");
        }
    }

    #[test]
    fn patterns() {
        check("web", &["web"], &["", "web1", "aweb", "Web"]);
        check("web-*", &["web-", "web-1", "web-1-2"], &["web", "a-web-1"]);
        check("*-?", &["web-1", "-é", "a-b-c"], &["web-10", "web-"]);
        check("a*b*c", &["abc", "aXbXbXc", "abcbc"], &["abcb", "acb"]);
        check("*", &["", "x"], &[]);
        check("**?", &["x", "xy"], &[""]);
        check("", &[""], &["x"]);
        // One that would take for ever if every star were tried again.
        check(&"*a".repeat(30), &[], &[&"a".repeat(20), &format!("{}b", "a".repeat(1000))]);
    }

    #[test]
    fn everything_that_is_given_must_hold() {
        let labels = [("group", "web"), ("site", "ams")].map(|(key, value)| (key.into(), value.into()));
        let metadata = Metadata { name: Some("web-1".into()), labels: labels.into(), ..Metadata::default() };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let full = Filter {
            names: vec!["db-*".parse().unwrap(), "web-*".parse().unwrap()],
            labels: vec![pair("site", "ams")],
            groups: vec!["db".to_owned(), "web".to_owned()],
        };
        assert!(full.takes(Some(&metadata)) && !full.takes(None));
        assert!(Filter::default().takes(Some(&metadata)) && Filter::default().takes(None));
        for other in [
            Filter { names: vec!["db-*".parse().unwrap()], ..full.clone() },
            Filter { labels: vec![pair("site", "ams"), pair("team", "edge")], ..full.clone() },
            Filter { groups: vec!["db".to_owned()], ..full },
        ] {
            assert!(!other.takes(Some(&metadata)), "{other:?}");
        }
    }
}
