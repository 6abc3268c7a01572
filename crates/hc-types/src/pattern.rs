//! Regular expressions of checks.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::{Input, MatchError};
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::interned::{Interned, OfText};
use crate::text;

/// A regular expression, compiled. Equal texts share one compiled form in a process, however many
/// checks have them.
///
/// The syntax is that of the crate `regex`: no look-around and no back-references. Two things are
/// smaller here: `\b` and `\B` look at ASCII letters, digits and `_` only, and a text compiles to
/// [`Pattern::MAX_COMPILED`] at most. It is searched in bytes: `.` matches a character of UTF-8,
/// and text that is not UTF-8 is no error.
///
/// The time of a search grows with the length of what is searched and with nothing else: a search
/// that would need more, since the pattern has too many states, is given up ([`TooManyStates`]).
///
/// ```
/// use hc_types::Pattern;
///
/// let pattern = Pattern::new(r"^status: (ok|degraded)$")?;
/// assert_eq!(pattern.is_match(b"status: ok"), Ok(true));
/// let error = Pattern::new("(ok").unwrap_err();
/// assert_eq!(error.to_string(), r#"the regular expression "(ok" is wrong at character 1: unclosed group"#);
/// # Ok::<(), hc_types::PatternError>(())
/// ```
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    /// Its states are made when a search comes to them.
    automaton: DFA,
    /// The states made so far: one for each thread that searches at the same time.
    states: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
    /// Whether a match may depend on what follows it, as that of `ok$` or `ok\b`.
    looks_ahead: bool,
}

/// A search was given up: the pattern has more states in this text than fit into its memory.
///
/// Example: `a[ab]{400}c` has to remember where each of the last 400 `a` was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the search was given up, since it has too many states")]
pub struct TooManyStates;

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is longer than [`Pattern::MAX_LENGTH`].
    #[error("a regular expression of {length} bytes; it has at most {}", Pattern::MAX_LENGTH)]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It is not of the syntax.
    #[error("the regular expression {quoted} is wrong at character {position}: {problem}")]
    Syntax {
        /// The text in quotes.
        quoted: Box<str>,
        /// Which character of the text is wrong; the first one is 1.
        position: usize,
        /// What is wrong with it, in words.
        problem: Box<str>,
    },
    /// It compiles to more than [`Pattern::MAX_COMPILED`].
    #[error(
        "the regular expression {quoted} is too costly: it compiles to more than {} bytes (repetitions such \
         as {{1,100}} make it large, most of all those of \\w and \\d; (?-u:\\w) is ASCII only)",
        Pattern::MAX_COMPILED
    )]
    TooCostly {
        /// The text in quotes.
        quoted: Box<str>,
    },
}

impl Pattern {
    /// The longest text, in bytes.
    pub const MAX_LENGTH: usize = 1024;

    /// The most memory that a text compiles to, in bytes.
    pub const MAX_COMPILED: usize = 64 * 1024;

    /// How deep groups may stand in each other.
    const MAX_DEPTH: u32 = 50;

    /// Compiles a text, or finds it compiled.
    ///
    /// # Errors
    /// [`PatternError`] says what is wrong and where.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(PatternError::TooLong { length: text.len() });
        }
        if let Some(compiled) = interned().find(text) {
            return Ok(Self(compiled));
        }
        let quoted = || text::quote(text.as_bytes()).into();
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .nest_limit(Self::MAX_DEPTH)
            .build()
            .parse(text)
            .map_err(|error| {
                let (position, problem) = place(text, &error);
                PatternError::Syntax { quoted: quoted(), position, problem }
            })?;
        let looks_ahead =
            hir.properties().look_set().iter().any(|look| !matches!(look, Look::Start | Look::StartLF));
        let automaton = automaton(hir).ok_or_else(|| PatternError::TooCostly { quoted: quoted() })?;
        Ok(Self(interned().keep(Compiled::new(text, automaton, looks_ahead))))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches somewhere in `all`.
    ///
    /// # Errors
    /// [`TooManyStates`].
    pub fn is_match(&self, all: &[u8]) -> Result<bool, TooManyStates> {
        self.0.search(&Input::new(all))
    }

    /// Whether it matches somewhere in a longer text that begins with `part`, whatever follows.
    ///
    /// Example: `^ok$` matches in no text that is longer than `ok`, so it does not match with `ok`
    /// as the part.
    ///
    /// # Errors
    /// [`TooManyStates`].
    pub fn is_match_in_part(&self, part: &[u8]) -> Result<bool, TooManyStates> {
        // No assertion looks at more than the next byte, which the last one is there to be.
        let end = if self.0.looks_ahead { part.len().saturating_sub(1) } else { part.len() };
        match self.0.looks_ahead && part.is_empty() {
            true => Ok(false),
            false => self.0.search(&Input::new(part).range(..end)),
        }
    }
}

