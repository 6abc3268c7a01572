//! The client of HAProxy's agent-check: one line of words
//! (<https://docs.haproxy.org/2.8/configuration.html#5.2-agent-check>).

use hc_types::{Failure, Pass, quote};

use super::received::{Next, Received, Talk, malformed, mismatch};

/// The longest line. HAProxy reads one buffer; nobody needs as much.
const MAX_LINE: usize = 1024;

/// A question to an agent.
#[derive(Debug)]
pub struct Agent<'p> {
    send: &'p [u8],
    sent: bool,
}

impl<'p> Agent<'p> {
    /// Sends these bytes first, if there are any.
    #[must_use]
    pub fn new(send: &'p [u8]) -> Self {
        Self { send, sent: send.is_empty() }
    }
}

impl Talk for Agent<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        if !self.sent {
            self.sent = true;
            return Ok(Next::Send(self.send.to_vec()));
        }
        let rest = received.rest();
        let seen = &rest[..rest.len().min(MAX_LINE)];
        let end = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let line = match end {
            Some(end) => &seen[..end],
            None if seen.len() == MAX_LINE => return Err(malformed(format!("a line of {MAX_LINE} bytes"))),
            // The end of the connection is the end of the line. Without a byte it is no answer.
            None if received.ended && !seen.is_empty() => seen,
            None => return Ok(Next::Read),
        };
        received.take(line.len());
        let pass = verdict(line)?;
        Ok(Next::Pass { pass, farewell: &[] })
    }

    fn step(&self) -> String {
        "the agent's answer".to_owned()
    }
}

/// What the words of an agent mean. A word that takes the server out of service wins over all
/// others. Words may stand in any order and in any case, divided by blanks, tabs or commas; behind
/// `#`, and behind a word for "down", stands a reason. Unknown words are ignored beside known ones.
fn verdict(line: &[u8]) -> Result<Pass, Failure> {
    let (words, reason) = match line.iter().position(|byte| *byte == b'#') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[][..]),
    };
    let (mut up, mut out, mut weight) = (None, None, None);
    for word in words.split(|byte| matches!(byte, b' ' | b'\t' | b',')).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        match &*lower {
            b"up" | b"ready" => up = Some(word),
            b"down" | b"failed" | b"fail" | b"stopped" | b"maint" | b"drain" => {
                // Whatever follows is the reason.
                out = Some(words[word.as_ptr().addr() - words.as_ptr().addr()..].trim_ascii());
                break;
            }
            [digits @ .., b'%'] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                weight = Some(word);
            }
            _ => {}
        }
    }
    let nothing = |weight: &&[u8]| weight[..weight.len() - 1].iter().all(|digit| *digit == b'0');
    if let Some(out) = out.or_else(|| weight.filter(nothing)) {
        let reason = reason.trim_ascii();
        let more = if reason.is_empty() { String::new() } else { format!(": {}", quote(reason)) };
        return Err(Failure::WrongAnswer(format!("the agent says {}{more}", quote(out)).into()));
    }
    if up.is_none() && weight.is_none() {
        return Err(mismatch(line, b""));
    }
    let words = up.into_iter().chain(weight);
    let text: Vec<_> = words.map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect();
    Ok(Pass::answer(format!("the agent says {}", text.join(" "))))
}
