//! The question as it is sent, and the verdict on whatever comes back (RFC 1035 section 4, RFC 5452
//! section 9.1).

use hc_types::{
    DnsAnswer, DnsOptions, DnsProbe, Failure, Outcome, Pass, Rcode, RecordClass, RecordType, Stray, cut,
};
use hickory_proto::op::{Header, HeaderCounts, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder, DecodeError, Restrict};

use super::answer::{Data, Expected, ExpectedAnswerError};
use super::name::{NameError, display_name, parse_name, with_label};

/// The longest chain of CNAMEs that is followed. Resolvers stop between 8 and 16.
pub const MAX_CHAIN: usize = 16;

/// How many unexpected answers a text names.
const SHOWN: usize = 3;
/// How many bytes of an answer a text shows. A check at rest keeps it, and TXT data may have 64 kB.
const TOLD: usize = 256;

const CNAME: RecordType = RecordType(5);
const OPT: RecordType = RecordType(41);
const ANY_TYPE: RecordType = RecordType(255);
const ANY_CLASS: RecordClass = RecordClass(255);

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// The name to ask for is invalid.
    #[error("the name {0:?} {1}")]
    Name(Box<str>, #[source] NameError),
    /// The expected answer can never be found.
    #[error(transparent)]
    Expected(#[from] ExpectedAnswerError),
}

/// What a packet from the target means.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Nothing: wait for the next one.
    Ignore(Stray),
    /// The answer did not fit; ask again over TCP.
    Truncated,
    /// The verdict.
    Verdict(Outcome),
}

impl From<Failure> for Judgement {
    fn from(failure: Failure) -> Self {
        Self::Verdict(Outcome::Fail(failure))
    }
}

/// One question, ready to be asked any number of times, and the answer that it expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    name: Name,
    record_type: RecordType,
    class: RecordClass,
    expected: Expected,
    options: DnsOptions,
}

impl Question {
    /// Reads the question and the expected answer of a check. `random` becomes the fresh label, if
    /// the check wants one.
    ///
    /// # Errors
    /// [`QuestionError`] when the name to ask for, with the label before it, or the expected answer
    /// is invalid.
    pub fn new(probe: &DnsProbe, random: u64) -> Result<Self, QuestionError> {
        let DnsProbe { query, query_type, query_class, expect, options } = probe;
        let options = options.as_deref().cloned().unwrap_or_default();
        let name = parse_name(query).and_then(|name| match options.fresh_label {
            true => with_label(&format!("{random:016x}"), &name),
            false => Ok(name),
        });
        Ok(Self {
            name: name.map_err(|e| QuestionError::Name(query.clone(), e))?,
            record_type: *query_type,
            class: *query_class,
            expected: Expected::new(expect, *query_type)?,
            options,
        })
    }

    /// The message that asks it: one question, and EDNS if the check wants it. Without options it
    /// is Seesaw's (`healthcheck/dns.go`): recursion desired, no EDNS.
    #[must_use]
    pub fn encode(&self, id: u16) -> Vec<u8> {
        let mut query = Query::query(self.name.clone(), self.record_type.0.into());
        query.set_query_class(self.class.0.into());
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = self.options.recursion_desired;
        message.metadata.checking_disabled = self.options.checking_disabled;
        message.add_query(query);
        let mut message = message.to_vec().expect("a valid name and four numbers always fit");
        if let Some(size) = self.options.edns_payload {
            // RFC 6891 section 6.1.2: the root, the type, the size, extended code and version, the
            // flags, no options. And one record in the additional section.
            message.extend_from_slice(&[0, 0, 41]);
            message.extend_from_slice(&size.to_be_bytes());
            message.extend_from_slice(&[0, 0, u8::from(self.options.dnssec_ok) << 7, 0, 0, 0]);
            message[11] = 1;
        }
        message
    }

