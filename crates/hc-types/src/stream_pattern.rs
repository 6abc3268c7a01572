//! Regular expressions over bytes that come in pieces.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

use crate::interned::{Interned, OfText};

/// The most memory that the automaton of a pattern takes, in bytes: `[a-z]{100}` fits, nested
/// repetitions by the thousand do not.
const MAX_AUTOMATON: usize = 64 * 1024;

/// What the states take that a matcher has met. When it is full, they are forgotten.
const MAX_STATES: usize = 64 * 1024;

/// The longest pattern, in bytes.
const MAX_LENGTH: usize = 1024;

/// A regular expression (the syntax of Rust's `regex` crate) over bytes that come in pieces.
///
/// It matches bytes, not characters: `.` is any byte but a line feed, and `\w` and `\d` are ASCII.
/// It takes as little as it can: the match ends at the first byte at which one is complete, so that
/// it does not depend on how the bytes come. It begins anywhere unless the pattern begins with `^`.
/// A matcher whose states outgrow its memory again and again gives up, and matches nothing.
///
/// Compiled once for all checks with the same text.
#[derive(Clone)]
pub struct StreamPattern(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    text: Box<str>,
    automaton: DFA,
}

impl OfText for Compiled {
    fn text(&self) -> &str {
        &self.text
    }
}

fn interned() -> &'static Interned<Compiled> {
    static INTERNED: LazyLock<Interned<Compiled>> = LazyLock::new(Interned::default);
    &INTERNED
}

impl PartialEq for StreamPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for StreamPattern {}

impl Hash for StreamPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

/// Why a text is no [`StreamPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamPatternError {
    /// It is no regular expression.
    #[error("is not a regular expression: {0}")]
    Syntax(Box<str>),
    /// It is too long, or has too many states.
    #[error("is too costly")]
    TooCostly,
    /// It matches before a byte has come.
    #[error("matches nothing at all")]
    MatchesNothing,
    /// It looks at what follows the match.
    #[error(
        "looks at what follows the match, as `$` and `\\b` do: it may not have come yet; write a line end as \\r\\n"
    )]
    LooksAhead,
}

impl StreamPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`StreamPatternError`] says why it cannot be used.
    pub fn new(text: &str) -> Result<Self, StreamPatternError> {
        if text.len() > MAX_LENGTH {
            return Err(StreamPatternError::TooCostly);
        }
        if let Some(compiled) = interned().find(text) {
            return Ok(Self(compiled));
        }
        let hir = syntax::parse_with(text, &syntax_config()).map_err(|error| {
            // Its own text has several lines, with a picture of the place.
            let text = error.to_string();
            StreamPatternError::Syntax(
                text.lines().last().unwrap_or_default().trim_start_matches("error: ").into(),
            )
        })?;
        check(&hir)?;
        let automaton = automaton(text).ok_or(StreamPatternError::TooCostly)?;
        Ok(Self(interned().keep(Compiled { text: text.into(), automaton })))
    }

    /// The text that it was read from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// A matcher, which is given one byte after the other. The states that it meets are its own.
    #[must_use]
    pub fn matcher(&self) -> StreamMatcher {
        StreamMatcher(Running::new(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.text)
    }
}

fn check(hir: &Hir) -> Result<(), StreamPatternError> {
    let properties = hir.properties();
    if properties.look_set().iter().any(|look| !matches!(look, Look::Start | Look::StartLF)) {
        return Err(StreamPatternError::LooksAhead);
    }
    match properties.minimum_len() {
        Some(0) => Err(StreamPatternError::MatchesNothing),
        _ => Ok(()),
    }
}

fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// How often the memory for states may be used up and cleared by one matcher. Then it gives up, and
/// nothing matches: each byte would take microseconds of a thread that many probes share.
const CLEARED: usize = 64;

fn automaton(text: &str) -> Option<DFA> {
    DFA::builder()
        .configure(
            DFA::config()
                .cache_capacity(MAX_STATES)
                .skip_cache_capacity_check(true)
                .minimum_cache_clear_count(Some(CLEARED)),
        )
        .thompson(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(Some(MAX_AUTOMATON))
                .which_captures(thompson::WhichCaptures::None),
        )
        .syntax(syntax_config())
        .build(text)
        .ok()
}

