//! Names made of what is known of a check.

use std::fmt;
use std::str::FromStr;

use crate::Report;

/// A text with places for what is known of a check: `{name}`, `{id}`, `{ip}` (the backend's, also
/// behind a VIP), `{port}` and `{label.KEY}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name,
    Id,
    Ip,
    Port,
    Label(String),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("{0:?} has a brace without its partner")]
    Brace(String),
    /// A place that there is not.
    #[error("{{{0}}} is none of {{name}}, {{id}}, {{ip}}, {{port}} and {{label.KEY}}")]
    Unknown(String),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let brace = || TemplateError::Brace(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let (place, behind) = behind.split_once('}').ok_or_else(brace)?;
            if literal.contains('}') {
                return Err(brace());
            }
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            }
            parts.push(match (place, place.strip_prefix("label.")) {
                ("name", _) => Part::Name,
                ("id", _) => Part::Id,
                ("ip", _) => Part::Ip,
                ("port", _) => Part::Port,
                (_, Some(key)) if !key.is_empty() => Part::Label(key.to_owned()),
                _ => return Err(TemplateError::Unknown(place.to_owned())),
            });
            rest = behind;
        }
        if rest.contains('}') {
            return Err(brace());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

impl Template {
    /// The text for one check; `None` for one without the name or a label that it needs.
    #[must_use]
    pub fn render(&self, report: &Report) -> Option<String> {
        let target = report.spec.target();
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Name => text.push_str(report.name.as_deref()?),
                Part::Id => text.push_str(&report.id.0.to_string()),
                Part::Ip => text.push_str(&target.host().unwrap_or(target.ip()).to_string()),
                Part::Port => text.push_str(&target.port().to_string()),
                Part::Label(key) => text.push_str(report.label(key)?),
            }
        }
        Some(text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::report;

    #[track_caller]
    fn check(template: &str, expected: Option<&str>) {
        let report = report(7, "web-1", &[("backend", "www")], hc_types::Health::Healthy);
        let template: Template = template.parse().unwrap();
        assert_eq!(template.render(&report).as_deref(), expected);
    }

    #[test]
    fn places_are_filled_in() {
        check("{label.backend}/{name}", Some("www/web-1"));
        check("s{id}_{ip}_{port}", Some("s7_192.0.2.1_80"));
        check("fixed", Some("fixed"));
        check("", Some(""));
        check("{label.other}", None);
    }

    #[test]
    fn bad_templates_are_named() {
        for (text, error) in [
            ("{name", TemplateError::Brace("{name".to_owned())),
            ("name}", TemplateError::Brace("name}".to_owned())),
            ("a}{name}", TemplateError::Brace("a}{name}".to_owned())),
            ("{nmae}", TemplateError::Unknown("nmae".to_owned())),
            ("{label.}", TemplateError::Unknown("label.".to_owned())),
            ("{}", TemplateError::Unknown(String::new())),
        ] {
            assert_eq!(text.parse::<Template>(), Err(error));
        }
    }
}
