//! The loop that drives the node: its clock, its channels and its one `select!`.

use std::collections::{HashMap, HashSet};
use std::mem::{replace, take};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use hc_fleet::{Action, Finding, Node, Note, Policy, Request, StoreEvent};
use hc_manager::Manager;
use hc_pipeline::{FleetChange, FleetOrder, Found, Pipeline};
use hc_types::{CheckId, CheckKey, Health};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::reader::FleetFigures;
use super::trouble::Trouble;
use super::{FleetParts, FleetStore, lock, now};

/// How often is looked whether this node's probes are to be believed.
const LOOK: Duration = Duration::from_secs(1);

/// Checks that are told of at once: in between the clock has its turn.
const AT_ONCE: usize = 1024;

/// Checks that the manager is told of at once.
const RESUMED: usize = 2048;

/// The loop of the node.
pub(super) struct FleetTask {
    node: Arc<Mutex<Node>>,
    pipeline: Arc<Pipeline>,
    manager: Manager,
    requests: mpsc::Sender<Request>,
    events: mpsc::Receiver<StoreEvent>,
    policy: Policy,
    /// The checks that the node has.
    checks: HashMap<CheckKey, Policy>,
    /// Those of them that this node has no way to, so it has no opinion of them.
    blind: HashSet<CheckKey>,
    /// How many checks this node probes.
    probed: usize,
    /// The fixed words of results.
    labels: HashMap<&'static str, Arc<str>>,
    trouble: Trouble,
    /// Another process has the name, and the log says so.
    is_name_taken: bool,
    figures: Arc<FleetFigures>,
    shutdown: CancellationToken,
}

impl FleetTask {
    pub(super) fn new(
        node: Arc<Mutex<Node>>,
        store: FleetStore,
        parts: FleetParts,
        policy: Policy,
        trouble: Trouble,
        figures: Arc<FleetFigures>,
    ) -> Self {
        let FleetStore { requests, events } = store;
        let FleetParts { pipeline, manager, guard: _, shutdown } = parts;
        Self {
            node,
            pipeline,
            manager,
            requests,
            events,
            policy,
            checks: HashMap::new(),
            blind: HashSet::new(),
            probed: 0,
            labels: HashMap::new(),
            trouble,
            is_name_taken: false,
            figures,
            shutdown,
        }
    }