    /// Judges a packet that came from the target while the question with this `id` was open.
    ///
    /// In this order: another id or another question is ignored; a message that is not a response,
    /// or breaks the format, fails; a response code other than the expected ones fails, and an
    /// expected one other than NOERROR passes, whatever else is in the message; a truncated one
    /// (TC) is to be asked for again; and the answer section must hold what is expected.
    ///
    /// A response with an error code may lack the question, as FORMERR and REFUSED often do.
    #[must_use]
    pub fn judge(&self, id: u16, packet: &[u8]) -> Judgement {
        let Some((first, _)) = packet.split_first_chunk::<2>() else {
            return Judgement::Ignore(Stray::Short);
        };
        if u16::from_be_bytes(*first) != id {
            return Judgement::Ignore(Stray::OtherId);
        }
        self.judge_own(packet).unwrap_or_else(|error| malformed(&error).into())
    }

    fn judge_own(&self, packet: &[u8]) -> Result<Judgement, DecodeError> {
        let mut decoder = BinDecoder::new(packet);
        let Header { metadata, counts } = Header::read(&mut decoder)?;
        if metadata.message_type != MessageType::Response {
            return Ok(Failure::MalformedReply("not a query response".into()).into());
        }
        let failed = metadata.response_code != ResponseCode::NoError;
        match counts.queries {
            0 if failed => {}
            1 if self.is_asked_by(&Query::read(&mut decoder)?) => {}
            _ => return Ok(Judgement::Ignore(Stray::OtherQuestion)),
        }
        let code = self.full_code(metadata.response_code.into(), &counts, packet, decoder.index());
        if !self.takes(code) {
            return Ok(Failure::DnsRcode(code.0).into());
        }
        if code != Rcode::NOERROR {
            return Ok(Judgement::Verdict(Pass::dns(DnsAnswer::Rcode(code)).into()));
        }
        if metadata.truncation {
            return Ok(Judgement::Truncated);
        }
        let answers =
            (0..counts.answers).map(|_| self.read_record(&mut decoder)).collect::<Result<Vec<_>, _>>()?;
        for _ in 0..u32::from(counts.authorities) + u32::from(counts.additionals) {
            skip_record(&mut decoder)?;
        }
        Ok(Judgement::Verdict(self.judge_answers(answers)))
    }

    fn takes(&self, code: Rcode) -> bool {
        match &*self.options.expected_rcodes {
            [] => code == Rcode::NOERROR,
            expected => expected.contains(&code),
        }
    }

    /// The response code with the eight bits that an OPT record adds (RFC 6891 section 6.1.3). It
    /// is looked for only if we have spoken EDNS. Records that break the format hide it.
    fn full_code(&self, low: u16, counts: &HeaderCounts, packet: &[u8], records_at: usize) -> Rcode {
        let high = || {
            self.options.edns_payload?;
            let mut decoder = BinDecoder::new(packet).clone(u16::try_from(records_at).ok()?);
            let others = u32::from(counts.answers) + u32::from(counts.authorities);
            (0..others).try_for_each(|_| skip_record(&mut decoder)).ok()?;
            (0..counts.additionals).find_map(|_| {
                let head = read_head(&mut decoder).ok()?;
                decoder.read_slice(head.length.into()).ok()?;
                (head.record_type == OPT).then_some(head.ttl_high >> 8)
            })
        };
        Rcode(high().unwrap_or(0) << 4 | low)
    }

    fn is_asked_by(&self, query: &Query) -> bool {
        query.name == self.name
            && u16::from(query.query_type) == self.record_type.0
            && u16::from(query.query_class) == self.class.0
    }

    /// Reads a record of the answer section. Only the data that can matter is decoded.
    fn read_record(&self, decoder: &mut BinDecoder<'_>) -> Result<Answer, DecodeError> {
        let RecordHead { owner, record_type, class, length, ttl_high: _ } = read_head(decoder)?;
        let wanted = self.record_type == ANY_TYPE || self.record_type == record_type || record_type == CNAME;
        let data = if !wanted {
            decoder.read_slice(length.into())?;
            None
        } else if Data::is_decoded(record_type) {
            Data::from_hickory(RData::read(decoder, record_type.0.into(), Restrict::new(length))?)
        } else {
            Some(Data::Opaque(decoder.read_slice(length.into())?.unverified(/* any bytes are data */).into()))
        };
        Ok(Answer { owner, record_type, class, data })
    }

