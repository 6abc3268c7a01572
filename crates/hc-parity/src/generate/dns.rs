//! DNS messages that are right, partly right or changed.

use fastrand::Rng;
use hc_testkit::dns::{DnsMessage, wire_name};

use super::mutation::mutate;
use crate::case::Case;
use crate::cases::{NAME, dns_expecting};
use crate::serve::Server;

const RIGHT: [u8; 4] = [192, 0, 2, 1];

/// One record that a message may have.
#[derive(Clone, Copy)]
enum Record {
    Right,
    Wrong,
    OtherName,
    OtherType,
    OtherClass,
    Short,
    Unknown,
}

pub(super) fn case(n: usize, rng: &mut Rng) -> Case {
    use Record::{OtherClass, OtherName, OtherType, Right, Short, Unknown, Wrong};
    const RECORDS: [Record; 8] = [Right, Right, Wrong, OtherName, OtherType, OtherClass, Short, Unknown];

    let records: Vec<(usize, Record)> =
        (0..rng.usize(..5)).map(|_| (0, RECORDS[rng.usize(..RECORDS.len())])).collect();
    let rcode = [0, 0, 0, 0, 0, 2, 3, 5][rng.usize(..8)];
    // Only behind the header and the question: with another id, another question or TC the sides
    // differ by design, and the cases written by hand are about that.
    let changed = rng.bool();
    let seed = rng.u64(..);
    let server = Server::datagrams(move |query| {
        let message = DnsMessage::reply_to(query).rcode(rcode);
        let mut bytes = records
            .iter()
            .fold(message, |message, (section, record)| add(message, *section, *record))
            .build();
        if changed {
            let mut records = bytes.split_off(query.len());
            mutate(&mut records, &mut Rng::with_seed(seed));
            // A name in another case is an exception of its own.
            records.make_ascii_lowercase();
            bytes.extend(records);
        }
        vec![bytes]
    });
    let kind = if changed { "changed" } else { "whole" };
    Case::new(format!("generated/dns/{kind}/{n}"), server, dns_expecting("192.0.2.1"))
}

fn add(message: DnsMessage, section: usize, record: Record) -> DnsMessage {
    match record {
        Record::Right => message.record(section, NAME, 1, 1, &RIGHT),
        Record::Wrong => message.record(section, NAME, 1, 1, &[192, 0, 2, 2]),
        Record::OtherName => message.record(section, "other.example.com", 1, 1, &RIGHT),
        Record::OtherType => {
            message.record(section, NAME, 15, 1, &[&[0, 10][..], &wire_name("m.test")].concat())
        }
        Record::OtherClass => message.record(section, NAME, 1, 3, &RIGHT),
        Record::Short => message.record(section, NAME, 1, 1, &RIGHT[..3]),
        Record::Unknown => message.record(section, NAME, 65_280, 1, &[1, 2, 3]),
    }
}
