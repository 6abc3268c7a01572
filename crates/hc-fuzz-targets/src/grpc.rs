//! Messages of gRPC's health service.

use hc_checkers::fuzzing::grpc::message::Messages;

use crate::input::Input;

/// Any content of a response: what it says does not depend on where it is cut, and little is held
/// of it.
pub fn grpc_message(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = usize::from(input.byte());
    let content = input.rest();
    let mut whole = Messages::default();
    let took = whole.take(content).map(|()| whole.status());
    let (first, second) = content.split_at(cut.min(content.len()));
    let mut pieces = Messages::default();
    let also = pieces.take(first).and_then(|()| pieces.take(second)).map(|()| pieces.status());
    assert_eq!(took, also, "cut at {cut}");
    assert!(whole.held() <= Messages::LONGEST as usize);
}
