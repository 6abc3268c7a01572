//! The process that starts commands.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::exec;
use super::link::{self, Answer, Ask, CommandSpec, Exit};

/// Runs what the other end of `stream` asks for, of the commands that it named first, until it
/// closes. Then every run is ended, and so is this.
///
/// # Errors
/// When the link breaks.
///
/// # Cancel safety
/// Dropping the future kills the commands that run.
pub async fn serve(stream: UnixStream) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    let Some(commands) = link::read::<Vec<CommandSpec>>(&mut reader).await? else { return Ok(()) };
    let writer = Arc::new(Mutex::new(writer));
    let mut runs = JoinSet::new();
    while let Some(Ask { number, command, environment, input }) = link::read(&mut reader).await? {
        let spec = commands.get(command).cloned();
        let writer = writer.clone();
        runs.spawn(async move {
            let exit = match spec {
                Some(spec) => exec::run(&spec, environment, input).await,
                None => Exit::NotStarted { problem: "no such command".to_owned() },
            };
            // Whoever asked is gone: the loop outside finds out.
            let _ = link::write(&mut *writer.lock().await, &Answer { number, exit }).await;
        });
        while runs.try_join_next().is_some() {}
    }
    runs.shutdown().await;
    Ok(())
}
