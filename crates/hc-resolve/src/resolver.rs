//! Asks by the system's configuration.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::Instant;

/// Name servers and search domains.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names that are known without asking.
const HOSTS: &str = "/etc/hosts";

/// Directories that must stay readable for [`Resolver::system`] in a sandbox: those of the system's
/// files and of what these are links to. Not the files themselves, since one that is replaced by a
/// rename is another one.
#[must_use]
pub fn system_reach() -> Vec<PathBuf> {
    let files = [RESOLV_CONF, HOSTS].map(PathBuf::from).into_iter();
    let paths = files.flat_map(|file| [fs::canonicalize(&file).ok(), Some(file)]).flatten();
    let directories = paths.filter_map(|path| path.parent().map(Path::to_owned));
    directories.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// The longest that one server is waited for.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The addresses; none when the name does not exist or has no addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// How long that is good for: the shortest TTL, or that of the negative answer (RFC 2308).
    pub valid_for: Duration,
}

/// Why there is no answer. It says nothing about the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The text is no name of a host.
    #[error("{0:?} is not a host name")]
    NotAName(String),
    /// No server answered, or each said that it cannot.
    #[error("no resolver answers: {0}")]
    Unavailable(String),
}

/// Who is asked for addresses: [`Resolver`], or what stands in its place in a simulation.
pub trait Lookup: Clone + Send + 'static {
    /// The addresses of `host`.
    ///
    /// # Errors
    /// [`ResolveError`] when nothing can be said about the name.
    fn lookup(&self, host: &str) -> impl Future<Output = Result<Answer, ResolveError>> + Send;
}

impl Lookup for Resolver {
    fn lookup(&self, host: &str) -> impl Future<Output = Result<Answer, ResolveError>> + Send {
        self.resolve(host)
    }
}

/// Finds addresses of names. Cheap to clone; all clones share one configuration.
#[derive(Clone)]
pub struct Resolver(Arc<Mutex<Configured>>);

struct Configured {
    library: Library,
    /// What the files looked like when they were read; `None` for name servers that were given by
    /// hand.
    files: Option<[(PathBuf, Stamp); 2]>,
    /// That they cannot be read has been logged.
    is_warned: bool,
}

/// The library's resolver, once for each family: asked for both, it takes an answer for one as a
/// whole answer although nothing is known of the other.
#[derive(Clone)]
struct Library {
    v4: TokioResolver,
    v6: TokioResolver,
    hosts: Arc<Hosts>,
}

