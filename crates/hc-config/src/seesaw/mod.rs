//! Seesaw's `cluster.pb`: the checks that Seesaw's engine makes of it.
//!
//! Proven check by check against what the real engine hands out (`tests/seesaw.rs`).

mod cluster;
mod healthcheck;
mod lexer;
mod record_types;
mod schema;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use hc_types::{CheckSpec, Mark, Mode};

use crate::build::{Draft, shared};
use crate::diagnostic::{Report, Span};
use crate::expand::Expansion;
use cluster::{Vserver, warn};
use healthcheck::{CheckType, Healthcheck, Listed};

/// Whether a file of this name holds a cluster of Seesaw.
pub(crate) fn is_cluster(name: &str) -> bool {
    [".pb", ".pbtxt", ".textproto", ".txtpb"].iter().any(|ending| name.ends_with(ending))
}

/// Makes the checks of a cluster. What the engine would refuse as a whole is in `report`, what it
/// would leave out in `warnings`.
pub(crate) fn read(
    bytes: &[u8],
    file: usize,
    expansion: &mut Expansion,
    report: &mut Report,
    warnings: &mut Report,
) -> Vec<Draft> {
    let Some(cluster) = text::read(bytes, file, &schema::CLUSTER, report) else { return Vec::new() };
    let mut vservers = cluster::vservers(&cluster, report, warnings);
    // The engine's order is random; what is first by name gives a shared check its name.
    vservers.sort_by(|a, b| a.name.cmp(&b.name));
    let uses = uses(&vservers, warnings);
    if !expansion.take(uses.len()) {
        report.add(
            cluster.at,
            "",
            format!("with this file there are more than {} checks in all", expansion.total()),
        );
        return Vec::new();
    }
    let marks = marks(uses.iter().map(|shared| (shared.uses[0].backend, shared.uses[0].listed.check.mode)));
    uses.iter().filter_map(|shared| shared.draft(&marks, warnings)).collect()
}

/// One check for one backend of one service.
struct Use<'c> {
    vserver: &'c Vserver,
    vip: IpAddr,
    /// Port and protocol of the entry; none for the checks of the vserver as a whole.
    service: Option<(u16, &'static str)>,
    backend: IpAddr,
    backend_name: &'c str,
    listed: &'c Listed,
}

/// The engine's `CheckKey`.
#[derive(PartialEq, Eq, Hash)]
struct UseKey<'c> {
    vip: IpAddr,
    backend: IpAddr,
    service: Option<(u16, &'static str)>,
    mode: Mode,
    check_type: CheckType,
    port: u16,
    name: &'c str,
}

/// What the engine runs once for all of its users: the same check of the same backend, and of the
/// same service where it goes through the VIP.
#[derive(PartialEq, Eq, Hash)]
struct SharedKey<'c> {
    backend: IpAddr,
    marked: Option<(IpAddr, Option<(u16, &'static str)>)>,
    check: &'c Healthcheck,
}

struct Shared<'c> {
    uses: Vec<Use<'c>>,
}

fn uses<'c>(vservers: &'c [Vserver], warnings: &mut Report) -> Vec<Shared<'c>> {
    let mut shared: Vec<Shared<'c>> = Vec::new();
    let mut by_key: HashMap<SharedKey<'c>, usize> = HashMap::new();
    let mut seen: HashMap<UseKey<'c>, &str> = HashMap::new();
    for used in vservers.iter().flat_map(uses_of) {
        let check = &used.listed.check;
        let key = UseKey {
            vip: used.vip,
            backend: used.backend,
            service: used.service,
            mode: check.mode,
            check_type: check.check_type,
            port: check.port,
            name: &check.name,
        };
        if let Some(other) = seen.insert(key, &used.vserver.name) {
            // Within one vserver two backends have one address, and the check serves both.
            if other != used.vserver.name {
                let problem = format!(
                    "vserver {other:?} has the same VIP, service and backend; the engine takes one of both"
                );
                warn(warnings, used.listed.at, "vserver", &problem);
            }
            continue;
        }
        let marked = (check.mode != Mode::Plain).then_some((used.vip, used.service));
        let key = SharedKey { backend: used.backend, marked, check };
        let index = *by_key.entry(key).or_insert_with(|| {
            shared.push(Shared { uses: Vec::new() });
            shared.len() - 1
        });
        shared[index].uses.push(used);
    }
    shared
}

