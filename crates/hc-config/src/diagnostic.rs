//! What is wrong in the files, and where.

use std::collections::BTreeSet;
use std::fmt;

use crate::SourceFile;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's name, as it was passed in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One problem. Prints as `FILE:LINE:COLUMN: KEY: PROBLEM`, with a suggestion behind it where there
/// is one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Where the problem is; `None` for what stands in no file, such as a glob that matches none.
    pub place: Option<Place>,
    /// The key with the tables around it, such as `check.http.path`. Empty where the file is not
    /// TOML.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
    /// The other place of the problem: the first of two checks with the same name.
    pub other: Option<Place>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        match &self.other {
            Some(other) => write!(f, " (see {other})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong in the files, in the order of files and lines. Never empty. Prints one
/// problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) is_shortage: bool,
}

impl ConfigErrors {
    /// The problems.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether the system lacked descriptors or memory to read a file. Then nothing is known of
    /// what is in the files: read them again later.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        self.is_shortage
    }
}

impl From<Vec<Diagnostic>> for ConfigErrors {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics, is_shortage: false }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// An offset in one of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) file: usize,
    pub(crate) start: usize,
}

/// A problem whose place is still an offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    at: Span,
    key: String,
    text: String,
    suggestion: Option<String>,
    other: Option<Span>,
}

impl Problem {
    pub(crate) fn suggest(&mut self, suggestion: Option<impl Into<String>>) {
        self.suggestion = suggestion.map(Into::into);
    }

    pub(crate) fn see(&mut self, other: Span) {
        self.other = Some(other);
    }
}

/// Collects problems while the files are read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
}

impl Report {
    /// Adds a problem. The result is for a suggestion or another place.
    pub(crate) fn add(&mut self, at: Span, key: impl Into<String>, text: impl Into<String>) -> &mut Problem {
        let problem = Problem { at, key: key.into(), text: text.into(), suggestion: None, other: None };
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// The problems in the order of the files, each once: a template that is wrong is wrong for
    /// each check that extends it.
    pub(crate) fn finish(self, files: &[SourceFile]) -> Vec<Diagnostic> {
        if self.problems.is_empty() {
            // As nearly always; and the files may be large.
            return Vec::new();
        }
        let sorted: BTreeSet<Problem> = self.problems.into_iter().collect();
        let lines: Vec<Lines<'_>> = files.iter().map(Lines::new).collect();
        let place = |span: Span| lines.get(span.file).map(|lines| lines.place(span.start));
        sorted
            .into_iter()
            .map(|problem| Diagnostic {
                place: place(problem.at),
                key: problem.key,
                problem: problem.text,
                suggestion: problem.suggestion,
                other: problem.other.and_then(place),
            })
            .collect()
    }
}

/// The lines of a file. A file with many errors is searched for line breaks once.
struct Lines<'f> {
    file: &'f SourceFile,
    starts: Vec<usize>,
}

impl<'f> Lines<'f> {
    fn new(file: &'f SourceFile) -> Self {
        let breaks = file.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self { file, starts: std::iter::once(0).chain(breaks.map(|(offset, _)| offset + 1)).collect() }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.file.bytes.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = String::from_utf8_lossy(&self.file.bytes[start..offset]).chars().count() + 1;
        Place { file: self.file.name.clone(), line, column }
    }
}