/// How much memory the states of one search have, in bytes.
const STATES: usize = 256 * 1024;

/// How often that memory may be used up and cleared in one search. Most patterns never do.
const CLEARED: usize = 8;

/// `None`: it is too large.
fn automaton(hir: Hir) -> Option<DFA> {
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(Pattern::MAX_COMPILED));
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(&ascii_words(hir)).ok()?;
    let config = DFA::config().cache_capacity(STATES).minimum_cache_clear_count(Some(CLEARED));
    DFA::builder().configure(config).build_from_nfa(nfa).ok()
}

/// With `\b` and the like for ASCII: an automaton knows one byte ahead, and that may be a part of a
/// letter.
fn ascii_words(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            other => other,
        }),
        HirKind::Repetition(mut repetition) => {
            repetition.sub = Box::new(ascii_words(*repetition.sub));
            Hir::repetition(repetition)
        }
        // What was captured is not asked for.
        HirKind::Capture(capture) => ascii_words(*capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(ascii_words).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(ascii_words).collect()),
    }
}

impl Compiled {
    fn new(text: &str, automaton: DFA, looks_ahead: bool) -> Self {
        let of = automaton.clone();
        let states: Box<dyn Fn() -> Cache + Send + Sync> = Box::new(move || of.create_cache());
        Self { text: text.into(), automaton, states: Pool::new(states), looks_ahead }
    }

    fn search(&self, input: &Input<'_>) -> Result<bool, TooManyStates> {
        let mut states = self.states.get();
        // The count is of the memory, which searches share: one that used it up must not take it
        // from those after it.
        if states.clear_count() > 0 {
            states.reset(&self.automaton);
        }
        let found = self.automaton.try_search_fwd(&mut states, &input.clone().earliest(true));
        found.map(|found| found.is_some()).map_err(|_: MatchError| TooManyStates)
    }
}

/// Which character is wrong, counted from 1, and how.
fn place(text: &str, error: &regex_syntax::Error) -> (usize, Box<str>) {
    let (offset, problem) = match error {
        regex_syntax::Error::Parse(error) => (error.span().start.offset, error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (error.span().start.offset, error.kind().to_string()),
        _ => (0, "not a regular expression".to_owned()),
    };
    let position = text.get(..offset).unwrap_or(text).chars().count() + 1;
    (position, problem.into())
}

fn interned() -> &'static Interned<Compiled> {
    static INTERNED: LazyLock<Interned<Compiled>> = LazyLock::new(Interned::default);
    &INTERNED
}

