//! Handshakes of checks that ask for more than others: [`TlsOptions`].
//!
//! Such a handshake takes any certificate whose key the peer holds, and [`Client::inspect`] judges
//! the certificates when it is over and before anything is sent: the name that they are verified
//! against is one of the handshake, while the configuration of the library is shared by many
//! checks.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use hc_types::{KeyPin, RawBytes, Tls, TlsIdentity, TlsOptions, TlsVersion, quote};
use openssl::ssl::SslContext;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::verify::{self, Verifying};
use super::{der, libssl, reason, roots};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The clients of the options that are in use.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<(usize, u8), Shared>>);

/// The client of one set of options, for as long as checks have these.
struct Shared {
    /// It also keeps the address from being used again.
    options: Weak<TlsOptions>,
    client: Arc<Client>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// That of these options, made when it is first needed. Those whose checks are gone are dropped
    /// when another one is made.
    pub(super) fn of(&self, tls: &Tls, options: &Arc<TlsOptions>) -> Arc<Client> {
        let flags = [tls.verify, tls.old_versions, tls.rsa_key_exchange, tls.sha1];
        let flags = flags.iter().fold(0, |byte, flag| byte << 1 | u8::from(*flag));
        let key = (Arc::as_ptr(options).addr(), flags);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = clients.get(&key) {
            return Arc::clone(&shared.client);
        }
        clients.retain(|_, shared| shared.options.strong_count() > 0);
        let client = Arc::new(Client::new(tls, options));
        clients.insert(key, Shared { options: Arc::downgrade(options), client: Arc::clone(&client) });
        client
    }
}

/// What handshakes with the same options are made with.
pub(super) struct Client {
    /// No other one of this process has it.
    number: u64,
    /// Its flags.
    tls: Tls,
    /// A copy: whether checks still have them is seen by the count of references to theirs.
    options: TlsOptions,
    /// In place of the system's roots.
    verifying: Option<Verifying>,
    rustls: Result<Arc<ClientConfig>, String>,
    libssl: OnceLock<Result<SslContext, String>>,
}

/// What the peer has shown in its handshake.
pub(super) struct Shown<'a> {
    /// Its own certificate first.
    pub(super) chain: &'a [CertificateDer<'a>],
    /// The protocol that it chose.
    pub(super) alpn: Option<&'a [u8]>,
    /// It is what was shown, and found good, in the full handshake that this one follows from.
    pub(super) resumed: bool,
}

