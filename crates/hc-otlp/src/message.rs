//! The messages of OTLP 1.x, as far as spans of probes need them:
//! `opentelemetry/proto/trace/v1/trace.proto` and `collector/trace/v1/trace_service.proto` of
//! open-telemetry/opentelemetry-proto. Fields keep their numbers for ever there, and a reader takes
//! a field that is missing for its default.

use prost::{Message, Oneof};

/// `ExportTraceServiceRequest`, which on the wire is the same as `TracesData`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub(crate) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) name: String,
    /// 3 is `SPAN_KIND_CLIENT`.
    #[prost(int32, tag = "6")]
    pub(crate) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(crate) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(crate) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    pub(crate) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(fixed64, tag = "1")]
    pub(crate) time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    /// 2 is `STATUS_CODE_ERROR`.
    #[prost(int32, tag = "3")]
    pub(crate) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Integer(i64),
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

impl KeyValue {
    pub(crate) fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(AnyValue { value: Some(Value::Text(value.into())) }) }
    }

    pub(crate) fn integer(key: &str, value: i64) -> Self {
        Self { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Integer(value)) }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// The bytes were made by Google's protobuf for Python from the descriptors that
    /// opentelemetry-proto 0.33.1 has.
    #[test]
    fn a_request_is_what_other_writers_make_of_it() {
        let expected = concat!(
            "0ac5010a1d0a1b0a0c736572766963652e6e616d65120b0a0968632d7365727665721",
            "2a3010a120a0968632d7365727665721205312e322e33128c010a1001010101010101",
            "010101010101010101120802020202020202022a0970726f626520746370300339010",
            "02a36fe9c97174109002a36fe9c97174a110a0b7365727665722e706f727412021850",
            "5a2f0905002a36fe9c97171207636f6e6e6563741a1b0a1468632e70686173652e647",
            "5726174696f6e5f7573120318bc057a0b1207726566757365641802",
        );
        let event = Event {
            time_unix_nano: 1_700_000_000_000_000_005,
            name: "connect".into(),
            attributes: vec![KeyValue::integer("hc.phase.duration_us", 700)],
        };
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "probe tcp".into(),
            kind: 3,
            start_time_unix_nano: 1_700_000_000_000_000_001,
            end_time_unix_nano: 1_700_000_000_000_000_009,
            attributes: vec![KeyValue::integer("server.port", 80)],
            events: vec![event],
            status: Some(Status { message: "refused".into(), code: 2 }),
        };
        let scope = Scope { name: "hc-server".into(), version: "1.2.3".into() };
        let resource = Resource { attributes: vec![KeyValue::text("service.name", "hc-server")] };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span] }];
        let request =
            Request { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] };
        assert_eq!(request.encode_to_vec(), bytes(expected));
        let partial = Response::decode(&bytes("0a06080312026e6f")[..]).unwrap().partial_success.unwrap();
        assert_eq!((partial.rejected_spans, &*partial.error_message), (3, "no"));
    }
}
