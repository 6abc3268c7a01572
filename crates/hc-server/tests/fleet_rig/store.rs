//! A store in memory that answers as etcd does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hc_fleet::{Request, StoreEvent, Term};
use hc_server::FleetStore;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// How long a lease lives that is not kept alive.
const TTL: Duration = Duration::from_secs(2);

/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often the store says that nothing has changed, in looks.
const QUIET: u32 = 8;

pub(crate) struct MemoryStore {
    runtime: Runtime,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<String, (Vec<u8>, Term)>,
    leases: BTreeMap<Term, Instant>,
    terms: u64,
    /// Nobody is answered.
    refuses: bool,
    cut: BTreeSet<String>,
    /// Goes up when the store has lost what it had.
    wipes: u32,
    watchers: Vec<mpsc::UnboundedSender<Changes>>,
}

type Changes = Vec<(String, Option<Vec<u8>>)>;

impl State {
    fn tell(&mut self, changes: Changes) {
        if !changes.is_empty() {
            self.watchers.retain(|watcher| watcher.send(changes.clone()).is_ok());
        }
    }

    fn put(&mut self, puts: Vec<(String, Vec<u8>)>, deletes: &[String], term: Term) {
        let mut changes = Vec::new();
        for prefix in deletes {
            let gone: Vec<String> =
                self.keys.keys().filter(|key| key.starts_with(prefix.as_str())).cloned().collect();
            for key in gone {
                self.keys.remove(&key);
                changes.push((key, None));
            }
        }
        for (key, value) in puts {
            self.keys.insert(key.clone(), (value.clone(), term));
            changes.push((key, Some(value)));
        }
        self.tell(changes);
    }

    fn revoke(&mut self, term: Term) {
        self.leases.remove(&term);
        let gone: Vec<String> =
            self.keys.iter().filter(|(_, (_, of))| *of == term).map(|(key, _)| key.clone()).collect();
        let changes = gone.into_iter().map(|key| {
            self.keys.remove(&key);
            (key, None)
        });
        let changes = changes.collect();
        self.tell(changes);
    }

    fn expire(&mut self) {
        let over: Vec<Term> =
            self.leases.iter().filter(|(_, kept)| kept.elapsed() >= TTL).map(|(term, _)| *term).collect();
        over.into_iter().for_each(|term| self.revoke(term));
    }

    fn snapshot(&self) -> StoreEvent {
        StoreEvent::Snapshot(self.keys.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect())
    }

    fn is_away(&self, name: &str) -> bool {
        self.refuses || self.cut.contains(name)
    }

    fn answer(&mut self, name: &str, request: Request) -> Option<StoreEvent> {
        if self.is_away(name) {
            let why = "nobody answers".to_owned();
            return match request {
                Request::Write(batch) => Some(StoreEvent::NotWritten(batch.ticket, why)),
                Request::Revoke(_) => None,
                _ => Some(StoreEvent::Failed(why)),
            };
        }
        match request {
            Request::Grant => {
                self.terms += 1;
                let term = Term(self.terms);
                self.leases.insert(term, Instant::now());
                Some(StoreEvent::Granted(term))
            }
            Request::Register(record) => {
                let (key, term) = (format!("nodes/{name}"), record.term);
                let is_free = self.keys.get(&key).is_none_or(|(_, of)| *of == term);
                if is_free && self.leases.contains_key(&term) {
                    self.put(vec![(key, record.to_bytes())], &[], term);
                }
                Some(StoreEvent::Registered(term, is_free))
            }
            Request::Update(record) => {
                self.put(vec![(format!("nodes/{name}"), record.to_bytes())], &[], record.term);
                None
            }
            Request::KeepAlive(term) => match self.leases.get_mut(&term) {
                Some(kept) => {
                    *kept = Instant::now();
                    Some(StoreEvent::Kept(term, Instant::now()))
                }
                None => Some(StoreEvent::Lost(term)),
            },
            Request::Revoke(term) => {
                self.revoke(term);
                None
            }
            Request::Write(batch) => {
                if !self.leases.contains_key(&batch.term) {
                    return Some(StoreEvent::NotWritten(batch.ticket, "no lease".to_owned()));
                }
                let of = |rest: &str| format!("opinions/{name}/{rest}");
                let deletes: Vec<String> = batch.deletes.iter().map(|rest| of(rest)).collect();
                let puts = batch.puts.into_iter().map(|(rest, value)| (of(&rest), value)).collect();
                self.put(puts, &deletes, batch.term);
                Some(StoreEvent::Written(batch.ticket))
            }
        }
    }
}

impl MemoryStore {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, state: Arc::default() }
    }

    /// The way of a node to the store.
    pub(crate) fn attach(&self, name: &str) -> FleetStore {
        let (requests, asked) = mpsc::channel(64);
        let (tell, events) = mpsc::channel(64);
        self.runtime.spawn(serve(self.state.clone(), name.to_owned(), asked, tell));
        FleetStore { requests, events }
    }

    /// Nobody is answered, and nothing is told.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// This node is not answered.
    pub(crate) fn cut(&self, name: &str, is_cut: bool) {
        let mut state = self.state.lock().unwrap();
        if is_cut {
            state.cut.insert(name.to_owned())
        } else {
            state.cut.remove(name)
        };
    }

    /// Everything in it is gone, leases included.
    pub(crate) fn wipe(&self) {
        let mut state = self.state.lock().unwrap();
        state.keys.clear();
        state.leases.clear();
        state.wipes += 1;
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    name: String,
    mut asked: mpsc::Receiver<Request>,
    tell: mpsc::Sender<StoreEvent>,
) {
    let (watcher, mut changes) = mpsc::unbounded_channel();
    state.lock().unwrap().watchers.push(watcher);
    // What was told last, whatever was heard since.
    let mut as_of = None;
    let mut look = tokio::time::interval(LOOK);
    let mut looks = 0;
    loop {
        let event = tokio::select! {
            request = asked.recv() => match request {
                Some(request) => state.lock().unwrap().answer(&name, request),
                None => return,
            },
            Some(changed) = changes.recv() => as_of.map(|_| StoreEvent::Changes(changed)),
            _ = look.tick() => {
                looks += 1;
                let mut state = state.lock().unwrap();
                state.expire();
                let wipes = state.wipes;
                match as_of {
                    Some(_) if state.is_away(&name) => {
                        as_of = None;
                        Some(StoreEvent::Deaf)
                    }
                    None if state.is_away(&name) => None,
                    Some(known) if known == wipes => {
                        (looks % QUIET == 0).then_some(StoreEvent::Quiet)
                    }
                    _ => {
                        as_of = Some(wipes);
                        while changes.try_recv().is_ok() {}
                        Some(state.snapshot())
                    }
                }
            }
        };
        if let Some(event) = event
            && tell.send(event).await.is_err()
        {
            return;
        }
    }
}
