//! A connection of hc-server: lines out of a stream, and a whole conversation.

use std::collections::BTreeMap;

use hc_ipc::{Assembled, Assembly, IpcConfig, IpcEvent, memory, serve};
use hc_types::{Proposal, Rejection, SetChange};
use hc_wire::{MAX_LINE, PROTOCOL, ToProxy, ToServer, decode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::input::Input;
use crate::stream::{Pieces, block_on};

/// Lines out of a stream: however it is cut, they are those between its line feeds, without the
/// empty and the too long ones.
///
/// The first two bytes are the size of a read (16 KiB or more where much is to be read). Of the
/// rest, `0xfe` and a number stand for so many times 4 KiB, so that a short input can be a line
/// that is too long.
pub fn ipc_lines(data: &[u8]) {
    const LONG: usize = 4 * 1024;

    let mut input = Input::new(data);
    let step = usize::from(input.u16());
    let stream = inflate(input.rest());
    let step = if stream.len() > LONG { step.max(16 * 1024) } else { step };
    let lines =
        block_on(hc_ipc::fuzzing::lines(Pieces::new(&stream, step))).expect("the stream has no errors");
    let whole = stream.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &stream[..=end]);
    let expected = (1..).zip(whole.split_inclusive(|byte| *byte == b'\n')).filter_map(|(number, line)| {
        let content = (line.len() <= MAX_LINE).then(|| &line[..line.len() - 1]);
        let is_empty = content.is_some_and(|content| content.trim_ascii().is_empty());
        (!is_empty).then_some((number, content))
    });
    assert!(expected.eq(lines.iter().map(|(number, content)| (*number, content.as_deref()))));
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    const MOST: usize = MAX_LINE + MAX_LINE / 2;

    let mut stream = Vec::new();
    let mut input = Input::new(bytes);
    while !input.is_empty() && stream.len() < MOST {
        match input.byte() {
            0xfe => stream.resize(stream.len() + input.up_to(255) * 4096, b'x'),
            byte => stream.push(byte),
        }
    }
    stream
}

/// The checks in a set that is refused if there are more.
const MAX_CHECKS: usize = 8;

/// A whole conversation: it ends, whatever the peer says; all answers are lines of the protocol;
/// and the owner gets the sets that the lines say, in their order.
///
/// The first two bytes are the size of a write.
pub fn ipc_session(data: &[u8]) {
    let mut input = Input::new(data);
    let step = usize::from(input.u16()).max(1);
    let said = input.rest();
    let (heard, sets) = block_on(converse(said, step));
    let mut answers = heard.split_inclusive(|byte| *byte == b'\n').map(|line| {
        assert!(line.ends_with(b"\n") && line.len() <= MAX_LINE);
        decode::<ToProxy>(line).expect("hc-server speaks its protocol")
    });
    assert!(matches!(answers.next(), Some(ToProxy::Ready(_))));
    // A set that was compared with another one than that in effect is asked for again, and this
    // peer does not listen.
    let is_asked = |answer: &ToProxy| matches!(answer, ToProxy::RequestConfigs(asked) if asked.reason.contains("compared"));
    if answers.any(|answer| is_asked(&answer)) {
        return;
    }
    assert_eq!(in_effect(sets), in_effect(sets_in(said)));
}

type Sets = Vec<(SetChange, Vec<Rejection>)>;

/// What is in effect after each change, and what was rejected: however much of a set the server
/// recognised, it comes to the same.
fn in_effect(sets: Sets) -> Vec<String> {
    let mut checks = BTreeMap::new();
    let after = sets.into_iter().map(|(change, rejected)| {
        let is_whole = change.is_whole();
        let generation = change.generation();
        let (upsert, remove) = match change {
            SetChange::Full { checks: all, .. } => {
                checks.clear();
                (all, Vec::new())
            }
            SetChange::Renewal { upsert, remove, .. } | SetChange::Delta { upsert, remove, .. } => {
                (upsert, remove)
            }
        };
        let gone = remove.into_iter().chain(rejected.iter().filter_map(|rejection| rejection.id));
        gone.for_each(|id| _ = checks.remove(&id));
        checks.extend(upsert);
        format!("{generation:?} {is_whole} {checks:?} {rejected:?}")
    });
    after.collect()
}

/// Says all to a server, and returns what it answered and the sets that its owner got.
async fn converse(said: &[u8], step: usize) -> (Vec<u8>, Sets) {
    let (incoming, dialer) = memory();
    let shutdown = CancellationToken::new();
    let config = IpcConfig { max_checks: MAX_CHECKS, ..IpcConfig::new("fuzz") };
    let (task, handle, mut events) = serve(incoming, config, shutdown.clone()).expect("a thread");
    let peer = async {
        let (mut hear, mut say) = tokio::io::split(dialer.connect().await.expect("the task runs"));
        let saying = async {
            for piece in said.chunks(step) {
                // The server may have closed the connection: it need not hear the rest.
                if say.write_all(piece).await.is_err() {
                    return;
                }
            }
            let _: std::io::Result<()> = say.shutdown().await;
        };
        let mut heard = Vec::new();
        let ((), read) = tokio::join!(saying, hear.read_to_end(&mut heard));
        read.expect("memory has no errors");
        shutdown.cancel();
        heard
    };
    let owner = async {
        let mut sets = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                IpcEvent::Set(Proposal { change, rejected, reply, .. }) => {
                    sets.push((change, rejected.clone()));
                    reply.applied(rejected);
                }
                IpcEvent::StatusRequest { reply } => reply.statuses(Vec::<hc_types::CheckStatus>::new()),
                IpcEvent::Connected { .. } | IpcEvent::Disconnected { .. } => {}
            }
        }
        sets
    };
    let ((), sets, heard) = tokio::join!(task.run(), owner, peer);
    drop(handle);
    (heard, sets)
}

/// The sets that the lines say.
fn sets_in(said: &[u8]) -> Sets {
    let mut assembly = Assembly::new(MAX_CHECKS);
    let mut sets = Vec::new();
    // Whether the connection has been found to be one that is served.
    let mut served = false;
    for line in said.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let assembled = match decode(line) {
            Ok(ToServer::UpdateConfigs(update)) => assembly.configs(update),
            Ok(ToServer::UpdateDelta(update)) => assembly.delta(update),
            Ok(ToServer::Hello(hello)) if hello.protocol != PROTOCOL => break,
            Ok(ToServer::Shutdown(_)) => break,
            // As the first message: a reader, which changes nothing.
            Ok(ToServer::RequestStatus(_)) if !served => break,
            Ok(ToServer::Hello(_)) => {
                served = true;
                continue;
            }
            _ => continue,
        };
        served = true;
        if let Assembled::Set(change, rejected) = assembled {
            sets.push((change, rejected));
        }
    }
    sets
}
