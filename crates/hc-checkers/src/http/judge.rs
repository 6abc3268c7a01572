//! Whether a response is as expected, whichever version of HTTP brought it.

use std::fmt;

use hc_types::{
    BodyCondition, Failure, HeaderCondition, HeaderTest, HttpConditions, HttpProbe, JsonCondition, Mismatch,
    Pattern, quote,
};
use memchr::memmem;

use super::json::{self, Found};
use super::{Body, BodyError, ResponseHead};
use crate::fault;

/// Judges status and header fields. `status` is the text of the status.
pub(super) fn check_head(probe: &HttpProbe, head: &ResponseHead, status: &str) -> Result<(), Failure> {
    if !probe.expected_codes.accepts(head.status) {
        return Err(Failure::Status { got: status.into() });
    }
    let conditions = probe.conditions.iter().flat_map(|conditions| &conditions.headers);
    for HeaderCondition { name, test } in conditions {
        check_header(name, test, head).map_err(|(got, unmet)| {
            let mismatch = Mismatch::new(got, Some(status.into())).unmet(fault::truncate_text(unmet));
            Failure::HeaderMismatch(Box::new(mismatch))
        })?;
    }
    Ok(())
}

/// Says what the value is, and how it does not meet the condition.
fn check_header<'h>(name: &str, test: &HeaderTest, head: &'h ResponseHead) -> Result<(), (&'h [u8], String)> {
    let mut values =
        head.fields.iter().filter(|(own, _)| **own == *name).map(|(_, value)| &**value).peekable();
    let Some(first) = values.peek().copied() else {
        return match test {
            HeaderTest::Absent => Ok(()),
            _ => Err((&[], format!("the response has no header {name}"))),
        };
    };
    let (meets, how) = match test {
        HeaderTest::Present => return Ok(()),
        HeaderTest::Absent => return Err((first, format!("the response has a header {name}, and must not"))),
        HeaderTest::Equals(value) => (values.any(|got| got == value.as_slice()), "is not"),
        HeaderTest::Contains(part) => {
            (values.any(|got| memmem::find(got, part.as_slice()).is_some()), "does not contain")
        }
        HeaderTest::Matches(pattern) => {
            // Values are short: only a strange pattern has too many states for one.
            (values.any(|got| pattern.is_match(got).unwrap_or(false)), "does not match")
        }
        _ => (false, "cannot be judged by"),
    };
    let wanted = match test {
        HeaderTest::Equals(value) | HeaderTest::Contains(value) => quote(value.as_slice()),
        other => {
            let text = other.to_string();
            text.strip_prefix("matches ").map_or_else(|| text.clone(), str::to_owned)
        }
    };
    if meets { Ok(()) } else { Err((first, format!("the header {name} {how} {wanted}"))) }
}

fn body_conditions(probe: &HttpProbe) -> Option<&HttpConditions> {
    probe.conditions.as_deref().filter(|conditions| !conditions.body.is_empty())
}

/// How much of a body is looked at, in bytes.
pub(super) fn body_limit(probe: &HttpProbe) -> usize {
    body_conditions(probe).map_or(probe.expected_body.len(), |conditions| conditions.body_limit as usize)
}

/// Judges a body as it comes. Holds no more of it than the conditions may need.
pub(super) struct BodyJudge<'p> {
    expected: &'p [u8],
    conditions: &'p [BodyCondition],
    /// How many bytes are looked at. One more is read, which shows that the body is longer.
    limit: usize,
    status: Box<str>,
    body: Body,
    /// How much of the body was searched.
    searched: usize,
    /// Which of the conditions are known to be met before the body has ended.
    met: Vec<bool>,
}

impl<'p> BodyJudge<'p> {
    /// `None`: any body will do, and none is read.
    ///
    /// # Errors
    /// The head alone shows that the body cannot be as expected.
    pub(super) fn new(probe: &'p HttpProbe, head: &ResponseHead) -> Result<Option<Self>, Failure> {
        let expected = probe.expected_body.as_slice();
        let of_body = body_conditions(probe);
        if expected.is_empty() && of_body.is_none() {
            return Ok(None);
        }
        let conditions = of_body.map_or(&[][..], |conditions: &HttpConditions| &*conditions.body);
        let limit = body_limit(probe);
        let wanted = if of_body.is_some() { limit + 1 } else { limit };
        let status = head.status_text.clone();
        let body = Body::new(head, wanted);
        let judge = Self {
            expected,
            conditions,
            limit,
            status,
            body,
            searched: 0,
            met: vec![false; conditions.len()],
        };
        // Go's client closes the response before its body can be read, and Seesaw fails the check.
        if !expected.is_empty() && head.is_redirect() {
            return Err(judge.mismatch(None));
        }
        if let (Some(encoding), Some(_)) = (&head.encoding, of_body) {
            let unmet = format!("the body has Content-Encoding {}, which is not decoded", quote(encoding));
            return Err(judge.mismatch(Some(unmet)));
        }
        Ok(Some(judge))
    }

    /// How many bytes of memory it takes, about.
    pub(super) fn size(&self) -> usize {
        self.body.size()
    }

