//! The kernel's route sockets (rtnetlink(7)): one hears every change, one asks for links, rules and
//! routes.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use hc_types::Mark;
use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, Parseable as _,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily as Family, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};

/// Bits of `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `_ROUTE`, `_RULE`, `RTMGRP_IPV6_IFADDR`, `_ROUTE`
/// and of `RTNLGRP_IPV6_RULE`, which has no name of this kind (`linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << 18);

/// Room for 40,000 changes of routes between two readings, in bytes as the kernel counts them.
/// Empty, it takes no memory.
const QUEUE: usize = 16 * 1024 * 1024;

/// The longest message that is read: a link with hundreds of virtual functions has some tens of
/// kilobytes.
pub(super) const LONGEST: usize = 128 * 1024;

/// `LOOPBACK_IFINDEX`: the loopback interface has this index in every network namespace.
pub(super) const LOOPBACK: u32 = 1;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The state of a link, which may be the one that it had.
    Link {
        index: u32,
        exists: bool,
        /// It is up and has a carrier.
        works: bool,
        /// It belongs to a bridge or a bond, so no route leads to it.
        is_port: bool,
    },
    /// A local address is gone.
    AddressGone { ip: IpAddr, link: u32 },
    /// A route has come, has gone or is another.
    Route { to: IpNet, table: u32 },
    /// A rule has come or gone.
    Rule { to: IpNet, mark: Option<(u32, u32)> },
    /// Changes that were not read in time, or that cannot be understood.
    Unknown,
}

/// Which way is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) to: IpAddr,
    pub(super) mark: Option<Mark>,
    /// The source that the packets have.
    pub(super) source: Option<IpAddr>,
    /// The link that they must take.
    pub(super) device: Option<u32>,
}

impl Way {
    /// That of packets without a mark, a source or a link of their own.
    pub(super) fn to(to: IpAddr) -> Self {
        Self { to, mark: None, source: None, device: None }
    }
}

/// What the kernel says about the way to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// The links through which packets may go.
    pub(super) links: Vec<u32>,
    pub(super) source: Option<IpAddr>,
    pub(super) table: u32,
    pub(super) length: u8,
    /// It leads to this machine itself, through the loopback interface.
    pub(super) is_local: bool,
    /// The kernel has marked every way as dead or without carrier.
    pub(super) is_down: bool,
}

/// Hears of every change.
#[derive(Debug)]
pub(super) struct Notices(OwnedFd);

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// There is nothing more.
    Nothing,
    /// Messages were lost.
    Lost,
}

impl Notices {
    pub(super) fn open() -> io::Result<Self> {
        let socket = route_socket()?;
        // Beyond the host's limit where we may, up to it where we may not.
        if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &QUEUE)?;
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        read(&self.0, buffer)
    }
}

fn route_socket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(Family::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
}

fn read(socket: &OwnedFd, buffer: &mut [u8]) -> Read {
    loop {
        // With MSG_TRUNC the length is that of the message, also when it did not fit.
        return match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) if length <= buffer.len() => Read::Bytes(length),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Read::Nothing,
            // ENOBUFS: the queue was full.
            Ok(_) | Err(_) => Read::Lost,
        };
    }
}

/// The messages in a datagram: type and payload.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let (kind, payload) = (message.message_type(), message.payload());
        let length = usize::try_from(message.length()).ok()?.next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The changes in a datagram that can concern a path.
pub(super) fn changes(bytes: &[u8]) -> impl Iterator<Item = Change> {
    messages(bytes).filter_map(|(kind, payload)| match kind {
        libc::RTM_NEWLINK => Some(link(payload, true)),
        libc::RTM_DELLINK => Some(link(payload, false)),
        libc::RTM_DELADDR => Some(address_gone(payload).unwrap_or(Change::Unknown)),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => route_change(payload),
        libc::RTM_NEWRULE | libc::RTM_DELRULE => rule_change(payload),
        _ => None,
    })
}

fn link(payload: &[u8], exists: bool) -> Change {
    // The header alone says what matters most, whatever attributes a newer kernel has.
    let Ok(header) = LinkHeader::parse(payload) else { return Change::Unknown };
    let is_port = LinkMessage::parse(payload).is_ok_and(|message| {
        message.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Controller(_)))
    });
    let works = exists && header.flags.contains(LinkFlags::Up | LinkFlags::Running);
    Change::Link { index: header.index, exists, works, is_port }
}

fn address_gone(payload: &[u8]) -> Option<Change> {
    let message = AddressMessage::parse(payload).ok()?;
    let mut ip = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link the other one is the peer's.
            AddressAttribute::Local(local) => ip = Some(*local),
            AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
            _ => {}
        }
    }
    Some(Change::AddressGone { ip: ip?, link: message.header.index })
}

