//! The threads of the shards: started together, watched, joined.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use hc_types::{Prober, Sink};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::ManagerConfig;
use crate::processors::Processors;
use crate::shard::{Clock, Command, Shard, ShardCore};
use crate::stats::Gauges;

/// Commands that may wait for a shard. Whoever sends one more waits.
const COMMANDS: usize = 8;

/// Why a manager did not start.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} cannot start")]
pub struct StartError {
    /// The shard, counted from 0.
    pub shard: usize,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Why a manager ended otherwise than by being stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagerError {
    /// A shard ended by itself, so its checks no longer run.
    #[error("shard {shard} ended: {reason}")]
    Died {
        /// The shard, counted from 0.
        shard: usize,
        /// The message of the panic that ended it.
        reason: String,
    },
    /// A shard did not end when it was told to. Its thread is left behind.
    #[error("shard {shard} did not end within {grace:?}")]
    Stuck {
        /// The shard, counted from 0.
        shard: usize,
        /// How long it was given.
        grace: Duration,
    },
}

/// The way to one shard.
#[derive(Debug)]
pub(crate) struct ShardLink {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) gauges: Arc<Gauges>,
    /// `None` once joined.
    thread: Option<JoinHandle<()>>,
}

/// All shards.
#[derive(Debug)]
pub(crate) struct Threads {
    links: Vec<ShardLink>,
    exits: mpsc::Receiver<usize>,
    stop: CancellationToken,
}

/// Says that a thread ends, however it ends.
struct ExitNotice {
    shard: usize,
    exits: mpsc::Sender<usize>,
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        // There is room for one notice of each shard. Nobody listens if the manager was dropped.
        let _ = self.exits.try_send(self.shard);
    }
}

impl Threads {
    pub(crate) fn start<P: Prober, S: Sink>(
        config: &ManagerConfig,
        clock: Clock,
        make_prober: impl Fn() -> P + Send + Sync + 'static,
        sink: &Arc<S>,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let shards = config.shards.get();
        let make_prober = Arc::new(make_prober);
        let (notices, exits) = mpsc::channel(shards);
        let mut links = Vec::with_capacity(shards);
        let (made, is_made) = sync_channel::<()>(shards);
        let processors = config.pinned.then(Processors::allowed);
        for shard in 0..shards {
            let failed = |source| StartError { shard, source };
            let gauges = Arc::new(Gauges::new());
            let processor = processors.as_ref().map(|processors| processors.of(shard));
            let core = ShardCore::new(shard, config, Arc::clone(&gauges));
            let (commands, receiver) = mpsc::channel(COMMANDS);
            let notice = ExitNotice { shard, exits: notices.clone() };
            let (make_prober, sink, stop) = (Arc::clone(&make_prober), Arc::clone(sink), stop.clone());
            let made = made.clone();
            // The thread first: a runtime that no thread takes would be dropped here, which panics
            // inside of another one.
            let (hand_over, handed_over) = sync_channel::<runtime::Runtime>(1);
            let thread = Builder::new()
                .name(format!("hc-shard-{shard}"))
                .spawn(move || {
                    let _notice = notice;
                    if let Some(processor) = processor {
                        processor.pin(shard);
                    }
                    let Ok(runtime) = handed_over.recv() else { return };
                    LocalSet::new().block_on(&runtime, async move {
                        let prober = make_prober();
                        // There is room for one of each shard.
                        let _ = made.send(());
                        Shard { core, clock, prober, sink, commands: receiver, stop }.run().await;
                    });
                })
                .map_err(failed)?;
            let runtime =
                runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
            gauges.runs_on(runtime.metrics());
            // The thread waits for it, so there is room and somebody to take it.
            let _ = hand_over.send(runtime);
            links.push(ShardLink { commands, gauges, thread: Some(thread) });
        }
        drop(made);
        // What the probers open is open when this returns, so that a lack of descriptors shows now.
        // One that panics is found out by whoever runs the manager.
        for _ in 0..shards {
            let _ = is_made.recv();
        }
        Ok(Self { links, exits, stop: stop.clone() })
    }

    pub(crate) fn links(&self) -> &[ShardLink] {
        &self.links
    }

    /// Waits until a shard ends.
    ///
    /// # Cancel safety
    /// No exit is lost.
    pub(crate) async fn exited(&mut self) -> usize {
        match self.exits.recv().await {
            Some(shard) => shard,
            // Every thread has ended and was heard of.
            None => std::future::pending().await,
        }
    }

    /// The error for a shard whose exit was unexpected.
    pub(crate) fn died(&mut self, shard: usize) -> ManagerError {
        let reason = self.join(shard).err().unwrap_or_else(|| "without an error".to_owned());
        ManagerError::Died { shard, reason }
    }

    /// Ends all threads and joins them.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<(), ManagerError> {
        self.stop.cancel();
        let ended = timeout(grace, async {
            while let Some(shard) = self.exits.recv().await {
                if let Err(reason) = self.join(shard) {
                    return Err(ManagerError::Died { shard, reason });
                }
            }
            Ok(())
        });
        match ended.await {
            Ok(result) => result,
            Err(_) => {
                let shard = self.links.iter().position(|link| link.thread.is_some()).unwrap_or_default();
                Err(ManagerError::Stuck { shard, grace })
            }
        }
    }

    /// Joins a thread that gave its notice, which is the last thing it does. The error is the
    /// message of its panic.
    fn join(&mut self, shard: usize) -> Result<(), String> {
        match self.links.get_mut(shard).and_then(|link| link.thread.take()) {
            Some(thread) => thread.join().map_err(|panic| panic_message(&*panic)),
            None => Ok(()),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}
