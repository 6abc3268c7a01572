//! What can go wrong between us and etcd.

/// `UNAVAILABLE` and others of gRPC's codes.
pub(crate) mod code {
    pub(crate) const INVALID_ARGUMENT: u16 = 3;
    pub(crate) const DEADLINE: u16 = 4;
    pub(crate) const NOT_FOUND: u16 = 5;
    pub(crate) const EXHAUSTED: u16 = 8;
    pub(crate) const OUT_OF_RANGE: u16 = 11;
    pub(crate) const UNAVAILABLE: u16 = 14;
    pub(crate) const UNAUTHENTICATED: u16 = 16;
}

/// Why etcd did not do something, or why nobody knows whether it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// It was not asked: no member can be reached, for these reasons.
    #[error("no member of etcd answers: {0}")]
    Unreachable(String),
    /// It was asked, and nothing came back that says whether it was done.
    #[error("{0}")]
    Unknown(String),
    /// It said no.
    #[error("etcd says: {message} (gRPC status {code})")]
    Refused {
        /// The status of gRPC.
        code: u16,
        /// In etcd's words.
        message: String,
    },
    /// An answer is longer than this many bytes.
    #[error("an answer of etcd has more than {0} bytes")]
    TooLong(usize),
    /// What is below the prefix is not ours to read or write.
    #[error("{0}")]
    Schema(String),
    /// What was read is not what was written, or is there no more.
    #[error("{0}")]
    Content(String),
}

impl EtcdError {
    pub(crate) fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains(words))
    }

    /// Whether another login helps. Etcd asks for that with several codes.
    pub(crate) fn wants_login(&self) -> bool {
        self.is(code::UNAUTHENTICATED)
            || (self.is(code::INVALID_ARGUMENT)
                && (self.says("revision of auth store is old") || self.says("user name is empty")))
    }

    pub(crate) fn is_compacted(&self) -> bool {
        self.is(code::OUT_OF_RANGE) && self.says("has been compacted")
    }

    pub(crate) fn is_of_the_future(&self) -> bool {
        self.is(code::OUT_OF_RANGE) && self.says("future revision")
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is(code::EXHAUSTED) && self.says("database space exceeded")
    }

    /// Whether another member may do better.
    pub(crate) fn is_of_the_member(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Refused { code, .. } => {
                matches!(*code, code::UNAVAILABLE | code::DEADLINE | 1 | 2 | 12 | 13)
            }
            _ => false,
        }
    }
}