/// What `expandServices`, `expandDests` and `expandChecks` of the engine make of a vserver, with or
/// without a firewall mark.
fn uses_of(vserver: &Vserver) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    // A vserver without entries has no services, so its own checks do not run either.
    let own = vserver.checks.iter().filter(|_| !vserver.entries.is_empty()).map(|listed| (None, listed));
    let of_entries = vserver.entries.iter().flat_map(|entry| {
        entry.checks.iter().map(move |listed| (Some((entry.port, entry.protocol)), listed))
    });
    let checks: Vec<_> = own.chain(of_entries).collect();
    for (family, vip) in vserver.addresses.iter().enumerate() {
        let Some(vip) = *vip else { continue };
        for host in &vserver.backends {
            let Some(backend) = host.addresses[family] else { continue };
            uses.extend(checks.iter().map(|(service, listed)| Use {
                vserver,
                vip,
                service: *service,
                backend,
                backend_name: &host.name,
                listed,
            }));
        }
    }
    uses
}

impl Use<'_> {
    /// The engine's name of the destination and of the check: `web/192.0.2.1:80/TCP/HTTP/80_0`, and
    /// without port and protocol for a check of the vserver as a whole.
    fn name(&self) -> String {
        let destination = match self.service {
            Some((port, protocol)) => format!("{}/{protocol}", std::net::SocketAddr::new(self.backend, port)),
            None => self.backend.to_string(),
        };
        format!("{}/{destination}/{}", visible(&self.vserver.name), self.listed.check.name)
    }
}

/// Blanks, control characters and `%` as `%` and two hex digits for each byte, since names of
/// checks have none.
fn visible(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_whitespace() || character.is_control() || character == '%' {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(character);
        }
    }
    out
}

impl Shared<'_> {
    fn draft(&self, marks: &BTreeMap<(IpAddr, ModeOrder), Mark>, warnings: &mut Report) -> Option<Draft> {
        let first = &self.uses[0];
        let check = &first.listed.check;
        let mark = marks.get(&(first.backend, mode_order(check.mode))).copied();
        let at: Span = first.listed.at;
        let spec: CheckSpec = match check.spec(first.backend, first.vip, mark) {
            Ok(spec) => spec,
            Err(problem) => {
                let name = first.name();
                warn(warnings, at, "healthcheck", &format!("{name} does not run: {problem}"));
                return None;
            }
        };
        Some(Draft {
            name: first.name().into(),
            labels: shared(self.labels()),
            depends_on: crate::DependsOn::default(),
            metrics: false,
            opinions: hc_types::OpinionKeys::default(),
            spec,
            at,
        })
    }

    /// Who uses it; several are separated by commas.
    fn labels(&self) -> BTreeMap<String, String> {
        let joined = |words: BTreeSet<String>| words.into_iter().collect::<Vec<_>>().join(",");
        let vservers = self.uses.iter().map(|used| used.vserver.name.clone()).collect();
        let backends = self.uses.iter().map(|used| used.backend_name.to_owned()).collect();
        let services: BTreeSet<String> = self
            .uses
            .iter()
            .filter_map(|used| used.service.map(|(port, protocol)| format!("{port}/{protocol}")))
            .collect();
        let mut labels = BTreeMap::from([
            ("vserver".to_owned(), joined(vservers)),
            ("backend".to_owned(), joined(backends)),
        ]);
        if !services.is_empty() {
            labels.insert("service".to_owned(), joined(services));
        }
        labels
    }
}

/// 0 for plain, which has no mark.
type ModeOrder = u8;

fn mode_order(mode: Mode) -> ModeOrder {
    match mode {
        Mode::Plain => 0,
        Mode::Dsr => 1,
        Mode::Tun => 2,
    }
}

/// The first mark of the engine, and how many it has (`engine/healthcheck.go`).
const MARK_BASE: u32 = 1 << 16;
const MARKS: u32 = 16_000;

/// A mark for each backend and mode, from the range that the engine uses. It is made from the
/// address, so that it stays the same when other backends come and go, unless two would have the
/// same: then the later one takes the next free mark.
fn marks(users: impl Iterator<Item = (IpAddr, Mode)>) -> BTreeMap<(IpAddr, ModeOrder), Mark> {
    let users: BTreeSet<(IpAddr, ModeOrder)> =
        users.filter(|(_, mode)| *mode != Mode::Plain).map(|(ip, mode)| (ip, mode_order(mode))).collect();
    let mut taken = BTreeSet::new();
    let mut marks = BTreeMap::new();
    for (ip, mode) in users {
        let wanted = crate::check_id(&format!("{ip} {mode}")).0 % u64::from(MARKS);
        let wanted = u32::try_from(wanted).unwrap_or_default();
        let free = (0..MARKS).map(|step| (wanted + step) % MARKS).find(|mark| !taken.contains(mark));
        // With more backends than marks some have none, and their checks say so.
        let Some(free) = free else { continue };
        taken.insert(free);
        if let Some(mark) = Mark::new(MARK_BASE + free) {
            marks.insert((ip, mode), mark);
        }
    }
    marks
}