    fn judge_answers(&self, answers: Vec<Answer>) -> Outcome {
        if answers.is_empty() {
            return Failure::WrongAnswer("no answers received".into()).into();
        }
        let count = answers.len();
        let names = self.chain(&answers);
        let mut others = Vec::new();
        let of_type =
            |answer: &Answer| self.record_type == ANY_TYPE || answer.record_type == self.record_type;
        for answer in answers {
            if !of_type(&answer) || !self.is_of_class(&answer) || !names.contains(&answer.owner) {
                continue;
            }
            match answer.data {
                Some(data) if self.expected.matches(&data) => return Pass::dns(kept(&data)).into(),
                Some(data) => others.push(data),
                None => {}
            }
        }
        Failure::WrongAnswer(self.mismatch(count, &names, &others).into()).into()
    }

    fn mismatch(&self, count: usize, names: &[Name], others: &[Data]) -> String {
        let last = names.last().unwrap_or(&self.name);
        if others.is_empty() {
            return format!(
                "none of {count} answers is a {} record of {}",
                self.record_type,
                display_name(last)
            );
        }
        let shown: Vec<String> = others.iter().take(SHOWN).map(told).collect();
        let more = if others.len() > SHOWN { ", …" } else { "" };
        format!("failed to match answer: got {}{more}", shown.join(", "))
    }

    fn is_of_class(&self, answer: &Answer) -> bool {
        self.class == ANY_CLASS || answer.class == self.class
    }

    /// The name that was asked for, and those that it is an alias of, in order. A question for
    /// CNAME or ANY is answered by the name itself (RFC 1034 section 3.6.2).
    fn chain(&self, answers: &[Answer]) -> Vec<Name> {
        let mut names = vec![self.name.clone()];
        if matches!(self.record_type, CNAME | ANY_TYPE) {
            return names;
        }
        while names.len() <= MAX_CHAIN {
            let alias = answers.iter().find_map(|answer| {
                let is_alias = answer.record_type == CNAME
                    && self.is_of_class(answer)
                    && names.last() == Some(&answer.owner);
                answer.data.clone().filter(|_| is_alias)?.into_name()
            });
            match alias {
                Some(name) if !names.contains(&name) => names.push(name),
                _ => break,
            }
        }
        names
    }
}

/// A record of the answer section. `data` is `None` where it cannot matter.
struct Answer {
    owner: Name,
    record_type: RecordType,
    class: RecordClass,
    data: Option<Data>,
}

/// What stands before the data of every record (RFC 1035 section 4.1.3).
struct RecordHead {
    owner: Name,
    record_type: RecordType,
    class: RecordClass,
    /// The upper half of the TTL, where OPT has the extended response code and the version.
    ttl_high: u16,
    length: u16,
}

fn read_head(decoder: &mut BinDecoder<'_>) -> Result<RecordHead, DecodeError> {
    let owner = Name::read(decoder)?;
    let mut number = || Ok::<_, DecodeError>(decoder.read_u16()?.unverified(/* all values are valid */));
    let (record_type, class) = (RecordType(number()?), RecordClass(number()?));
    let (ttl_high, _ttl_low) = (number()?, number()?);
    Ok(RecordHead { owner, record_type, class, ttl_high, length: number()? })
}

fn skip_record(decoder: &mut BinDecoder<'_>) -> Result<(), DecodeError> {
    let head = read_head(decoder)?;
    decoder.read_slice(head.length.into())?;
    Ok(())
}

/// An answer as it is kept.
fn kept(data: &Data) -> DnsAnswer {
    match data {
        Data::Ip(ip) => DnsAnswer::Address(*ip),
        data => DnsAnswer::Text(told(data).into()),
    }
}

/// An answer as text, cut where it is long.
fn told(data: &Data) -> String {
    let mut text = data.to_string();
    cut(&mut text, TOLD);
    text
}

fn malformed(error: &DecodeError) -> Failure {
    Failure::MalformedReply(error.to_string().into())
}

#[cfg(test)]
mod tests;