/// A [`StreamPattern`] at work.
#[derive(Debug)]
pub struct StreamMatcher(Option<Running>);

#[derive(Debug)]
struct Running {
    compiled: Arc<Compiled>,
    cache: Cache,
    state: LazyStateID,
}

impl Running {
    fn new(compiled: Arc<Compiled>) -> Option<Self> {
        let automaton = &compiled.automaton;
        let mut cache = automaton.create_cache();
        let start = Input::new("").anchored(Anchored::No);
        let state = automaton.start_state_forward(&mut cache, &start).ok()?;
        Some(Self { compiled, cache, state })
    }
}

/// What a byte has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// More bytes are needed.
    NotYet,
    /// The match ends with this byte.
    Yes,
    /// No match can come any more.
    Never,
}

impl StreamMatcher {
    /// Takes the next byte.
    pub fn feed(&mut self, byte: u8) -> Matched {
        // `None` cannot be: every automaton has a state to start from.
        let Some(Running { compiled, cache, state }) = &mut self.0 else { return Matched::Never };
        let automaton = &compiled.automaton;
        let Ok(next) = automaton.next_state(cache, *state, byte) else { return Matched::Never };
        *state = next;
        if next.is_dead() || next.is_quit() {
            return Matched::Never;
        }
        // A match shows one step late, so the end is tried in place of the next byte. Patterns that
        // would see the difference are refused.
        match automaton.next_eoi_state(cache, next) {
            Ok(end) if end.is_match() => Matched::Yes,
            _ => Matched::NotYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first match ends. `Err`: where it was known that there is none.
    fn end(pattern: &str, bytes: &[u8]) -> Option<Result<usize, usize>> {
        let mut matcher = StreamPattern::new(pattern).unwrap().matcher();
        (1..).zip(bytes).find_map(|(at, byte)| match matcher.feed(*byte) {
            Matched::NotYet => None,
            Matched::Yes => Some(Ok(at)),
            Matched::Never => Some(Err(at)),
        })
    }

    #[test]
    fn a_match_ends_as_early_as_it_can() {
        assert_eq!(end("[0-9]+", b"ab123"), Some(Ok(3)));
        assert_eq!(end("^220[ -]", b"220 ready"), Some(Ok(4)));
        assert_eq!(end("^220[ -]", b"221 ready"), Some(Err(3)));
        assert_eq!(end("ready\r\n", b"220 ready\r\nmore"), Some(Ok(11)));
        assert_eq!(end("(?s).*\n250 ", b"250-a\n250-b\n250 c\n"), Some(Ok(16)));
        assert_eq!(end("^(250-[^\n]*\n)*250 [^\n]*\n", b"250-a\n250 c\nx"), Some(Ok(12)));
        assert_eq!(end("(?m)^b", b"ab\nb"), Some(Ok(4)));
        assert_eq!(end(r"\xff\x00", b"\x00\xff\x00"), Some(Ok(3)));
        assert_eq!(end("(?i)pong", b"+PONG"), Some(Ok(5)));
        assert_eq!(end("x", b"abc"), None);
    }

    #[test]
    fn patterns_that_cannot_be_used_are_refused() {
        let refused = |pattern: &str| StreamPattern::new(pattern).unwrap_err();
        assert!(matches!(refused("("), StreamPatternError::Syntax(text) if &*text == "unclosed group"));
        for pattern in ["ok$", r"\bok", r"ok\b", r"ok\z", "(?m)ok$"] {
            assert_eq!(refused(pattern), StreamPatternError::LooksAhead, "{pattern}");
        }
        for pattern in ["", "a*", "(a|)", "^"] {
            assert_eq!(refused(pattern), StreamPatternError::MatchesNothing, "{pattern}");
        }
        assert_eq!(refused("(([a-z]{100}){100}){100}"), StreamPatternError::TooCostly);
        assert_eq!(refused(&"a".repeat(1025)), StreamPatternError::TooCostly);
    }

    #[test]
    fn what_costs_most_is_quick() {
        // Exponential for an engine that goes back.
        let mut matcher = StreamPattern::new("(a|a|aa)*b").unwrap().matcher();
        assert!((0..65_536).all(|_| matcher.feed(b'a') == Matched::NotYet));
        assert_eq!(matcher.feed(b'b'), Matched::Yes);
    }
}
