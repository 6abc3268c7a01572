//! What nodes of a fleet write for each other.

use hc_fleet::{NodeRecord, Object, encode};

/// Any bytes, as an object with opinions and as one of this version: what is read writes to what reads
/// the same, and any limit takes a beginning of it.
pub fn fleet_object(data: &[u8]) {
    check(data);
    check(&[&[1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 7, 2, 1, 9][..], data].concat());
}

fn check(bytes: &[u8]) {
    let Ok(object) = Object::decode(bytes) else { return };
    let written =
        |limit| encode(&object.head, object.opinions.iter().map(|(key, opinion)| (*key, opinion)), limit);
    let (again, taken) = written(usize::MAX);
    assert_eq!(taken, object.opinions.len());
    assert_eq!(Object::decode(&again).as_ref(), Ok(&object));
    let (part, taken) = written(again.len() / 2 + 40);
    let read = Object::decode(&part).expect("a beginning is an object");
    assert_eq!((read.head, &read.opinions[..]), (object.head, &object.opinions[..taken]));
}

/// Any bytes, as the value of a node's key: within its bounds, and what is read writes to what reads the
/// same.
pub fn fleet_node(data: &[u8]) {
    let Ok(record) = NodeRecord::read(data) else { return };
    assert!((1..=1000).contains(&record.capacity));
    let again = NodeRecord::read(&record.to_bytes()).expect("what was written can be read");
    assert_eq!(again, record);
}