    /// Takes bytes from the connection. Gives whether the body is known to be right, whatever
    /// follows.
    ///
    /// # Errors
    /// [`Failure::BodyMismatch`] as soon as the body cannot become right; [`BodyError`] as
    /// [`Failure::MalformedReply`].
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let taken = self.body.take(bytes);
        let got = self.body.prefix();
        let common = got.len().min(self.expected.len());
        if got[..common] != self.expected[..common] {
            taken.map_err(malformed)?;
            return Err(self.mismatch(None));
        }
        if let Err(error) = taken {
            // What came before the error counts as if it had come in a read of its own, so that the
            // verdict does not depend on packets.
            return if self.is_met() { Ok(true) } else { Err(malformed(error)) };
        }
        if self.body.has_ended() {
            return self.end().map(|()| true);
        }
        if self.body.is_enough() {
            return self.judge_all(!self.conditions.is_empty()).map(|()| true);
        }
        Ok(self.is_met())
    }

    /// Whether what has come shows that the body is right, whatever follows.
    fn is_met(&mut self) -> bool {
        self.search();
        self.body.prefix().len() >= self.expected.len() && self.met.iter().all(|met| *met)
    }

    /// The body has ended with its stream or its connection.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.body.finish().map_err(malformed)?;
        self.judge_all(self.body.prefix().len() > self.limit)
    }

    /// Looks for what may be found before the end.
    fn search(&mut self) {
        let got = self.body.prefix();
        for (condition, met) in self.conditions.iter().zip(&mut self.met) {
            if let BodyCondition::Contains(part) = condition {
                let from = (self.searched + 1).saturating_sub(part.len()).min(got.len());
                *met = *met || memmem::find(&got[from..], part.as_slice()).is_some();
            }
        }
        self.searched = got.len();
    }

    /// `longer`: there is more of the body than is looked at.
    fn judge_all(&self, longer: bool) -> Result<(), Failure> {
        let got = self.body.prefix();
        if !got.starts_with(self.expected) {
            return Err(self.mismatch(None));
        }
        let got = &got[..got.len().min(self.limit)];
        for (condition, met) in self.conditions.iter().zip(&self.met) {
            if !met {
                judge_condition(condition, got, longer.then_some(self.limit))
                    .map_err(|unmet| self.mismatch(Some(unmet)))?;
            }
        }
        Ok(())
    }

    fn mismatch(&self, unmet: Option<String>) -> Failure {
        let shown = if unmet.is_some() { self.limit } else { self.expected.len() };
        let got = self.body.prefix();
        let mut mismatch = Mismatch::new(&got[..got.len().min(shown)], Some(self.status.clone()));
        mismatch.unmet = unmet.map(fault::truncate_text);
        Failure::BodyMismatch(Box::new(mismatch))
    }
}

/// Says how the body does not meet the condition. `longer`: only so many bytes of it were read, and
/// it is longer.
fn judge_condition(condition: &BodyCondition, got: &[u8], longer: Option<usize>) -> Result<(), String> {
    let part = fmt::from_fn(|f| match longer {
        None => Ok(()),
        Some(limit) => write!(f, " (it is longer than the {limit} bytes that are read of it)"),
    });
    match condition {
        BodyCondition::Contains(wanted) => match memmem::find(got, wanted.as_slice()) {
            Some(_) => Ok(()),
            None => Err(format!("the body does not contain {}{part}", quote(wanted.as_slice()))),
        },
        BodyCondition::Matches(pattern) => judge_pattern(pattern, got, longer.is_some(), &part),
        BodyCondition::Json(json) => match longer {
            None => judge_json(json, got),
            Some(limit) => Err(format!(
                "the body is longer than the {limit} bytes that are read of it, too long for JSON"
            )),
        },
        _ => Err("the body cannot be judged".to_owned()),
    }
}

fn judge_pattern(pattern: &Pattern, got: &[u8], longer: bool, part: &dyn fmt::Display) -> Result<(), String> {
    let matches = if longer { pattern.is_match_in_part(got) } else { pattern.is_match(got) };
    match matches {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("the body does not match {pattern}{part}")),
        Err(error) => Err(format!("nobody knows whether the body matches {pattern}: {error}")),
    }
}

fn judge_json(json: &JsonCondition, got: &[u8]) -> Result<(), String> {
    let JsonCondition { pointer, equals } = json;
    let place = quote(pointer.as_bytes());
    let found = json::find(got, pointer).map_err(|error| format!("the body is not JSON: {error}"))?;
    match (&found, equals) {
        (Found::Nothing, _) => Err(format!("the JSON body has nothing at {place}")),
        (_, None) => Ok(()),
        (Found::Scalar(scalar), Some(wanted)) if scalar == wanted => Ok(()),
        (found, Some(wanted)) => {
            let mut found = found.to_string();
            hc_types::cut(&mut found, Mismatch::KEPT);
            Err(format!("the JSON body has {found} at {place}, want {wanted}"))
        }
    }
}

fn malformed(error: BodyError) -> Failure {
    Failure::MalformedReply(error.to_string().into())
}