/// What shows that a file has changed.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// By `/etc/resolv.conf` and `/etc/hosts`, which are read again when they change. Without the
    /// former the server on this machine is asked, as resolv.conf(5) has it.
    ///
    /// # Errors
    /// When the file cannot be read or names no server that can be asked.
    pub fn system() -> io::Result<Self> {
        let files = [RESOLV_CONF, HOSTS].map(|path| (PathBuf::from(path), stamp(Path::new(path))));
        Ok(Self::new(by_system()?, Some(files)))
    }

    fn new(library: Library, files: Option<[(PathBuf, Stamp); 2]>) -> Self {
        Self(Arc::new(Mutex::new(Configured { library, files, is_warned: false })))
    }

    /// By these servers over UDP, and TCP for long answers; no search domains and no hosts file.
    ///
    /// # Errors
    /// When the library refuses them.
    pub fn with_servers(servers: &[SocketAddr]) -> io::Result<Self> {
        let servers = servers.iter().map(|server| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = server.port());
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        Ok(Self::new(build(&config, &ResolverOpts::default(), Hosts::default())?, None))
    }

    /// The addresses of `host`, IPv4 and IPv6: those of `/etc/hosts` if it has the name, else what
    /// the servers say for both families. A name without a dot at its end is also looked for in the
    /// search domains.
    ///
    /// # Errors
    /// [`ResolveError`] when nothing can be said about the name, or about one family of its
    /// addresses.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn resolve(&self, host: &str) -> Result<Answer, ResolveError> {
        let name = Name::from_utf8(host).map_err(|_| ResolveError::NotAName(host.to_owned()))?;
        let Library { v4, v6, hosts } = self.current();
        let fixed = by_hosts(&hosts, &name);
        if !fixed.is_empty() {
            return Ok(Answer { addresses: fixed, valid_for: Duration::MAX });
        }
        let (v4, v6) = tokio::join!(v4.lookup_ip(name.clone()), v6.lookup_ip(name));
        let (v4, v6) = (answer(v4)?, answer(v6)?);
        // How long a negative answer is good for matters only if the other one is negative, too.
        let valid_for = match (v4.addresses.is_empty(), v6.addresses.is_empty()) {
            (false, true) => v4.valid_for,
            (true, false) => v6.valid_for,
            _ => v4.valid_for.min(v6.valid_for),
        };
        Ok(Answer { addresses: v4.addresses.into_iter().chain(v6.addresses).collect(), valid_for })
    }

    /// The library's resolver, by the files as they are.
    fn current(&self) -> Library {
        let mut configured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Configured { library, files, is_warned } = &mut *configured;
        if let Some(files) = files {
            let now = files.each_ref().map(|(path, _)| stamp(path));
            if files.iter().zip(&now).any(|((_, old), new)| old != new) {
                match by_system() {
                    Ok(new) => {
                        *library = new;
                        *is_warned = false;
                        for ((_, old), new) in files.iter_mut().zip(now) {
                            *old = new;
                        }
                        tracing::info!("the resolver's configuration has changed and was read again");
                    }
                    // Perhaps half written, or out of descriptors: what is known stands, and the
                    // next question tries again.
                    Err(error) if !*is_warned => {
                        *is_warned = true;
                        tracing::warn!(%error, "the resolver's configuration cannot be read: the old one stands");
                    }
                    Err(_) => {}
                }
            }
        }
        library.clone()
    }
}

/// What was said about one family.
fn answer(found: Result<LookupIp, NetError>) -> Result<Answer, ResolveError> {
    match found {
        Ok(found) => {
            let valid_for = found.valid_until().saturating_duration_since(Instant::now().into_std());
            // IPv4-mapped addresses are IPv4 addresses.
            Ok(Answer { addresses: found.iter().map(|ip| ip.to_canonical()).collect(), valid_for })
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            let valid_for = Duration::from_secs(none.negative_ttl.unwrap_or_default().into());
            Ok(Answer { addresses: BTreeSet::new(), valid_for })
        }
        Err(error) => Err(ResolveError::Unavailable(error.to_string())),
    }
}

fn by_hosts(hosts: &Hosts, name: &Name) -> BTreeSet<IpAddr> {
    let families = [RecordType::A, RecordType::AAAA].into_iter();
    let found = families.filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    found
        .flat_map(|lookup| LookupIp::from(lookup).iter().map(|ip| ip.to_canonical()).collect::<Vec<_>>())
        .collect()
}

fn by_system() -> io::Result<Library> {
    let text = match fs::read(RESOLV_CONF) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => b"nameserver 127.0.0.1\n".to_vec(),
        read => read?,
    };
    let (config, options) = parse_resolv_conf(text).map_err(io::Error::other)?;
    let mut hosts = Hosts::default();
    match fs::read(HOSTS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => hosts.read_hosts_conf(&*read?).map_err(io::Error::other)?,
    }
    build(&config, &options, hosts)
}

fn build(config: &ResolverConfig, options: &ResolverOpts, hosts: Hosts) -> io::Result<Library> {
    let of_family = |family| {
        let provider = TokioRuntimeProvider::default();
        let mut builder =
            TokioResolver::builder_with_config(config.clone(), provider).with_options(options.clone());
        let options = builder.options_mut();
        options.ip_strategy = family;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = options.timeout.min(TIMEOUT);
        // Answers are kept by those who ask, for as long as they are good.
        options.cache_size = 0;
        builder.build().map_err(io::Error::other)
    };
    let (v4, v6) = (of_family(LookupIpStrategy::Ipv4Only)?, of_family(LookupIpStrategy::Ipv6Only)?);
    Ok(Library { v4, v6, hosts: Arc::new(hosts) })
}
