//! What a dialogue sees of its peer, and what it wants next.

use hc_types::{Failure, Mismatch, Pass, quote};

use crate::fault;

/// How many bytes that no step has used up are held at most. Each protocol has limits of its own
/// below this one.
pub const MAX_UNREAD: usize = 128 * 1024;

/// What has come from the peer and was not used up yet.
#[derive(Debug)]
pub struct Received<'b> {
    bytes: &'b [u8],
    used: usize,
    /// Nothing more comes.
    pub ended: bool,
}

impl<'b> Received<'b> {
    /// Bytes as they have come.
    #[must_use]
    pub fn new(bytes: &'b [u8], ended: bool) -> Self {
        Self { bytes, used: 0, ended }
    }

    /// What was not used up.
    #[must_use]
    pub fn rest(&self) -> &'b [u8] {
        &self.bytes[self.used..]
    }

    /// Uses up the first bytes, and gives them.
    pub fn take(&mut self, count: usize) -> &'b [u8] {
        let taken = &self.rest()[..count];
        self.used += count;
        taken
    }

    /// How many bytes were used up.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }
}

/// What a dialogue does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It sends these bytes, and is asked again.
    Send(Vec<u8>),
    /// It waits for more bytes.
    Read,
    /// It shakes hands in TLS, and is asked again.
    StartTls,
    /// The peer has passed.
    Pass {
        /// What it has said.
        pass: Pass,
        /// Bytes that end the dialogue. Nothing is expected of them.
        farewell: &'static [u8],
    },
}

impl Next {
    /// The peer has passed, and there is nothing more to say.
    pub const PASS: Self = Self::Pass { pass: Pass::Plain, farewell: &[] };
}

/// A dialogue as plain code: it is shown what has come and says what to do. What it makes of a
/// stream does not depend on the pieces in which the stream comes.
pub trait Talk: Send {
    /// Looks at what has come, and uses up what it has understood.
    ///
    /// # Errors
    /// Why the peer fails.
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure>;

    /// Whether what the peer says at this step may have secrets of ours in it, so that it is not
    /// kept.
    fn may_repeat_secrets(&self) -> bool {
        false
    }

    /// The step that it is at, in words.
    fn step(&self) -> String;
}

/// The peer has sent something else than what `expected` stands for.
pub(super) fn mismatch(got: &[u8], expected: &[u8]) -> Failure {
    Failure::BodyMismatch(Box::new(Mismatch::new(got, None).recognised(got, expected)))
}

/// The peer has said no, in these words of its own.
pub(super) fn refused(what: &str, words: &[u8]) -> Failure {
    const SHOWN: usize = 200;
    Failure::WrongAnswer(fault::truncate_text(format!("{what}{}", quote(&words[..words.len().min(SHOWN)]))))
}

pub(super) fn malformed(how: impl Into<String>) -> Failure {
    Failure::MalformedReply(fault::truncate_text(how.into()))
}
