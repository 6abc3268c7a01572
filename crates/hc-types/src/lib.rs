//! The vocabulary of the health checker: what is checked, what a probe found, what is reported.
//!
//! This crate holds no I/O, no async runtime and no clock. Values that make no sense cannot be
//! built: a [`CheckSpec`] exists only with an interval and a timeout above zero, a port where the
//! probe needs one, and a mark where the mode needs one. The JSON of the protocol between hc-proxy
//! and hc-server is in the crate `hc-wire`.
//!
//! ```
//! use std::time::Duration;
//! use hc_types::{CheckSpec, Outcome, ProbeSpec, Target, TcpProbe, Failure, Timing};
//!
//! let target = Target::plain("192.0.2.1".parse()?, 80);
//! let tcp = ProbeSpec::Tcp(TcpProbe::default());
//! let second = Duration::from_secs(1);
//! let timing = Timing::every(5 * second).timeout(second).retries(2);
//! let spec = CheckSpec::new(target.clone(), tcp.clone(), timing)?;
//! let text = spec.text(&Outcome::Fail(Failure::Refused));
//! assert_eq!(text, "TCP connect to 192.0.2.1:80; connection refused");
//!
//! // A probe without a deadline is not a check.
//! assert!(CheckSpec::new(target, tcp, timing.timeout(Duration::ZERO)).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adaptive;
mod backend;
mod bytes;
mod dialogue;
mod evidence;
mod host_name;
mod http;
mod id;
mod index;
mod interned;
mod key;
mod local_fault;
mod mix;
mod opinions;
mod outcome;
mod overrides;
mod pass;
mod pattern;
mod probe;
mod recognise;
mod refresh;
mod set;
mod small;
mod source;
mod spec;
mod status;
mod stream_pattern;
mod target;
mod text;
mod throttle;
mod timing;
mod tls;
mod traits;
pub mod verdict;
mod wall;

pub use adaptive::{AdaptiveTimeout, PassTimes};
pub use backend::impossible_backend;
pub use bytes::{RawBytes, Secret};
pub use dialogue::{
    Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, LdapDialogue, MysqlDialogue,
    PostgresqlDialogue, RedisDialogue, RedisRole, SmtpDialogue, StepFailure,
};
pub use evidence::{ConnectionOrigin, Evidence, PhaseTimes, ProbeResult, Seen, TlsFacts};
pub use host_name::{HostName, Rule};
pub use http::StatusCodes;
pub use http::condition::{
    BodyCondition, HeaderCondition, HeaderTest, HttpConditions, JsonCondition, JsonNumber, JsonScalar,
};
pub use http::request::{HeaderField, HttpRequest, HttpVersion};
pub use id::{CheckId, Incarnation};
pub use index::IdIndex;
pub use key::CheckKey;
pub use local_fault::{FaultClass, LocalFault};
pub use mix::mix64;
pub use opinions::{OpinionKeys, OpinionPolicy, Quorum, QuorumError};
pub use outcome::{
    AddressFailure, Failure, Heard, Mismatch, Outcome, Phase, SmallOutcome, Stray, TimeoutEvidence,
    Unreachable,
};
pub use overrides::{Operator, Override, Paused, Ruling, Subject, WEEKDAYS, WeekTime, Weekly};
pub use pass::{DnsAnswer, Pass, StatusText, Warned};
pub use pattern::{Pattern, PatternError, TooManyStates};
pub use probe::{
    DnsExpectation, DnsOptions, DnsProbe, GrpcProbe, HttpOverrides, HttpProbe, ProbeSpec, RadiusExpectation,
    RadiusProbe, RadiusStatusProbe, Rcode, RecordClass, RecordNameError, RecordType, TcpProbe, UdpProbe,
};
pub use recognise::{RECOGNISED, recognise, wants_https};
pub use refresh::{BUCKETS, Digest, Refresh, bucket};
pub use set::{Rejection, SetChange};
pub use small::U48;
pub use source::{Known, Metadata, Proposal, Reply, Source};
pub use spec::{CheckSpec, SpecError};
pub use status::{Batch, CheckStatus, Counts, Health, Held, Progress, Remembered, Status, StatusUpdate};
pub use stream_pattern::{Matched, StreamMatcher, StreamPattern, StreamPatternError};
pub use target::{Mark, Mode, ProxyProtocol, Target, Via};
pub use text::{cut, quote, radius_code_name};
pub use throttle::Throttle;
pub use timing::{Jitter, MAX_PERIOD, MIN_INTERVAL, Needed, Pace, PeriodError, Timing};
pub use tls::{KeyPin, Tls, TlsIdentity, TlsOptions, TlsVersion};
pub use traits::{Observer, Prober, Sink};
pub use wall::WallTime;
