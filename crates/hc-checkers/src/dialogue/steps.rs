//! A dialogue by steps of one's own.

use hc_types::{DialogueExpectation, DialogueStep, ExpectedBytes, Failure, Matched, StreamMatcher};
use memchr::memmem;

use super::received::{Next, Received, Talk, mismatch};

/// A dialogue by steps, and where it is.
#[derive(Debug)]
pub struct Steps<'p> {
    steps: &'p [DialogueStep],
    at: usize,
    /// The step was begun: what it sends is on its way.
    begun: bool,
    /// What was expected has come; only the rest of its line is missing.
    in_line: bool,
    /// How many bytes this step has used up.
    taken: usize,
    /// How many bytes of what is not used up were searched.
    searched: usize,
    matcher: Option<StreamMatcher>,
}

impl<'p> Steps<'p> {
    /// At the first of these steps.
    #[must_use]
    pub fn new(steps: &'p [DialogueStep]) -> Self {
        Self { steps, at: 0, begun: false, in_line: false, taken: 0, searched: 0, matcher: None }
    }

    fn advance(&mut self) {
        *self = Self { at: self.at + 1, ..Self::new(self.steps) };
    }

    /// Whether the step is done.
    fn expect(&mut self, wanted: &DialogueExpectation, received: &mut Received<'_>) -> Result<bool, Failure> {
        if !self.in_line {
            let Some(length) = self.find(wanted, received.rest())? else { return Ok(false) };
            received.take(length);
            (self.taken, self.searched, self.in_line) = (length, 0, true);
        }
        if !wanted.rest_of_line {
            return Ok(true);
        }
        let rest = received.rest();
        let room = (wanted.limit as usize).saturating_sub(self.taken);
        let seen = rest.len().min(room);
        if let Some(at) = rest[self.searched..seen].iter().position(|byte| *byte == b'\n') {
            received.take(self.searched + at + 1);
            return Ok(true);
        }
        self.searched = seen;
        if rest.len() >= room {
            let text = format!("no line end within {} bytes", wanted.limit);
            return Err(super::received::malformed(text));
        }
        Ok(false)
    }

    /// How many bytes the match takes, once it is there.
    fn find(&mut self, wanted: &DialogueExpectation, rest: &[u8]) -> Result<Option<usize>, Failure> {
        let seen = rest.len().min(wanted.limit as usize);
        let found = match &wanted.bytes {
            ExpectedBytes::Begin(bytes) => {
                let bytes = bytes.as_slice();
                let length = bytes.len().min(rest.len());
                if rest[..length] != bytes[..length] {
                    return Err(mismatch(rest, bytes));
                }
                return Ok((length == bytes.len()).then_some(length));
            }
            ExpectedBytes::Contain(bytes) => {
                let bytes = bytes.as_slice();
                let at = memmem::find(&rest[self.searched..seen], bytes);
                let end = at.map(|at| self.searched + at + bytes.len());
                // The next search begins where a match may have begun already.
                self.searched = seen.saturating_sub(bytes.len() - 1).max(self.searched);
                end
            }
            ExpectedBytes::Pattern(pattern) => {
                let matcher = self.matcher.get_or_insert_with(|| pattern.matcher());
                let first = self.searched;
                self.searched = seen;
                let fed = rest[first..seen].iter().map(|byte| matcher.feed(*byte));
                match fed.enumerate().find(|(_, matched)| *matched != Matched::NotYet) {
                    Some((at, Matched::Yes)) => Some(first + at + 1),
                    Some(_) => return Err(mismatch(rest, &[])),
                    None => None,
                }
            }
        };
        // Nothing within the limit.
        if found.is_none() && seen == wanted.limit as usize {
            return Err(mismatch(rest, &[]));
        }
        Ok(found)
    }
}

impl Talk for Steps<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        let steps = self.steps;
        while let Some(step) = steps.get(self.at) {
            match step {
                DialogueStep::Send(bytes) if !self.begun => {
                    self.begun = true;
                    return Ok(Next::Send(bytes.as_slice().to_vec()));
                }
                DialogueStep::StartTls if !self.begun => {
                    self.begun = true;
                    return Ok(Next::StartTls);
                }
                DialogueStep::Expect(wanted) if !self.expect(wanted, received)? => return Ok(Next::Read),
                DialogueStep::Send(_) | DialogueStep::StartTls | DialogueStep::Expect(_) => {}
            }
            self.advance();
        }
        Ok(Next::PASS)
    }

    fn step(&self) -> String {
        let number = self.at + 1;
        match self.steps.get(self.at) {
            // What is sent may hold a password.
            Some(DialogueStep::Send(_)) => format!("step {number} (send)"),
            Some(DialogueStep::StartTls) => format!("step {number} (starttls)"),
            Some(DialogueStep::Expect(wanted)) => format!("step {number} ({})", wanted.bytes),
            None => "the end".to_owned(),
        }
    }
}
