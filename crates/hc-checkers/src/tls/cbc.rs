//! The AES-CBC-SHA cipher suites of TLS 1.2 for rustls, which has none: servers of its first years
//! speak nothing else, and Go takes them.
//!
//! A record is MAC-then-encrypt (RFC 5246 section 6.2.3.2): initialization vector, then encrypted
//! together the content, its HMAC-SHA1, and the padding. For example 5 bytes of content become 16 +
//! (5 + 20 + 7) bytes.

use std::sync::LazyLock;

use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, KeyBlockShape, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm,
    UnsupportedOperationError, make_tls12_aad,
};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls12CipherSuite,
};

/// AES's, and so the length of the initialization vector.
const BLOCK: usize = 16;
/// HMAC-SHA1's.
const MAC: usize = 20;
/// The longest content of a record (RFC 5246 section 6.2.1).
const MAX_CONTENT: usize = 1 << 14;

/// The four suites, in Go's order (`crypto/tls/cipher_suites.go`).
pub(super) fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    static SUITES: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(|| {
        use CipherSuite as Name;
        [
            (
                Name::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
                TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                &AES_128_CBC,
            ),
            (Name::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &AES_128_CBC),
            (
                Name::TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
                TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                &AES_256_CBC,
            ),
            (Name::TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &AES_256_CBC),
        ]
        .into_iter()
        .filter_map(|(name, like, records)| suite(name, like, records))
        .collect()
    });
    SUITES.iter().map(SupportedCipherSuite::Tls12)
}

/// The suite `like`, but for how records are protected. Both hash with SHA-256.
fn suite(
    name: CipherSuite,
    like: SupportedCipherSuite,
    records: &'static AesCbcSha,
) -> Option<Tls12CipherSuite> {
    let SupportedCipherSuite::Tls12(like) = like else { return None };
    Some(Tls12CipherSuite {
        common: CipherSuiteCommon {
            suite: name,
            hash_provider: like.common.hash_provider,
            confidentiality_limit: u64::MAX,
        },
        prf_provider: like.prf_provider,
        kx: like.kx,
        sign: like.sign,
        aead_alg: records,
    })
}

static AES_128_CBC: AesCbcSha = AesCbcSha { cipher: &AES_128, key_length: 16 };
static AES_256_CBC: AesCbcSha = AesCbcSha { cipher: &AES_256, key_length: 32 };

/// How records are protected. rustls cuts the key block into the keys and IVs of an AEAD cipher;
/// here its "keys" are those of the HMAC, and its "IVs" those of AES: the order in the block is the
/// same (RFC 5246 section 6.3).
struct AesCbcSha {
    cipher: &'static Algorithm,
    key_length: usize,
}

impl AesCbcSha {
    fn key(&self, key: &[u8]) -> UnboundCipherKey {
        UnboundCipherKey::new(self.cipher, key).expect("the length that the shape of the key block gives")
    }
}

impl Tls12AeadAlgorithm for AesCbcSha {
    fn encrypter(&self, mac_key: AeadKey, key: &[u8], _: &[u8]) -> Box<dyn MessageEncrypter> {
        let key = EncryptingKey::cbc(self.key(key)).expect("AES can be used in CBC mode");
        Box::new(Encrypter { mac: hmac_key(&mac_key), key })
    }

    fn decrypter(&self, mac_key: AeadKey, key: &[u8]) -> Box<dyn MessageDecrypter> {
        let key = DecryptingKey::cbc(self.key(key)).expect("AES can be used in CBC mode");
        Box::new(Decrypter { mac: hmac_key(&mac_key), key })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        KeyBlockShape { enc_key_len: MAC, fixed_iv_len: self.key_length, explicit_nonce_len: 0 }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

fn hmac_key(key: &AeadKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_ref())
}

fn mac_of(
    key: &hmac::Key,
    seq: u64,
    typ: ContentType,
    version: ProtocolVersion,
    content: &[u8],
) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(&make_tls12_aad(seq, typ, version, content.len()));
    context.update(content);
    context.sign()
}

struct Encrypter {
    mac: hmac::Key,
    key: EncryptingKey,
}

