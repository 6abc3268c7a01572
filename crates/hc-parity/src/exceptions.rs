//! The table of exceptions in `docs/seesaw-parity.md`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::compare::{Deed, Difference};
use crate::pattern::matches;

/// The first cell of the table's head.
const HEAD: &str = "| exception |";

/// One row: where, and in what the sides may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    id: String,
    cases: Vec<String>,
    seesaw: String,
    ours: String,
}

/// All rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceptions(Vec<Exception>);

impl Exceptions {
    /// Reads the table.
    ///
    /// # Errors
    /// When there is none, or a row is not one.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut rows = text.lines().skip_while(|line| !line.starts_with(HEAD));
        ensure!(rows.next().is_some(), "no table that begins with {HEAD:?}");
        // The line between head and rows.
        rows.next();
        let mut exceptions: Vec<Exception> = Vec::new();
        for row in rows.take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [id, cases, seesaw, ours, reason] = cells[..] else {
                bail!("a row of the exceptions has five cells: {row}");
            };
            ensure!(!reason.is_empty(), "{id} has no reason");
            ensure!(exceptions.iter().all(|other| other.id != id), "{id} is there twice");
            let plain = |cell: &str| cell.trim_matches('`').to_owned();
            exceptions.push(Exception {
                id: id.to_owned(),
                cases: cases.split(", ").map(plain).collect(),
                seesaw: plain(seesaw),
                ours: plain(ours),
            });
        }
        Ok(Self(exceptions))
    }

    /// The exception that a difference is.
    pub(crate) fn find(&self, difference: &Difference) -> Option<&str> {
        let exception = self.0.iter().find(|exception| exception.allows(difference));
        exception.map(|exception| &*exception.id)
    }

    /// How many of the differences each exception is.
    pub(crate) fn count(&self, differences: &[Difference]) -> Vec<(String, usize)> {
        let count = |exception: &Exception| differences.iter().filter(|d| exception.allows(d)).count();
        self.0.iter().map(|exception| (exception.id.clone(), count(exception))).collect()
    }
}

impl Exception {
    fn allows(&self, difference: &Difference) -> bool {
        self.cases.iter().any(|case| matches(case, &difference.case))
            && is(&self.seesaw, &difference.seesaw)
            && is(&self.ours, &difference.ours)
    }
}

/// A cell names a verdict, or a verdict and its text after a colon, or a request.
fn is(cell: &str, deed: &Deed) -> bool {
    matches(cell, &deed.word) || matches(cell, &format!("{}: {}", deed.word, deed.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "text\n\n| exception | cases | Seesaw | ours | reason |\n|---|---|---|---|---|\n\
        | X1 | `a/*`, `b` | pass | fail | because |\n\nmore\n";

    fn difference(case: &str, seesaw: &str, ours: &str) -> Difference {
        let deed = |word: &str| Deed { word: word.into(), text: "some words".into() };
        Difference { case: case.into(), told: String::new(), seesaw: deed(seesaw), ours: deed(ours) }
    }

    #[test]
    fn a_difference_is_excused_by_its_case_and_both_verdicts() {
        let exceptions = Exceptions::parse(TABLE).unwrap();
        for (case, seesaw, ours, expected) in [
            ("a/x", "pass", "fail", Some("X1")),
            ("b", "pass", "fail", Some("X1")),
            ("c", "pass", "fail", None),
            ("b", "fail", "pass", None),
        ] {
            assert_eq!(exceptions.find(&difference(case, seesaw, ours)), expected, "{case} {seesaw} {ours}");
        }
        let precise = Exceptions::parse(&TABLE.replace("| pass |", "| `pass: some*` |")).unwrap();
        assert_eq!(precise.find(&difference("b", "pass", "fail")), Some("X1"));
        let other = Exceptions::parse(&TABLE.replace("| pass |", "| `pass: other*` |")).unwrap();
        assert_eq!(other.find(&difference("b", "pass", "fail")), None);
        let seen = [difference("b", "pass", "fail"), difference("b", "fail", "pass")];
        assert_eq!(exceptions.count(&seen), [("X1".to_owned(), 1)]);
    }

    #[test]
    fn a_table_that_says_too_little_is_refused() {
        let check = |row: &str, expected: &str| {
            let error = Exceptions::parse(&TABLE.replace("\n\nmore", &format!("\n{row}\n"))).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("| X2 | a | pass | fail |", "five cells");
        check("| X2 | a | pass | fail |  |", "no reason");
        check("| X1 | a | pass | fail | because |", "twice");
        assert!(Exceptions::parse("no table").is_err());
    }
}
