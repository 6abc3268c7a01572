//! Errors of system calls, handed to [`hc_types::verdict`], which says what they mean.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use hc_types::verdict::{self, Call, Node};
use hc_types::{Failure, Heard, Phase, cut};

use crate::socket;

pub(crate) use hc_types::verdict::ProbeError;

/// What is kept of a text about a failure, in bytes: a check at rest holds it, and a backend may
/// send more than that.
const LONGEST_TEXT: usize = 1024;

/// A text about a failure that may quote the backend, cut where it is long.
pub(crate) fn truncate_text(mut text: String) -> Box<str> {
    cut(&mut text, LONGEST_TEXT);
    text.into()
}

/// A reset names how much of an answer came before it: `got` is all of it.
pub(crate) fn after(got: &[u8], error: ProbeError) -> ProbeError {
    match error {
        ProbeError::Failure(Failure::Reset(_)) if !got.is_empty() => {
            Failure::ResetAfter(Box::new(Heard::new(got))).into()
        }
        error => error,
    }
}

/// An error of the calls that make a socket ready: `socket`, `setsockopt`, and the poller's.
pub(crate) fn opening(error: &io::Error, ipv4: bool) -> ProbeError {
    judge(Call::Open { ipv6: !ipv4 }, error)
}

/// An error of `bind` to a source or an interface.
pub(crate) fn binding(error: &io::Error, ip: IpAddr) -> ProbeError {
    judge(Call::Bind { ip }, error)
}

/// An error of `connect`.
pub(crate) fn connecting(error: &io::Error, to: IpAddr) -> ProbeError {
    judge(Call::Connect { to }, error)
}

/// An error of the first `sendto`.
pub(crate) fn sending(error: &io::Error, to: IpAddr) -> ProbeError {
    judge(Call::FirstSend { to }, error)
}

/// Another error before anything was sent.
pub(crate) fn before_sending(error: &io::Error) -> ProbeError {
    judge(Call::BeforeSending, error)
}

/// An error after packets have left: from `SO_ERROR`, and from reads and writes on a connection.
/// `phase` is where the probe was.
pub(crate) fn after_sending(error: &io::Error, phase: Phase) -> ProbeError {
    judge(Call::AfterSending { phase }, error)
}

fn judge(call: Call, error: &io::Error) -> ProbeError {
    verdict::call_failed(call, error.raw_os_error(), &ThisNode)
}

/// The node that this process runs on.
struct ThisNode;

const IPV6_PARAMETERS: &str = "/proc/sys/net/ipv6";

impl Node for ThisNode {
    fn has_ipv6(&self) -> bool {
        Path::new(IPV6_PARAMETERS).exists()
    }

    fn ipv6_is_off(&self) -> bool {
        let all = format!("{IPV6_PARAMETERS}/conf/all/disable_ipv6");
        !self.has_ipv6() || fs::read(all).is_ok_and(|value| value.trim_ascii() == b"1")
    }

    fn loopback_is_down(&self) -> bool {
        socket::loopback_is_down()
    }
}