impl MessageEncrypter for Encrypter {
    fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(msg.payload.len());
        let mut bytes = Vec::with_capacity(length - BLOCK);
        msg.payload.copy_to_vec(&mut bytes);
        let mac = mac_of(&self.mac, seq, msg.typ, msg.version, &bytes);
        bytes.extend_from_slice(mac.as_ref());
        // One byte of padding at least; each says how many follow or precede it.
        let padding = length - BLOCK - bytes.len();
        let value = u8::try_from(padding - 1).map_err(|_| Error::EncryptError)?;
        bytes.resize(length - BLOCK, value);
        // Under a random initialization vector.
        let context =
            self.key.less_safe_encrypt(&mut bytes, random_iv()?).map_err(|_| Error::EncryptError)?;
        let DecryptionContext::Iv128(iv) = context else { return Err(Error::EncryptError) };
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_slice(iv.as_ref());
        payload.extend_from_slice(&bytes);
        Ok(OutboundOpaqueMessage::new(msg.typ, msg.version, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        BLOCK + (payload_len + MAC + 1).next_multiple_of(BLOCK)
    }
}

fn random_iv() -> Result<aws_lc_rs::cipher::EncryptionContext, Error> {
    let mut iv = [0; BLOCK];
    aws_lc_rs::rand::fill(&mut iv).map_err(|_| Error::FailedToGetRandomBytes)?;
    Ok(aws_lc_rs::cipher::EncryptionContext::Iv128(FixedLength::from(iv)))
}

struct Decrypter {
    mac: hmac::Key,
    key: DecryptingKey,
}

impl MessageDecrypter for Decrypter {
    fn decrypt<'a>(
        &mut self,
        mut msg: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let (typ, version) = (msg.typ, msg.version);
        let Some((iv, bytes)) = msg.payload.split_first_chunk_mut::<BLOCK>() else {
            return Err(Error::DecryptError);
        };
        if bytes.is_empty() || bytes.len() % BLOCK != 0 {
            return Err(Error::DecryptError);
        }
        let context = DecryptionContext::Iv128(FixedLength::from(*iv));
        self.key.decrypt(bytes, context).map_err(|_| Error::DecryptError)?;
        let length = content_length(bytes).ok_or(Error::DecryptError)?;
        let (content, rest) = bytes.split_at(length);
        let mac = mac_of(&self.mac, seq, typ, version, content);
        // The time that this takes tells a padding from a MAC that is wrong ("Lucky 13"), which
        // helps an attacker who can make us repeat a secret thousands of times in connections that
        // break. A health check keeps no such secret.
        aws_lc_rs::constant_time::verify_slices_are_equal(mac.as_ref(), &rest[..MAC])
            .map_err(|_| Error::DecryptError)?;
        if length > MAX_CONTENT {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(msg.into_plain_message_range(BLOCK..BLOCK + length))
    }
}

/// How much of a decrypted record is content, if its padding is right.
fn content_length(bytes: &[u8]) -> Option<usize> {
    let value = *bytes.last()?;
    let padding = usize::from(value) + 1;
    let length = bytes.len().checked_sub(padding + MAC)?;
    bytes[length + MAC..].iter().all(|byte| *byte == value).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: &[u8], seq: u64) -> Vec<u8> {
        let chunks = [content];
        let msg = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: rustls::crypto::cipher::OutboundChunks::new(&chunks),
        };
        let mut encrypter = AES_128_CBC.encrypter(AeadKey::from([7; 32]), &[9; 16], &[]);
        let length = encrypter.encrypted_payload_len(content.len());
        let record = encrypter.encrypt(msg, seq).unwrap().encode();
        assert_eq!(record.len(), 5 + length);
        record[5..].to_vec()
    }

    fn read(mut payload: Vec<u8>, seq: u64) -> Result<Vec<u8>, Error> {
        let mut decrypter = AES_128_CBC.decrypter(AeadKey::from([7; 32]), &[9; 16]);
        let typ = ContentType::ApplicationData;
        let msg = InboundOpaqueMessage::new(typ, ProtocolVersion::TLSv1_2, &mut payload);
        decrypter.decrypt(msg, seq).map(|plain| plain.payload.to_vec())
    }

    #[test]
    fn records_are_read_back() {
        for length in [0, 1, 11, 12, 13, 4096, MAX_CONTENT] {
            let content = vec![b'x'; length];
            assert_eq!(read(record(&content, 3), 3).unwrap(), content, "{length}");
        }
    }

    #[test]
    fn a_changed_record_is_refused() {
        let good = record(b"PONG", 3);
        assert!(read(good.clone(), 4).is_err(), "another place in the stream");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(read(bad, 3).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(read(good[..length].to_vec(), 3).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn padding_longer_than_the_record_is_refused() {
        assert_eq!(content_length(&[255; 48]), None);
        assert_eq!(content_length(&[11; 32]), Some(0));
        assert_eq!(content_length(&[12; 32]), None);
        assert_eq!(content_length(&[]), None);
    }
}
