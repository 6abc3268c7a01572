//! The checks that all nodes of a fleet have in common: files of checks in etcd.
//!
//! Each version is written once, in parts, below `checks/NUMBER/`. Then one transaction makes it what
//! counts, by the key `checks/head`, if nobody else has made another one that in the meantime. So a
//! reader has the whole of one version or nothing.

use std::io::Read as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use crate::client::{Client, Shared};
use crate::message::{
    Done, KeyValue, RANGE, RangeRequest, RangeResponse, TXN, TxnRequest, TxnResponse, WATCH,
    WatchCreateRequest, WatchRequest, WatchResponse, Watching, end_of,
};
use crate::{EtcdConfig, EtcdConfigError, EtcdError, Resolve, SCHEMA, txn};

/// The most bytes of a part; etcd takes 1.5 MiB at once.
const PART: usize = 512 * 1024;
/// The most bytes of all files of a version together.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// The most parts of a version, and the most bytes of it as it is kept.
const MOST_PARTS: u32 = 512;
/// How many versions are kept behind the one that counts.
const KEPT: usize = 4;
const HEAD: &str = "checks/head";

/// A file of checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFile {
    /// Its name, for messages about what is wrong in it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Which version of the checks counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Counts versions, from 1. Numbers may be missing.
    pub version: u64,
    /// How many parts it is kept in.
    parts: u32,
    /// Of all files, before they were compressed.
    bytes: usize,
    /// SHA-256 of what is kept, in hexadecimal digits.
    sha256: String,
    /// The versions before that are kept, the latest first.
    #[serde(default)]
    before: Vec<u64>,
    /// When etcd wrote it: the revision.
    #[serde(skip)]
    revision: i64,
}

/// Why a new version does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Somebody else has made another version the one that counts since `base` was read.
    #[error("the fleet's checks have changed meanwhile: version {} counts now", .now.as_ref().map_or(0, |head| head.version))]
    Changed {
        /// What counts now.
        now: Option<Head>,
    },
    /// Files have more than 512 MiB, or compressed more than 256 MiB.
    #[error("the files have {0} bytes, and that is too much for etcd")]
    TooLarge(usize),
    /// Etcd did not do it, or nobody knows. Either all of the new version counts or nothing of it.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

/// The fleet's own checks in etcd, for whoever reads or writes them.
pub struct CheckStore {
    client: Client,
}

impl CheckStore {
    /// Reads the files that `config` names; connects nowhere.
    ///
    /// # Errors
    /// A setting cannot be used, or a file not be read.
    pub fn new(config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        Ok(Self { client: Client::new(Arc::new(Shared::new(config)?)) })
    }