    /// Runs until the shutdown; then the fleet is left.
    ///
    /// # Errors
    /// The way to the store has ended.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut resumed = Vec::new();
        loop {
            let due = Instant::from_std(lock(&self.node).due());
            // Each branch may be dropped: an event or a change that was not taken stays where it is.
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                () = sleep_until(due) => lock(&self.node).tick(now()),
                _ = look.tick() => {
                    let why = self.trouble.look(self.probed, self.blind.len());
                    self.figures.abstains.store(why.is_some(), Relaxed);
                    lock(&self.node).abstain(why, now());
                }
                event = self.events.recv() => match event {
                    Some(event) => lock(&self.node).store(event, now()),
                    None => bail!("the way to the store of the fleet has ended"),
                },
                changes = self.pipeline.fleet_changes() => {
                    for change in changes {
                        self.take(change, &mut resumed);
                    }
                }
            }
            self.act(&mut resumed).await;
        }
        lock(&self.node).leave();
        for action in lock(&self.node).take_actions() {
            if let Action::Store(request) = action {
                let _ = self.requests.try_send(request);
            }
        }
        Ok(())
    }

    /// A check begins, ends or is judged by another rule, or a probe has found something.
    fn take(&mut self, change: FleetChange, resumed: &mut Vec<(CheckId, Health)>) {
        let FleetChange { key, wanted, metadata, found, resume } = change;
        let mut node = lock(&self.node);
        if !wanted {
            self.blind.remove(&key);
            if self.checks.remove(&key).is_some() {
                node.remove(key, now());
            }
            return;
        }
        let keys = metadata.map(|metadata| metadata.opinions).unwrap_or_default();
        let policy = keys.policy(self.policy);
        if self.checks.insert(key, policy) != Some(policy) {
            node.add(key, policy, now());
        }
        resumed.extend(resume);
        let Some(Found { health, streak, label, bears_out, is_blind }) = found else { return };
        if is_blind {
            // What it said is taken back, and it goes on looking.
            if self.blind.insert(key) {
                node.remove(key, now());
                node.add(key, policy, now());
            }
            return;
        }
        self.blind.remove(&key);
        let label = self.labels.entry(label).or_insert_with(|| label.into()).clone();
        node.found(key, Finding { health, streak, label }, bears_out, now());
    }

    /// Does what the node wants done.
    async fn act(&mut self, resumed: &mut Vec<(CheckId, Health)>) {
        let mut orders = Vec::new();
        loop {
            let actions = lock(&self.node).take_actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Store(request) => self.ask(request),
                    Action::Probe(key, health) => {
                        self.probed += 1;
                        orders.push(FleetOrder::Probe(key, health));
                    }
                    Action::Rest(key) => {
                        self.probed = self.probed.saturating_sub(1);
                        orders.push(FleetOrder::Rest(key));
                    }
                    Action::Tell(key, health, _) => orders.push(FleetOrder::Tell(key, health)),
                    Action::Log(note) => self.log(note),
                }
            }
        }
        for orders in orders.chunks(AT_ONCE) {
            resumed.extend(self.pipeline.obey(orders));
            tokio::task::yield_now().await;
        }
        let resumed = take(resumed);
        for part in resumed.chunks(RESUMED) {
            // A manager that has ended takes the process with it.
            let _ = self.manager.resume(part.to_vec()).await;
        }
        self.figures.set(&lock(&self.node), self.checks.len(), self.probed);
    }

    /// Asks the store. One that has no room has not heard of it.
    fn ask(&self, request: Request) {
        if let Request::Write(batch) = &request {
            let objects = u64::try_from(batch.puts.len()).unwrap_or(u64::MAX);
            self.figures.objects_written.fetch_add(objects, Relaxed);
        }
        let Err(refused) = self.requests.try_send(request) else { return };
        let why = "the store has not answered earlier requests".to_owned();
        let event = match refused.into_inner() {
            Request::Write(batch) => StoreEvent::NotWritten(batch.ticket, why),
            Request::Revoke(_) => return,
            _ => StoreEvent::Failed(why),
        };
        lock(&self.node).store(event, now());
    }

    fn log(&mut self, note: Note) {
        self.figures.noted(&note);
        match note {
            Note::Joined => {
                self.is_name_taken = false;
                info!("this node belongs to the fleet");
            }
            Note::LeaseLost => warn!("the lease of this node is gone: it joins the fleet anew"),
            // Once a second as long as it lasts.
            Note::NameTaken if replace(&mut self.is_name_taken, true) => {}
            Note::NameTaken => warn!("another process has the name of this node in the fleet: it waits"),
            Note::CutOff(why) => {
                warn!(why, "this node is cut off from the fleet: it goes on with verdicts of its own");
            }
            Note::Back => {
                // Opinions of before count no more.
                self.pipeline.forget_findings();
                info!("this node hears the fleet again");
            }
            Note::Member(node, true) => info!(%node, "a node has joined the fleet"),
            Note::Member(node, false) => info!(%node, "a node has left the fleet"),
            Note::Abstains(node, Some(why)) => warn!(%node, why, "opinions of a node do not count"),
            Note::Abstains(node, None) => info!(%node, "opinions of a node count again"),
            Note::AllAbstain => {
                warn!("no node of the fleet has opinions that count: verdicts stay as they are")
            }
            Note::Unreadable(key, why) => warn!(key, why, "a value in the store of the fleet cannot be read"),
            Note::StoreFailed(why) => debug!(why, "a request to the store of the fleet has failed"),
            _ => {}
        }
    }
}
