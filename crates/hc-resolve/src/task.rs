//! Asks for names when they are due.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Change, Lookup, Names, NamesConfig, Question};

/// Names that are asked for at once.
const AT_ONCE: usize = 64;

/// Says which names are followed.
#[derive(Clone, Debug)]
pub struct Handle(watch::Sender<BTreeSet<Arc<str>>>);

impl Handle {
    /// These names are followed from now on, and no others.
    pub fn set(&self, names: BTreeSet<Arc<str>>) {
        self.0.send_replace(names);
    }
}

/// Follows names: every change goes to `changes`, the first addresses of a name included, and all
/// that are known after each [`Handle::set`]. The future runs until `shutdown`.
///
/// What is logged: the first failure of a name, and its end.
pub fn follow<L: Lookup>(
    resolver: L,
    config: NamesConfig,
    changes: mpsc::Sender<Change>,
    shutdown: CancellationToken,
) -> (Handle, impl Future<Output = ()>) {
    let (sender, wanted) = watch::channel(BTreeSet::new());
    (Handle(sender), run(resolver, Names::new(config), wanted, changes, shutdown))
}

async fn run(
    resolver: impl Lookup,
    mut names: Names,
    mut wanted: watch::Receiver<BTreeSet<Arc<str>>>,
    changes: mpsc::Sender<Change>,
    shutdown: CancellationToken,
) {
    let mut asked = JoinSet::new();
    // The one that has waited longest comes first, so that none waits for ever.
    let mut waiting: VecDeque<Question> = VecDeque::new();
    let mut troubled: BTreeSet<Arc<str>> = BTreeSet::new();
    loop {
        waiting.extend(names.due(Instant::now().into_std()));
        while asked.len() < AT_ONCE
            && let Some(question) = waiting.pop_front()
        {
            let resolver = resolver.clone();
            asked.spawn(async move {
                let answer = resolver.lookup(&question.name).await;
                (question, answer)
            });
        }
        let due = names.next_due();
        let wait = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order, so that what happens does not depend on chance. None starves another:
            // names are set seldom, and answers are as many as were asked for.
            biased;
            () = shutdown.cancelled() => return,
            changed = wanted.changed() => {
                if changed.is_err() {
                    // Nobody can want anything any more.
                    return;
                }
                let wanted = wanted.borrow_and_update().clone();
                names.set(wanted, Instant::now().into_std());
                // Whoever has set them may have forgotten addresses that are known here.
                let known: Vec<Change> = names.known().collect();
                for change in known {
                    if changes.send(change).await.is_err() {
                        return;
                    }
                }
            }
            Some(Ok((question, answer))) = asked.join_next() => {
                let change = names.answered(&question, answer, Instant::now().into_std());
                log_troubles(&names, &mut troubled);
                if let Some(change) = change
                    && changes.send(change).await.is_err()
                {
                    return;
                }
            }
            () = wait => {}
        }
    }
}

fn log_troubles(names: &Names, troubled: &mut BTreeSet<Arc<str>>) {
    let mut now = BTreeSet::new();
    for (name, trouble) in names.troubles() {
        if !troubled.contains(name) {
            let addresses = names.addresses(name).map_or(0, BTreeSet::<IpAddr>::len);
            tracing::warn!(
                name = &**name,
                problem = trouble.problem,
                addresses,
                "a name cannot be resolved: its last addresses stand"
            );
        }
        now.insert(name.clone());
    }
    for name in troubled.difference(&now) {
        tracing::info!(name = &**name, "a name is resolved again");
    }
    *troubled = now;
}
