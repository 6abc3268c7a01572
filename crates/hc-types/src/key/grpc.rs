//! gRPC in the identity of a check.

use super::{Encoding, tag};
use crate::GrpcProbe;

impl Encoding {
    pub(super) fn grpc(&mut self, grpc: &GrpcProbe) {
        let GrpcProbe { tls, service, host, server_name } = grpc;
        self.field(tag::KIND, &[7]);
        self.tls(tls.as_ref());
        for (tag, value) in [(tag::HTTP_HOST, host), (tag::SERVER_NAME, server_name)] {
            if let Some(value) = value {
                self.field(tag, value.as_bytes());
            }
        }
        self.field_unless_empty(tag::SERVICE, service.as_bytes());
    }
}