/// The address of a prefix that says none: all addresses.
fn any(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(IpAddr::from([0; 4])),
        AddressFamily::Inet6 => Some(IpAddr::from([0; 16])),
        _ => None,
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn route_change(payload: &[u8]) -> Option<Change> {
    let Ok(message) = RouteMessage::parse(payload) else { return Some(Change::Unknown) };
    let header = &message.header;
    let mut to = any(header.address_family)?;
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip_of(address)?,
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let is_cached = header.flags.contains(RouteFlags::Cloned);
    let carries_probes = !matches!(header.kind, RouteType::Multicast | RouteType::Broadcast);
    let to = IpNet::new(to, header.destination_prefix_length).ok()?;
    (carries_probes && !is_cached).then_some(Change::Route { to, table })
}

fn rule_change(payload: &[u8]) -> Option<Change> {
    let Ok(message) = RuleMessage::parse(payload) else { return Some(Change::Unknown) };
    let mut to = any(message.header.family)?;
    let (mut mark, mut mask) = (None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(ip) => to = *ip,
            RuleAttribute::FwMark(number) => mark = Some(*number),
            RuleAttribute::FwMask(bits) => mask = *bits,
            // It is for packets that are forwarded; our own come from the loopback interface.
            RuleAttribute::Iifname(name) if name != "lo" => return None,
            _ => {}
        }
    }
    let to = IpNet::new(to, message.header.dst_len).ok()?;
    Some(Change::Rule { to, mark: mark.map(|mark| (mark, mask)) })
}

/// Asks the kernel, which answers at once.
#[derive(Debug)]
pub(super) struct Questions {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

impl Questions {
    pub(super) fn open() -> io::Result<Self> {
        let socket = route_socket()?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// Calls `answer` with each message that answers `question`.
    fn ask(
        &self,
        question: RouteNetlinkMessage,
        flags: u16,
        buffer: &mut [u8],
        mut answer: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        // What a question that failed has left behind; not for ever, should the socket be broken.
        for _ in 0..1024 {
            if read(&self.socket, buffer) == Read::Nothing {
                break;
            }
        }
        let mut header = NetlinkHeader::default();
        self.sequence.set(self.sequence.get().wrapping_add(1));
        header.sequence_number = self.sequence.get();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        loop {
            let Read::Bytes(length) = read(&self.socket, buffer) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            for (kind, payload) in messages(&buffer[..length]) {
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
                    }
                    kind => answer(kind, payload),
                }
            }
            if flags & NLM_F_DUMP == 0 {
                return Ok(());
            }
        }
    }

    /// Every link that there is.
    pub(super) fn links(&self, buffer: &mut [u8]) -> io::Result<Vec<Change>> {
        let mut links = Vec::new();
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.ask(question, NLM_F_DUMP, buffer, |_, payload| links.push(link(payload, true)))?;
        Ok(links)
    }

    /// The tables that the rules of a family look at.
    pub(super) fn tables(&self, ipv4: bool, buffer: &mut [u8]) -> io::Result<Vec<u32>> {
        let mut tables = Vec::new();
        let mut message = RuleMessage::default();
        message.header.family = family(ipv4);
        self.ask(RouteNetlinkMessage::GetRule(message), NLM_F_DUMP, buffer, |_, payload| {
            let Ok(rule) = RuleMessage::parse(payload) else { return };
            if rule.header.action == RuleAction::ToTable {
                let long = rule.attributes.iter().find_map(|attribute| match attribute {
                    RuleAttribute::Table(table) => Some(*table),
                    _ => None,
                });
                tables.push(long.unwrap_or(rule.header.table.into()));
            }
        })?;
        Ok(tables)
    }

    /// The way to an address.
    pub(super) fn route(&self, way: &Way, buffer: &mut [u8]) -> io::Result<Route> {
        let Way { to, mark, source, device } = *way;
        let mut route = Route::default();
        // The first question finds the way of a packet, and its source; the second the route that
        // it takes, with all its next hops.
        for flags in [RouteFlags::LookupTable, RouteFlags::LookupTable | RouteFlags::FibMatch] {
            let mut message = RouteMessage::default();
            message.header.address_family = family(to.is_ipv4());
            message.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
            message.header.flags = flags;
            message.attributes.push(RouteAttribute::Destination(to.into()));
            message.attributes.extend(mark.map(|mark| RouteAttribute::Mark(mark.get())));
            if let Some(source) = source {
                message.header.source_prefix_length = message.header.destination_prefix_length;
                message.attributes.push(RouteAttribute::Source(source.into()));
            }
            message.attributes.extend(device.map(RouteAttribute::Oif));
            let is_match = flags.contains(RouteFlags::FibMatch);
            self.ask(RouteNetlinkMessage::GetRoute(message), 0, buffer, |_, payload| {
                if let Ok(answer) = RouteMessage::parse(payload) {
                    route.take(&answer, is_match);
                }
            })?;
        }
        Ok(route)
    }
}

impl Route {
    fn take(&mut self, answer: &RouteMessage, is_match: bool) {
        let header = &answer.header;
        if header.kind == RouteType::Local {
            self.is_local = true;
            self.links.push(LOOPBACK);
        }
        self.table = header.table.into();
        if is_match {
            self.length = header.destination_prefix_length;
        }
        let dead = RouteFlags::Dead | RouteFlags::Linkdown;
        self.is_down |= header.flags.intersects(dead);
        for attribute in &answer.attributes {
            match attribute {
                RouteAttribute::Table(table) => self.table = *table,
                RouteAttribute::Oif(link) => self.links.push(*link),
                RouteAttribute::PrefSource(source) => self.source = self.source.or(ip_of(source)),
                RouteAttribute::MultiPath(hops) => {
                    let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
                    self.links.extend(hops.iter().map(|hop| hop.interface_index));
                    self.is_down |= !hops.is_empty() && hops.iter().all(|hop| hop.flags.intersects(dead));
                }
                _ => {}
            }
        }
        self.links.sort_unstable();
        self.links.dedup();
    }
}

fn family(ipv4: bool) -> AddressFamily {
    if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