    /// The same, with hosts of endpoints found by `resolver`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_resolver(config: EtcdConfig, resolver: Arc<dyn Resolve>) -> Result<Self, EtcdConfigError> {
        let mut shared = Shared::new(config)?;
        shared.set_resolver(resolver);
        Ok(Self { client: Client::new(Arc::new(shared)) })
    }

    fn key(&self, rest: &str) -> Vec<u8> {
        self.client.shared.key(rest)
    }

    fn part(&self, version: u64, part: u32) -> Vec<u8> {
        self.key(&format!("checks/{version:016x}/{part:08x}"))
    }

    /// The version that counts; `None` while there is none.
    ///
    /// # Errors
    /// Etcd does not answer, or refuses; or the keys are of another schema.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn read_head(&self) -> Result<Option<Head>, EtcdError> {
        Ok(self.head().await?.0)
    }

    /// The head, and the revision as of which it was read.
    async fn head(&self) -> Result<(Option<Head>, i64), EtcdError> {
        let question = TxnRequest {
            compare: Vec::new(),
            success: vec![txn::get(self.key("schema")), txn::get(self.key(HEAD))],
            failure: Vec::new(),
        };
        let (answer, _): (TxnResponse, _) = self.client.ask_again(TXN, &question).await?;
        let mut head = None;
        for kv in found(&answer) {
            if kv.key == self.key(HEAD) {
                head = Some(self.parse(kv)?);
            } else if kv.value != SCHEMA.as_bytes() {
                let prefix = &self.client.shared.settings.prefix;
                let text = String::from_utf8_lossy(&kv.value);
                return Err(EtcdError::Schema(format!(
                    "the keys below {prefix} are of schema {:.20}, and this program knows schema {SCHEMA}",
                    text.escape_default()
                )));
            }
        }
        Ok((head, answer.header.unwrap_or_default().revision))
    }

    fn parse(&self, kv: &KeyValue) -> Result<Head, EtcdError> {
        let mut head: Head = serde_json::from_slice(&kv.value).map_err(|error| {
            EtcdError::Content(format!("{}{HEAD}: {error}", self.client.shared.settings.prefix))
        })?;
        head.revision = kv.mod_revision;
        Ok(head)
    }

    /// The files of a version, all of them.
    ///
    /// # Errors
    /// Etcd does not answer, or refuses; the version is there no more, since a few others came after
    /// it; what is there is not what was written.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn read_version(&self, head: &Head) -> Result<Vec<CheckFile>, EtcdError> {
        let wrong = |problem: String| {
            EtcdError::Content(format!("version {} of the checks: {problem}", head.version))
        };
        if head.parts > MOST_PARTS || head.bytes > MOST_BYTES {
            return Err(wrong("it says that it is larger than it may be".to_owned()));
        }
        let mut kept = Vec::new();
        for part in 0..head.parts {
            let question = RangeRequest { key: self.part(head.version, part), ..RangeRequest::default() };
            let total = self.client.timeout() * 10;
            let (answer, _): (RangeResponse, _) = self.client.ask_long(RANGE, &question, total).await?;
            let Some(kv) = answer.kvs.into_iter().next() else {
                return Err(wrong("it is there no more".to_owned()));
            };
            kept.extend_from_slice(&kv.value);
        }
        if digest(&kept) != head.sha256 {
            return Err(wrong("it is not what was written".to_owned()));
        }
        unpack(&kept, head.bytes).map_err(wrong)
    }

    /// Writes a new version of the checks and makes it the one that counts, if `base` still is that:
    /// what [`read_head`](Self::read_head) gave when the difference was shown to somebody.
    ///
    /// # Errors
    /// [`ApplyError`]. Parts of a version that does not count may be left; the next one removes them.
    ///
    /// # Cancel safety
    /// All of the new version counts or nothing of it.
    pub async fn apply(&self, base: Option<&Head>, files: &[CheckFile]) -> Result<Head, ApplyError> {
        let bytes: usize = files.iter().map(|file| file.name.len() + file.text.len()).sum();
        let kept = (bytes <= MOST_BYTES).then(|| pack(files)).transpose()?;
        let Some((kept, bytes)) = kept.filter(|(kept, bytes)| {
            *bytes <= MOST_BYTES
                && kept.len().div_ceil(PART) <= usize::try_from(MOST_PARTS).unwrap_or(usize::MAX)
        }) else {
            return Err(ApplyError::TooLarge(bytes));
        };
        let (now, _) = self.head().await?;
        if now.as_ref().map(|head| head.revision) != base.map(|head| head.revision) {
            return Err(ApplyError::Changed { now });
        }
        self.mark().await?;
        let parts: Vec<&[u8]> = kept.chunks(PART).collect();
        let version = self.reserve(now.as_ref().map_or(1, |head| head.version + 1), parts[0]).await?;
        for (part, bytes) in (0_u32..).zip(&parts).skip(1) {
            let put = txn::put(self.part(version, part), *bytes, 0);
            let question = TxnRequest { success: vec![put], ..TxnRequest::default() };
            let _: (TxnResponse, _) = self.client.ask_again(TXN, &question).await?;
        }
        let before =
            now.iter().flat_map(|head| std::iter::once(head.version).chain(head.before.iter().copied()));
        let mut head = Head {
            version,
            parts: u32::try_from(parts.len()).unwrap_or(MOST_PARTS),
            bytes,
            sha256: digest(&kept),
            before: before.take(KEPT).collect(),
            revision: 0,
        };
        let text = serde_json::to_vec(&head).map_err(|error| EtcdError::Content(error.to_string()))?;
        let question = TxnRequest {
            compare: vec![
                txn::is_of(self.key(HEAD), base.map_or(0, |head| head.revision)),
                txn::has_value(self.part(version, 0), parts[0]),
                txn::has_value(self.key("schema"), SCHEMA),
            ],
            success: vec![txn::put(self.key(HEAD), text, 0)],
            failure: Vec::new(),
        };
        let answer: TxnResponse = self.client.ask(TXN, &question).await?;
        if !answer.succeeded {
            return Err(ApplyError::Changed { now: self.read_head().await? });
        }
        head.revision = answer.header.unwrap_or_default().revision;
        self.remove_old(&head).await;
        Ok(head)
    }

    /// An empty prefix becomes ours.
    async fn mark(&self) -> Result<(), EtcdError> {
        let schema = self.key("schema");
        let question = TxnRequest {
            compare: vec![txn::is_of(schema.clone(), 0)],
            success: vec![txn::put(schema, SCHEMA, 0)],
            failure: Vec::new(),
        };
        let _: (TxnResponse, _) = self.client.ask_again(TXN, &question).await?;
        Ok(())
    }

    /// Takes a number from `version` on that nobody has taken, by writing its first part.
    async fn reserve(&self, mut version: u64, first: &[u8]) -> Result<u64, EtcdError> {
        loop {
            let key = self.part(version, 0);
            let question = TxnRequest {
                compare: vec![txn::is_of(key.clone(), 0)],
                success: vec![txn::put(key, first, 0)],
                failure: Vec::new(),
            };
            // Asked once: of one that was carried out without an answer the number stays unused.
            let answer: TxnResponse = self.client.ask(TXN, &question).await?;
            if answer.succeeded {
                return Ok(version);
            }
            version += 1;
        }
    }

    /// Removes what comes before the version that counts and is not to be kept. When that fails it is
    /// left to the next version.
    async fn remove_old(&self, head: &Head) {
        let mut kept = head.before.clone();
        kept.sort_unstable();
        let mut success = Vec::new();
        let mut from = 0;
        for version in kept.into_iter().filter(|version| *version < head.version).chain([head.version]) {
            if from < version {
                success.push(txn::delete_range(self.part(from, 0), self.part(version, 0)));
            }
            from = version + 1;
        }
        let question = TxnRequest { success, ..TxnRequest::default() };
        let _: Result<(TxnResponse, _), EtcdError> = self.client.ask_again(TXN, &question).await;
    }

    /// Waits until another version counts than `seen`, and gives it: `None` if none does any more.
    ///
    /// Between answers of etcd it may be late by the configured `silence`, not more. While no member
    /// answers it fails, and the caller may ask again.
    ///
    /// # Errors
    /// Etcd does not answer, or refuses; or the keys are of another schema.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn next_head(&self, seen: Option<&Head>) -> Result<Option<Head>, EtcdError> {
        let silence = self.client.shared.settings.config.silence;
        loop {
            let (head, revision) = self.head().await?;
            if head.as_ref() != seen {
                return Ok(head);
            }
            // Whatever ends the watch, the head is read again.
            if let Ok(Err(_)) = timeout(silence, self.change(revision + 1)).await {
                sleep(silence / 10).await;
            }
        }
    }

    /// Waits until the head is written.
    async fn change(&self, start_revision: i64) -> Result<(), EtcdError> {
        let key = self.key(HEAD);
        let range_end = end_of(&key);
        let create = WatchCreateRequest { key, range_end, start_revision, fragment: true };
        let message = WatchRequest { request: Some(Watching::Create(create)) };
        let session = self.client.session().await?;
        let mut call = self.client.begin_call(&session, WATCH, &message).await?;
        while let Some(response) = call.next::<WatchResponse>().await? {
            if response.canceled {
                return Err(EtcdError::Unknown(response.cancel_reason));
            }
            if !response.events.is_empty() {
                return Ok(());
            }
        }
        Err(EtcdError::Unknown("the watch has ended".to_owned()))
    }
}

