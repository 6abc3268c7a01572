//! The file in which health survives the process.

use hc_snapshot::{decode, encode};
use sha2::{Digest as _, Sha256};

/// Any bytes, as a whole file, as the content of one of either version whose checksum is right, and
/// as the section of version 2 that holds the health: what is read writes to what reads the same.
pub fn snapshot(data: &[u8]) {
    check(data);
    let length = u32::try_from(data.len()).expect("a fuzz input is short");
    let section = [&[1, 0][..], &length.to_le_bytes(), data].concat();
    for (version, content) in [(1, data), (2, data), (2, &section)] {
        let mut file = b"HCSNAP".to_vec();
        file.extend_from_slice(&[version, 0]);
        file.extend_from_slice(content);
        let checksum = Sha256::digest(&file);
        file.extend_from_slice(&checksum);
        check(&file);
    }
}

fn check(file: &[u8]) {
    let Ok(decoded) = decode(file) else { return };
    let again =
        encode(decoded.written, &decoded.records, &decoded.overrides).expect("what was read can be written");
    assert_eq!(decode(&again), Ok(decoded));
}
