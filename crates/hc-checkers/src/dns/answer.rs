//! What an answer must be, and what it was, in words (presentation form, RFC 1035 section 5.1).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use hc_types::{DnsExpectation, RecordType};
use hickory_proto::rr::{Name, RData};

use super::name::{display_name, parse_name};

/// Why an expected answer can never be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected answer {text:?} is not {form}")]
pub struct ExpectedAnswerError {
    text: String,
    form: &'static str,
}

/// What one record of the answer must hold, read from a [`DnsExpectation`] once, before anything is
/// sent.
///
/// The text of [`DnsExpectation::Text`] is, by type of record:
///
/// | type | text | compared |
/// |---|---|---|
/// | `CNAME`, `NS`, `PTR` | `name` | names without regard to case and last dot |
/// | `MX` | `preference name` | number and name |
/// | `SRV` | `priority weight port name` | numbers and name |
/// | `SOA` | `mname rname serial refresh retry expire minimum` | names and numbers; numbers are plain seconds |
/// | `TXT` | all strings joined without a gap; or, if it begins with `"`, each string in double quotes, one space between, `"`, `\` and unprintable bytes escaped | byte for byte |
/// | any other | `\# length hex` of RFC 3597 section 5 | data |
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Any data.
    Any,
    /// One of these addresses.
    Ips(Box<[IpAddr]>),
    /// Names and numbers, in the order of the record's fields.
    Fields(Vec<Field>),
    /// The joined strings of a TXT record.
    Joined(Box<[u8]>),
    /// The exact presentation form of a TXT record.
    Quoted(Box<str>),
    /// The data as it travels.
    Opaque(Box<[u8]>),
}

/// One field of a record's data.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A number.
    Number(u32),
    /// A domain name.
    Name(Name),
}

/// The data of one record, as far as the types that are compared field by field go.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A or AAAA.
    Ip(IpAddr),
    /// CNAME, NS, PTR, MX, SRV or SOA.
    Fields(Vec<Field>),
    /// TXT.
    Strings(Box<[Box<[u8]>]>),
    /// All other types.
    Opaque(Box<[u8]>),
}

/// The fields of each type that has any: `true` is a name, `false` a number.
fn layout(record_type: RecordType) -> Option<(&'static [bool], &'static str)> {
    Some(match record_type.0 {
        2 | 5 | 12 => (&[true], "a domain name"),
        6 => (
            &[true, true, false, false, false, false, false],
            "\"mname rname serial refresh retry expire minimum\"",
        ),
        15 => (&[false, true], "\"preference name\""),
        33 => (&[false, false, false, true], "\"priority weight port name\""),
        _ => return None,
    })
}

const TXT: RecordType = RecordType(16);

impl Expected {
    /// Reads what a check expects of records of `record_type`.
    ///
    /// # Errors
    /// [`ExpectedAnswerError`] when the text cannot be the data of such a record.
    pub fn new(expect: &DnsExpectation, record_type: RecordType) -> Result<Self, ExpectedAnswerError> {
        let text = match expect {
            DnsExpectation::Any => return Ok(Self::Any),
            DnsExpectation::Ips(ips) => return Ok(Self::Ips(ips.clone())),
            DnsExpectation::Text(text) => &**text,
        };
        let wrong = |form| ExpectedAnswerError { text: text.to_owned(), form };
        if let Some((kinds, form)) = layout(record_type) {
            return parse_fields(text, kinds).map(Self::Fields).ok_or_else(|| wrong(form));
        }
        if record_type == TXT {
            let quoted = text.starts_with('"');
            return Ok(if quoted { Self::Quoted(text.into()) } else { Self::Joined(text.as_bytes().into()) });
        }
        parse_opaque(text).map(Self::Opaque).ok_or_else(|| wrong("\"\\# length hex\""))
    }