/// The keys that a transaction of nothing but reads has found.
fn found(answer: &TxnResponse) -> impl Iterator<Item = &KeyValue> {
    answer.responses.iter().filter_map(|response| match &response.done {
        Some(Done::Range(range)) => range.kvs.first(),
        _ => None,
    })
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As they are kept, and how many bytes that was before it was compressed.
fn pack(files: &[CheckFile]) -> Result<(Vec<u8>, usize), EtcdError> {
    let wrong =
        |error: &dyn std::fmt::Display| EtcdError::Content(format!("the files cannot be packed: {error}"));
    let text = serde_json::to_vec(files).map_err(|error| wrong(&error))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, &text).map_err(|error| wrong(&error))?;
    Ok((encoder.finish().map_err(|error| wrong(&error))?, text.len()))
}

fn unpack(kept: &[u8], bytes: usize) -> Result<Vec<CheckFile>, String> {
    let limit = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    GzDecoder::new(kept).take(limit).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() != bytes {
        return Err(format!("it has not the {bytes} bytes that were written"));
    }
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_never_more() {
        let files = [CheckFile { name: "a.toml".into(), text: "x = 1\n".repeat(10_000) }];
        let (kept, bytes) = pack(&files).unwrap();
        assert!(kept.len() < 1000, "{}", kept.len());
        assert_eq!(unpack(&kept, bytes).unwrap(), files);
        assert!(unpack(&kept, bytes - 1).is_err());
        assert!(unpack(&kept, bytes + 1).is_err());
        assert!(unpack(b"garbage", 7).is_err());
    }
}
