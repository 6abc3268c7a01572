//! The parts of a transaction, in short.

use crate::message::{
    Compare, DeleteRequest, Op, Operand, PutRequest, RangeRequest, RequestOp, TxnRequest, end_of,
};

const EQUAL: i32 = 0;
const LESS: i32 = 2;

/// A put; `lease` is 0 for none.
pub(crate) fn put(key: Vec<u8>, value: impl Into<Vec<u8>>, lease: i64) -> RequestOp {
    RequestOp { op: Some(Op::Put(PutRequest { key, value: value.into(), lease })) }
}

/// Deletes all keys that begin with `prefix`.
pub(crate) fn delete_all(prefix: Vec<u8>) -> RequestOp {
    let range_end = end_of(&prefix);
    delete_range(prefix, range_end)
}

/// Deletes the keys from `key` up to, and without, `range_end`.
pub(crate) fn delete_range(key: Vec<u8>, range_end: Vec<u8>) -> RequestOp {
    RequestOp { op: Some(Op::Delete(DeleteRequest { key, range_end })) }
}

/// Reads one key.
pub(crate) fn get(key: Vec<u8>) -> RequestOp {
    RequestOp { op: Some(Op::Range(RangeRequest { key, ..RangeRequest::default() })) }
}

pub(crate) fn nested(txn: TxnRequest) -> RequestOp {
    RequestOp { op: Some(Op::Txn(txn)) }
}

pub(crate) fn has_lease(key: Vec<u8>, lease: i64) -> Compare {
    Compare { result: EQUAL, target: 4, key, operand: Some(Operand::Lease(lease)) }
}

/// The key is there with this value.
pub(crate) fn has_value(key: Vec<u8>, value: impl Into<Vec<u8>>) -> Compare {
    Compare { result: EQUAL, target: 3, key, operand: Some(Operand::Value(value.into())) }
}

/// The key is there with a value that comes before this one.
pub(crate) fn is_before(key: Vec<u8>, value: impl Into<Vec<u8>>) -> Compare {
    Compare { result: LESS, target: 3, key, operand: Some(Operand::Value(value.into())) }
}

/// Nobody has changed the key since this revision; 0: it is not there.
pub(crate) fn is_of(key: Vec<u8>, revision: i64) -> Compare {
    match revision {
        0 => Compare { result: EQUAL, target: 1, key, operand: Some(Operand::Created(0)) },
        _ => Compare { result: EQUAL, target: 2, key, operand: Some(Operand::Modified(revision)) },
    }
}