impl Client {
    fn new(tls: &Tls, options: &TlsOptions) -> Self {
        // One that cannot be read is left out, as among the system's.
        let own_roots =
            |roots: &[RawBytes]| Verifying::new(roots.iter().map(|root| root.as_slice().to_vec().into())).0;
        static NEXT: AtomicU64 = AtomicU64::new(0);

        Self {
            number: NEXT.fetch_add(1, Relaxed),
            tls: Tls { options: None, ..*tls },
            options: options.clone(),
            verifying: options.roots.as_deref().map(own_roots),
            rustls: rustls_config(options),
            libssl: OnceLock::new(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// # Errors
    /// Why the certificate of the client cannot be used.
    pub(super) fn rustls(&self) -> Result<Arc<ClientConfig>, String> {
        self.rustls.clone()
    }

    /// # Errors
    /// Why OpenSSL cannot be used.
    pub(super) fn libssl(&self) -> Result<&SslContext, String> {
        self.libssl
            .get_or_init(|| libssl::with_options(&self.tls, &self.options))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Judges what the peer has shown: the chain for `name`, and what the options ask for. Returns
    /// what somebody should look at.
    ///
    /// # Errors
    /// Why it is not good, in words.
    pub(super) fn inspect(
        &self,
        shown: &Shown<'_>,
        name: &ServerName<'_>,
        system: &Verifying,
    ) -> Result<Option<Box<str>>, String> {
        let Some((leaf, others)) = shown.chain.split_first() else {
            return Err("the peer sent no certificate".into());
        };
        if shown.resumed {
            // Its dates were looked at before the session was offered.
        } else if self.tls.verify {
            self.verifying.as_ref().unwrap_or(system).verify_chain(shown.chain, name, self.tls.sha1)?;
        } else {
            verify::check_key_sizes(leaf, others)?;
        }
        self.check_pin(leaf)?;
        self.check_alpn(shown.alpn)?;
        self.check_days(leaf, SystemTime::now())
    }

    fn check_pin(&self, leaf: &CertificateDer<'_>) -> Result<(), String> {
        if self.options.pins.is_empty() {
            return Ok(());
        }
        let key = der::public_key(leaf).ok_or("the peer's certificate cannot be read")?;
        let digest = digest::digest(&digest::SHA256, key.as_ref());
        let is_pinned = self.options.pins.iter().any(|KeyPin(pin)| digest.as_ref() == pin);
        if is_pinned {
            return Ok(());
        }
        let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Err(format!("the peer's key is not a pinned one: its SHA-256 is {digits}"))
    }

    fn check_alpn(&self, chosen: Option<&[u8]>) -> Result<(), String> {
        let offered = &self.options.alpn;
        if offered.is_empty() || chosen.is_some_and(|name| offered.iter().any(|one| one.as_slice() == name)) {
            return Ok(());
        }
        let offered: Vec<String> = offered.iter().map(|name| quote(name.as_slice())).collect();
        let chosen = chosen.map_or_else(|| "none".to_owned(), quote);
        Err(format!("the peer chose {chosen} of the protocols {} (ALPN)", offered.join(", ")))
    }

    fn check_days(&self, leaf: &[u8], now: SystemTime) -> Result<Option<Box<str>>, String> {
        let TlsOptions { min_days_left, warn_days_left, .. } = self.options;
        if min_days_left.is_none() && warn_days_left.is_none() {
            return Ok(None);
        }
        let (_, until) = der::validity(leaf).ok_or("the dates of the peer's certificate cannot be read")?;
        let left = (UNIX_EPOCH + Duration::from_secs(until)).duration_since(now).ok();
        let days = left.map(|left| left.as_secs() / DAY.as_secs());
        let ends = reason::instant(UnixTime::since_unix_epoch(Duration::from_secs(until)));
        let fewer = |least: u32| days.is_none_or(|days| days < u64::from(least));
        let words = || match days {
            None => format!("certificate has expired: not valid after {ends}"),
            Some(1) => format!("certificate ends in 1 day, at {ends}"),
            Some(days) => format!("certificate ends in {days} days, at {ends}"),
        };
        if let Some(least) = min_days_left.filter(|least| fewer(*least)) {
            return Err(format!("{}; at least {least} days are wanted", words()));
        }
        Ok(warn_days_left.filter(|least| fewer(*least)).map(|_| words().into()))
    }
}

fn rustls_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
    static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

    let versions = match options.min_version {
        Some(TlsVersion::V1_3) => ONLY_1_3,
        _ => rustls::DEFAULT_VERSIONS,
    };
    let identity = match &options.identity {
        None => None,
        Some(TlsIdentity { chain, key }) => {
            let chain = chain.iter().map(|one| CertificateDer::from(one.as_slice().to_vec())).collect();
            let key = PrivateKeyDer::try_from(key.expose().to_vec());
            let key = key.map_err(|error| format!("the key of the client's certificate: {error}"))?;
            Some((chain, key))
        }
    };
    let mut config = roots::client(Arc::new(verify::Accepting), versions, identity)
        .map_err(|error| format!("the client's certificate cannot be used: {error}"))?;
    config.alpn_protocols = options.alpn.iter().map(|name| name.as_slice().to_vec()).collect();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_shared_and_end_with_their_checks() {
        let clients = Clients::default();
        let check = |days| {
            let mut options = TlsOptions::default();
            options.min_days_left = Some(days);
            Tls { options: Some(Arc::new(options)), ..Tls::new(true) }
        };
        let of = |tls: &Tls| clients.of(tls, tls.options.as_ref().unwrap());
        let (one, other) = (check(1), check(2));
        assert!(Arc::ptr_eq(&of(&one), &of(&one.clone())));
        assert!(!Arc::ptr_eq(&of(&one), &of(&other)));
        let unverified = Tls { verify: false, ..one.clone() };
        assert!(!Arc::ptr_eq(&of(&one), &of(&unverified)));
        assert_eq!(clients.0.lock().unwrap().len(), 3);
        drop((one, unverified));
        of(&check(3));
        assert_eq!(clients.0.lock().unwrap().len(), 2);
    }
}
