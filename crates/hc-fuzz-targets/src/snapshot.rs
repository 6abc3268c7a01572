//! The file in which health survives the process.

use hc_snapshot::{decode, encode};
use sha2::{Digest as _, Sha256};

/// Any bytes, as a whole file and as the body of one whose checksum is right: what is read writes to what reads the same.
pub fn snapshot(data: &[u8]) {
    check(data);
    let mut file = b"HCSNAP\x01\x00".to_vec();
    file.extend_from_slice(data);
    let checksum = Sha256::digest(&file);
    file.extend_from_slice(&checksum);
    check(&file);
}

fn check(file: &[u8]) {
    let Ok((written, records)) = decode(file) else { return };
    let again = encode(written, &records).expect("what was read can be written");
    assert_eq!(decode(&again), Ok((written, records)));
}