impl OfText for Compiled {
    fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

/// The text in quotes.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::quote(self.0.text.as_bytes()))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_compiled_once_and_dropped_with_the_last_check() {
        let first = Pattern::new("interned [0-9]+").unwrap();
        let second = Pattern::new("interned [0-9]+").unwrap();
        assert!(Arc::ptr_eq(&first.0, &second.0));
        let weak = Arc::downgrade(&first.0);
        drop((first, second));
        assert!(weak.upgrade().is_none());
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Pattern::new(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_bad_text_is_refused_with_its_place() {
        refused("(", "\"(\" is wrong at character 1: unclosed group");
        refused("é*[z-a]", "is wrong at character 4: invalid character class range");
        refused("a\\", "is wrong at character 2: incomplete escape sequence");
        refused("(?=a)", "is wrong at character 1: look-around");
        refused(r"(a)\1", "is wrong at character 4: backreferences are not supported");
        refused(&format!("{}a{}", "(".repeat(60), ")".repeat(60)), "exceed the maximum number of nested");
        refused(&"a".repeat(1025), "1025 bytes; it has at most 1024");
        for costly in [r"\w{1,100}", "(a{1,100}){1,100}", "[a-z]{10000}"] {
            refused(costly, "is too costly");
        }
    }

    #[test]
    fn usual_texts_are_not_too_costly() {
        for text in [
            r"\w+",
            r"(?i)ready",
            r"\d{1,3}(\.\d{1,3}){3}",
            r"^\s*\{.*\}\s*$",
            "a{500}",
            "[0-9a-f]{64}",
            r"(?-u:\w){1,100}",
            "é|ü",
            r"\bok\b",
        ] {
            assert!(Pattern::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_part_matches_only_whatever_follows() {
        let in_part =
            |text: &str, part: &str| Pattern::new(text).unwrap().is_match_in_part(part.as_bytes()).unwrap();
        assert!(in_part("^ok", "ok"));
        assert!(!in_part("^ok$", "ok"));
        assert!(!in_part(r"ok\b", "ok"));
        assert!(in_part(r"ok\b", "ok."));
        assert!(!in_part("$", ""));
        assert!(in_part("", ""));
        assert!(!in_part(r"(?m)^ok$", "ok"));
        assert!(in_part(r"\bok\b", "ok and more"));
        assert!(in_part(r"(?m)^ok$", "ok\nand more"));
        assert!(!in_part("ready", "rea"));
    }

    #[test]
    fn it_matches_as_usual() {
        let matches = |text: &str, all: &[u8]| Pattern::new(text).unwrap().is_match(all).unwrap();
        assert!(matches("^pr.t$", "prêt".as_bytes()));
        assert!(!matches("(?-u)^pr.t$", "prêt".as_bytes()));
        assert!(matches("(?i)RÉADY", "réady".as_bytes()));
        assert!(matches("ok", b"\xff\xfeok\xff"));
        assert!(matches(r"(?m)^b$", b"a\nb\nc"));
        assert!(!matches("^b$", b"a\nb\nc"));
        assert!(matches(r"\bok\b", "é ok é".as_bytes()));
        // Only ASCII has words.
        assert!(matches(r"\bok\b", "éok".as_bytes()));
        assert!(matches("", b""));
        assert!(matches("(a|b)+c{2}", b"xababccx"));
        assert!(!matches("(a|b)+c{2}", b"xababcx"));
    }

    /// Dear patterns that are let pass, over the longest body that is read. Where the time would
    /// grow faster than the body (`[ab]*a[ab]{400}c` takes a minute with the crate `regex`, without
    /// optimisation) the search is given up.
    #[test]
    fn the_time_of_a_search_is_bounded() {
        let length = 1 << 20;
        let mut seed = 1_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 31 == 0 { b'a' } else { b'b' }
        };
        let (plain, mixed) = (vec![b'a'; length], (0..length).map(|_| random()).collect::<Vec<u8>>());
        for (text, of_mixed) in [
            (r"(?-u)(\w{0,9}){9}!", Ok(false)),
            ("(a?){200}c", Ok(false)),
            ("(?:a|aa|aaa){1,60}$c", Ok(false)),
            ("(.*){5}c", Ok(false)),
            ("[ab]*a[ab]{400}c", Err(TooManyStates)),
        ] {
            let pattern = Pattern::new(text).unwrap();
            assert_eq!(pattern.is_match(&plain), Ok(false), "{text}");
            assert_eq!(pattern.is_match(&mixed), of_mixed, "{text}");
        }
    }
}
