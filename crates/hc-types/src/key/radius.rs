//! RADIUS in the identity of a check.

use super::{Encoding, tag};
use crate::{RadiusExpectation, RadiusProbe, RadiusStatusProbe};

impl Encoding {
    pub(super) fn radius_status(&mut self, status: &RadiusStatusProbe) {
        let RadiusStatusProbe { secret, require_message_authenticator } = status;
        self.field(tag::KIND, &[6]);
        self.field_unless_empty(tag::SECRET, secret.expose());
        self.flag(tag::REQUIRE_MESSAGE_AUTHENTICATOR, *require_message_authenticator);
        self.flag(tag::STATUS_SERVER, true);
    }

    pub(super) fn radius(&mut self, radius: &RadiusProbe) {
        let RadiusProbe { username, password, secret, expect, require_message_authenticator } = radius;
        self.field(tag::KIND, &[6]);
        self.field_unless_empty(tag::USERNAME, username.as_slice());
        self.field_unless_empty(tag::PASSWORD, password.expose());
        self.field_unless_empty(tag::SECRET, secret.expose());
        match expect {
            RadiusExpectation::Accept => {}
            RadiusExpectation::Reject => self.field(tag::EXPECTED_RESPONSE, &[1]),
            RadiusExpectation::Challenge => self.field(tag::EXPECTED_RESPONSE, &[2]),
            RadiusExpectation::Any => self.field(tag::EXPECTED_RESPONSE, &[3]),
        }
        self.flag(tag::REQUIRE_MESSAGE_AUTHENTICATOR, *require_message_authenticator);
    }
}
