//! DNS in the identity of a check.

use std::net::IpAddr;

use super::{Encoding, tag};
use crate::{DnsExpectation, DnsOptions, DnsProbe};

impl Encoding {
    pub(super) fn dns(&mut self, dns: &DnsProbe) {
        let DnsProbe { query, query_type, query_class, expect, options } = dns;
        self.field(tag::KIND, &[5]);
        self.field(tag::QUERY, query.as_bytes());
        self.field(tag::QUERY_TYPE, &query_type.0.to_be_bytes());
        self.field(tag::QUERY_CLASS, &query_class.0.to_be_bytes());
        match expect {
            DnsExpectation::Any => {}
            DnsExpectation::Ips(ips) => {
                // All of one family, which the query type decides.
                let mut octets = Vec::new();
                for ip in ips {
                    match ip {
                        IpAddr::V4(ip) => octets.extend(ip.octets()),
                        IpAddr::V6(ip) => octets.extend(ip.octets()),
                    }
                }
                self.field(tag::EXPECTED_IPS, &octets);
            }
            DnsExpectation::Text(text) => self.field(tag::EXPECTED_ANSWER, text.as_bytes()),
        }
        if let Some(options) = options {
            self.dns_options(options);
        }
    }

    fn dns_options(&mut self, options: &DnsOptions) {
        let DnsOptions {
            fresh_label,
            edns_payload,
            dnssec_ok,
            checking_disabled,
            recursion_desired,
            expected_rcodes,
        } = options;
        self.flag(tag::FRESH_LABEL, *fresh_label);
        if let Some(size) = edns_payload {
            self.field(tag::EDNS_PAYLOAD, &size.to_be_bytes());
        }
        self.flag(tag::DNSSEC_OK, *dnssec_ok);
        self.flag(tag::CHECKING_DISABLED, *checking_disabled);
        self.flag(tag::NO_RECURSION, !*recursion_desired);
        let codes: Vec<u8> = expected_rcodes.iter().flat_map(|code| code.0.to_be_bytes()).collect();
        self.field_unless_empty(tag::EXPECTED_RCODES, &codes);
    }
}