    /// Whether `data` is what is expected.
    #[must_use]
    pub fn matches(&self, data: &Data) -> bool {
        match (self, data) {
            (Self::Any, _) => true,
            (Self::Ips(ips), Data::Ip(ip)) => ips.contains(ip),
            (Self::Fields(fields), Data::Fields(got)) => fields == got,
            (Self::Joined(text), Data::Strings(strings)) => strings.iter().flatten().eq(text.iter()),
            (Self::Quoted(text), data @ Data::Strings(_)) => data.to_string() == **text,
            (Self::Opaque(bytes), Data::Opaque(got)) => bytes == got,
            _ => false,
        }
    }
}

fn parse_fields(text: &str, kinds: &[bool]) -> Option<Vec<Field>> {
    let mut words = text.split_ascii_whitespace();
    let fields = kinds
        .iter()
        .map(|is_name| {
            let word = words.next()?;
            if *is_name {
                parse_name(word).ok().map(Field::Name)
            } else {
                word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok().map(Field::Number))?
            }
        })
        .collect::<Option<Vec<_>>>()?;
    words.next().is_none().then_some(fields)
}

fn parse_opaque(text: &str) -> Option<Box<[u8]>> {
    let mut words = text.split_ascii_whitespace();
    words.next().filter(|mark| *mark == "\\#")?;
    let length: usize = words.next()?.parse().ok()?;
    let digits: Vec<u8> = words
        .flat_map(str::chars)
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    (odd.is_empty() && pairs.len() == length)
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

impl Data {
    /// Takes over what hickory decoded. `None` for types that stay opaque.
    pub(super) fn from_hickory(data: RData) -> Option<Self> {
        use Field::{Name, Number};
        // SOA's intervals are 32-bit unsigned on the wire (RFC 2308 section 4); hickory holds three
        // of them signed.
        let seconds = |signed: i32| Number(signed.cast_unsigned());
        Some(match data {
            RData::A(a) => Self::Ip(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Self::Ip(IpAddr::V6(aaaa.0)),
            RData::CNAME(name) => Self::Fields(vec![Name(name.0)]),
            RData::NS(name) => Self::Fields(vec![Name(name.0)]),
            RData::PTR(name) => Self::Fields(vec![Name(name.0)]),
            RData::MX(mx) => Self::Fields(vec![Number(mx.preference.into()), Name(mx.exchange)]),
            RData::SRV(srv) => Self::Fields(vec![
                Number(srv.priority.into()),
                Number(srv.weight.into()),
                Number(srv.port.into()),
                Name(srv.target),
            ]),
            RData::SOA(soa) => Self::Fields(vec![
                Name(soa.mname),
                Name(soa.rname),
                Number(soa.serial),
                seconds(soa.refresh),
                seconds(soa.retry),
                seconds(soa.expire),
                Number(soa.minimum),
            ]),
            RData::TXT(txt) => Self::Strings(txt.txt_data),
            _ => return None,
        })
    }

    /// Whether records of this type are decoded. All others are compared as they travel.
    pub(super) fn is_decoded(record_type: RecordType) -> bool {
        matches!(record_type, RecordType::A | RecordType::AAAA | TXT) || layout(record_type).is_some()
    }

    /// The name in a record that has nothing else.
    pub(super) fn into_name(self) -> Option<Name> {
        match self {
            Self::Fields(fields) => match <[Field; 1]>::try_from(fields) {
                Ok([Field::Name(name)]) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The presentation form.
impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Fields(fields) => {
                for (i, field) in fields.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { " " })?;
                    match field {
                        Field::Number(number) => number.fmt(f)?,
                        Field::Name(name) => display_name(name).fmt(f)?,
                    }
                }
                Ok(())
            }
            Self::Strings(strings) => {
                for (i, string) in strings.iter().enumerate() {
                    f.write_str(if i == 0 { "\"" } else { " \"" })?;
                    for byte in string {
                        match byte {
                            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                            b' '..=b'~' => f.write_char(char::from(*byte))?,
                            _ => write!(f, "\\{byte:03}")?,
                        }
                    }
                    f.write_char('"')?;
                }
                Ok(())
            }
            Self::Opaque(bytes) => {
                write!(f, "\\# {}", bytes.len())?;
                for (i, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte:02x}", if i == 0 { " " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Field {
        Field::Name(parse_name(text).unwrap())
    }

    fn strings(strings: &[&[u8]]) -> Data {
        Data::Strings(strings.iter().map(|s| (*s).into()).collect())
    }

    /// Whether `data`, of a record of type `word`, is what `text` asks for.
    #[track_caller]
    fn check(word: &str, text: &str, data: &Data, expected: bool) {
        let expect = Expected::new(&DnsExpectation::Text(text.into()), word.parse().unwrap()).unwrap();
        assert_eq!(expect.matches(data), expected, "{word} {text} against {data}");
    }

    #[track_caller]
    fn refused(word: &str, text: &str, expected: &str) {
        let error = Expected::new(&DnsExpectation::Text(text.into()), word.parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn names_are_compared_without_case_and_last_dot() {
        let data = Data::Fields(vec![name("NS1.example.com")]);
        for word in ["NS", "CNAME", "PTR"] {
            check(word, "ns1.example.com", &data, true);
            check(word, "ns1.EXAMPLE.com.", &data, true);
            check(word, "ns2.example.com", &data, false);
        }
        assert_eq!(data.to_string(), "NS1.example.com.");
    }

    #[test]
    fn records_of_several_fields_are_compared_field_by_field() {
        let mx = Data::Fields(vec![Field::Number(10), name("mail.example")]);
        check("MX", "10 Mail.example.", &mx, true);
        check("MX", " 010   mail.example", &mx, true);
        check("MX", "20 mail.example", &mx, false);
        let srv =
            Data::Fields(vec![Field::Number(1), Field::Number(2), Field::Number(443), name("h.example")]);
        check("SRV", "1 2 443 h.example", &srv, true);
        check("SRV", "1 2 80 h.example", &srv, false);
        let mut soa = vec![name("ns.example"), name("root.example")];
        soa.extend([2024, 7200, 3600, 1_209_600, 300].map(Field::Number));
        check("SOA", "ns.example. root.example. 2024 7200 3600 1209600 300", &Data::Fields(soa), true);
    }

    #[test]
    fn txt_is_compared_joined_or_quoted() {
        let data = strings(&[b"v=spf1 ", b"-all"]);
        check("TXT", "v=spf1 -all", &data, true);
        check("TXT", "\"v=spf1 \" \"-all\"", &data, true);
        check("TXT", "\"v=spf1 -all\"", &data, false);
        check("TXT", "V=spf1 -all", &data, false);
        check("TXT", "", &strings(&[b""]), true);
        check("TXT", "\"a\\\"\\\\\\007\"", &strings(&[b"a\"\\\x07"]), true);
    }

    #[test]
    fn other_types_are_compared_as_they_travel() {
        let data = Data::Opaque([0xde, 0xad].into());
        check("TYPE65", "\\# 2 DEAD", &data, true);
        check("TYPE65", "\\# 2 de ad", &data, true);
        check("TYPE65", "\\# 2 beef", &data, false);
        assert_eq!(data.to_string(), "\\# 2 dead");
    }

    #[test]
    fn text_that_no_record_can_hold_is_refused() {
        refused("NS", "a..b", "expected answer \"a..b\" is not a domain name");
        refused("NS", "a b", "expected answer \"a b\" is not a domain name");
        refused("MX", "mail.example", "expected answer \"mail.example\" is not \"preference name\"");
        refused("MX", "+1 mail.example", "expected answer \"+1 mail.example\" is not \"preference name\"");
        refused("TYPE65", "\\# 3 dead", "expected answer \"\\\\# 3 dead\" is not \"\\# length hex\"");
        refused("TYPE65", "dead", "expected answer \"dead\" is not \"\\# length hex\"");
    }
}
