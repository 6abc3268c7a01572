//! One node, and by hand what the store tells it: for what comes in an unlucky order.

use super::*;
use crate::store::StoreEvent as Said;
use crate::{Batch, Head, Object, encode};

use Health::Unknown;

/// A node named `b`.
struct Desk {
    node: Node,
    now: Instant,
    number: u64,
    probed: BTreeSet<CheckKey>,
    told: Vec<(Health, Basis)>,
    notes: Vec<Note>,
    requests: Vec<Request>,
    /// What it has written of its opinions.
    written: BTreeMap<CheckKey, Opinion>,
}

/// A check whose slot has the nodes in this order.
fn ordered(names: &[&str]) -> CheckKey {
    let seats = names.iter().map(|name| Seat { name: name_of(name), zone: "".into(), capacity: 1 });
    let assignment = Assignment::new(seats);
    let order = |key: &CheckKey| -> Vec<String> {
        assignment.first(Slot::of(*key), 9).map(|name| name.as_str().into()).collect()
    };
    (0..1000).map(key).find(|key| order(key) == names).unwrap()
}

fn name_of(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn record(term: u64, instance: &str) -> NodeRecord {
    let mut record = NodeConfig::new(name_of("x"), instance.into()).record;
    record.term = Term(term);
    record
}

const OWN: &str = "this process";

impl Desk {
    #[allow(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
    fn new(key: CheckKey, policy: Policy) -> Self {
        let now = Instant::now();
        let mut node = Node::new(NodeConfig::new(name_of("b"), OWN.into()), now);
        node.add(key, policy, now);
        let mut desk = Self {
            node,
            now,
            number: 0,
            probed: BTreeSet::new(),
            told: Vec::new(),
            notes: Vec::new(),
            requests: Vec::new(),
            written: BTreeMap::new(),
        };
        desk.say(Said::Snapshot(Vec::new()));
        desk
    }

    fn say(&mut self, said: Said) {
        self.node.store(said, self.now);
        self.take();
    }

    fn take(&mut self) {
        for action in self.node.take_actions() {
            match action {
                Action::Store(Request::Write(batch)) => self.write(batch),
                Action::Store(request) => self.requests.push(request),
                Action::Probe(key, _) => assert!(self.probed.insert(key)),
                Action::Rest(key) => assert!(self.probed.remove(&key)),
                Action::Tell(_, health, basis) => self.told.push((health, basis)),
                Action::Log(note) => self.notes.push(note),
            }
        }
    }

    fn write(&mut self, batch: Batch) {
        for (_, value) in batch.puts {
            let object = Object::decode(&value).unwrap();
            if object.head.span.is_some() {
                self.written.clear();
            }
            self.written.extend(object.opinions);
        }
    }

    /// Some time passes; what is written meanwhile has no answer yet.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.node.tick(self.now);
        self.take();
    }

    fn change(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.say(Said::Changes(vec![(key.into(), value)]));
    }

    fn join(&mut self, term: u64) {
        self.say(Said::Granted(Term(term)));
        self.say(Said::Registered(Term(term), true));
        self.change("nodes/b", Some(record(term, OWN).to_bytes()));
    }

    /// Another node is registered; its term is the first byte of its name.
    fn member(&mut self, name: &str) {
        let term = name.as_bytes()[0].into();
        self.change(&format!("nodes/{name}"), Some(record(term, "another").to_bytes()));
    }

    fn gone(&mut self, name: &str) {
        self.change(&format!("nodes/{name}"), None);
    }

    fn opinion(&mut self, name: &str, key: CheckKey, health: Health, verdict: Health) {
        self.number += 1;
        let opinion = Opinion { health, verdict, number: self.number, streak: 1, label: "x".into() };
        let head = Head { term: Term(name.as_bytes()[0].into()), as_of: self.number, span: None };
        let (bytes, _) = encode(&head, [(key, &opinion)], 1000);
        self.change(&format!("opinions/{name}/log/{:016x}", self.number), Some(bytes));
    }

    fn find(&mut self, key: CheckKey, health: Health) {
        self.node.found(key, finding(health), true, self.now);
        self.take();
    }

    fn verdict(&self, key: CheckKey) -> Health {
        self.node.explain(key).unwrap().verdict
    }
}

const THREE: Policy = Policy { opinions: 3, quorum: Quorum::Majority };

/// Two of three say unhealthy, and the first of the three has not written a verdict since. One of the
/// opinions goes: the verdict before stands, and not what the first one has once written.
#[test]
fn an_old_verdict_of_the_first_node_takes_nothing_back() {
    let key = ordered(&["a", "b", "c"]);
    let mut desk = Desk::new(key, THREE);
    desk.join(1);
    desk.member("a");
    desk.member("c");
    desk.opinion("a", key, Healthy, Healthy);
    desk.opinion("c", key, Unhealthy, Unknown);
    desk.find(key, Unhealthy);
    assert_eq!(desk.verdict(key), Unhealthy);
    desk.opinion("c", key, Unknown, Unknown);
    assert_eq!(desk.verdict(key), Unhealthy);
    assert_eq!(desk.told.last(), Some(&(Unhealthy, Basis::Held)), "{:?}", desk.told);
}

/// In a tie of all it is the other way round: what the first one says is what all say.
#[test]
fn a_tie_is_what_the_first_node_says() {
    let key = ordered(&["a", "b"]);
    let mut desk = Desk::new(key, Policy { opinions: 2, ..THREE });
    desk.join(1);
    desk.member("a");
    desk.pass(seconds(4));
    desk.opinion("a", key, Unhealthy, Unhealthy);
    desk.find(key, Unhealthy);
    assert_eq!(desk.told.last(), Some(&(Unhealthy, Basis::Fleet)));
    desk.find(key, Healthy);
    assert_eq!(desk.told.last(), Some(&(Unhealthy, Basis::Held)));
    desk.opinion("a", key, Unhealthy, Healthy);
    assert_eq!(desk.told.last(), Some(&(Healthy, Basis::Held)));
}

/// The verdict changes by opinions of others: what a node has written of it changes, too, before it is
/// the first one.
#[test]
fn what_is_written_of_a_verdict_is_what_stands() {
    let key = ordered(&["a", "b", "c"]);
    let mut desk = Desk::new(key, THREE);
    desk.join(1);
    desk.member("a");
    desk.member("c");
    desk.opinion("a", key, Healthy, Healthy);
    desk.opinion("c", key, Healthy, Healthy);
    desk.find(key, Healthy);
    desk.opinion("a", key, Unhealthy, Healthy);
    desk.opinion("c", key, Unhealthy, Unhealthy);
    desk.pass(seconds(1));
    assert_eq!((desk.written[&key].health, desk.written[&key].verdict), (Healthy, Unhealthy));
}

/// The node's lease is out when others have its check: the next term does not begin with an opinion
/// that is no more.
#[test]
fn an_opinion_that_was_given_up_is_not_written_again() {
    let key = ordered(&["a", "b"]);
    let mut desk = Desk::new(key, Policy::default());
    desk.join(1);
    desk.find(key, Healthy);
    desk.pass(seconds(1));
    desk.say(Said::Written(1));
    desk.say(Said::Lost(Term(1)));
    desk.member("a");
    desk.opinion("a", key, Healthy, Healthy);
    assert!(desk.probed.is_empty());
    desk.written.clear();
    desk.join(2);
    desk.pass(seconds(1));
    assert_eq!(desk.written, BTreeMap::new());
}

/// What the watch tells may come before the answer to the request.
#[test]
fn a_node_knows_its_own_key_before_the_answer() {
    let mut desk = Desk::new(key(1), Policy::default());
    desk.say(Said::Granted(Term(1)));
    desk.change("nodes/b", Some(record(1, OWN).to_bytes()));
    desk.say(Said::Registered(Term(1), true));
    desk.gone("b");
    assert!(desk.notes.contains(&Note::LeaseLost), "{:?}", desk.notes);
    // And of an earlier term it is no news.
    desk.say(Said::Granted(Term(2)));
    desk.gone("b");
    desk.say(Said::Registered(Term(2), true));
    assert_eq!(desk.notes.iter().filter(|note| **note == Note::LeaseLost).count(), 1);
}

/// A registration without an answer may have been written: its lease would keep the name until it ends.
#[test]
fn a_lease_that_is_given_up_is_revoked() {
    let mut desk = Desk::new(key(1), Policy::default());
    desk.say(Said::Granted(Term(1)));
    desk.say(Said::Failed("no answer".into()));
    assert_eq!(desk.requests.last(), Some(&Request::Revoke(Term(1))));
}

#[test]
fn who_is_no_member_leaves_checks_to_others() {
    let key = ordered(&["a", "b"]);
    let mut desk = Desk::new(key, Policy::default());
    desk.join(1);
    desk.find(key, Healthy);
    desk.member("a");
    desk.gone("b");
    assert!(desk.probed.contains(&key));
    desk.opinion("a", key, Healthy, Healthy);
    assert!(desk.probed.is_empty());
}

/// Another process has the name: it is another node, and its checks are not this one's.
#[test]
fn two_processes_of_one_name_are_two_nodes() {
    let key = ordered(&["b", "c"]);
    let mut desk = Desk::new(key, Policy::default());
    desk.change("nodes/b", Some(record(98, "another").to_bytes()));
    desk.member("c");
    desk.say(Said::Granted(Term(1)));
    desk.say(Said::Registered(Term(1), false));
    assert_eq!(desk.notes.last(), Some(&Note::NameTaken));
    assert!(desk.probed.is_empty());
    desk.opinion("b", key, Unhealthy, Unhealthy);
    assert_eq!(desk.told, [(Unhealthy, Basis::Fleet)]);
    desk.gone("c");
    desk.pass(seconds(5));
    assert!(!desk.node.is_cut_off(), "{:?}", desk.notes);
    // Its lease ends.
    desk.gone("b");
    desk.join(2);
    assert!(desk.probed.contains(&key));
}

/// A watch goes on after a minute with what was so a minute ago: none of it is told before the store has
/// said that this is all.
#[test]
fn what_comes_after_a_silence_may_be_old() {
    let key = ordered(&["a", "b"]);
    let mut desk = Desk::new(key, Policy::default());
    desk.join(1);
    desk.member("a");
    desk.opinion("a", key, Healthy, Healthy);
    desk.pass(seconds(11));
    assert!(desk.node.is_cut_off());
    desk.told.clear();
    desk.opinion("a", key, Unhealthy, Unhealthy);
    desk.opinion("a", key, Healthy, Healthy);
    assert_eq!((desk.node.is_cut_off(), &desk.told[..]), (true, &[][..]));
    desk.say(Said::Quiet);
    assert_eq!((desk.node.is_cut_off(), &desk.told[..]), (false, &[(Healthy, Basis::Fleet)][..]));
}

/// Nobody has heard of the store since a node went: it may be back already.
#[test]
fn fewer_nodes_count_only_when_the_store_was_heard_since() {
    let key = ordered(&["a", "b"]);
    let policy = Policy { opinions: 2, quorum: Quorum::Any };
    let mut desk = Desk::new(key, policy);
    desk.join(1);
    desk.member("a");
    desk.pass(seconds(4));
    desk.say(Said::Quiet);
    desk.opinion("a", key, Healthy, Healthy);
    desk.find(key, Unhealthy);
    desk.gone("a");
    desk.pass(seconds(4));
    assert_eq!(desk.verdict(key), Healthy);
    desk.say(Said::Quiet);
    assert_eq!(desk.verdict(key), Unhealthy);
}

/// All have been alone: the first one goes by what it knows, and says so.
#[test]
fn a_tie_of_which_nobody_knows_a_verdict_is_what_the_first_finds() {
    let key = ordered(&["b", "a"]);
    let mut desk = Desk::new(key, Policy { opinions: 2, ..THREE });
    desk.join(1);
    desk.member("a");
    desk.pass(seconds(4));
    desk.say(Said::Quiet);
    desk.opinion("a", key, Unhealthy, Unknown);
    desk.find(key, Healthy);
    desk.pass(seconds(1));
    assert_eq!(desk.told, [(Healthy, Basis::Held)]);
    assert_eq!(desk.written[&key].verdict, Healthy);
}

/// A request to write that a node abstains may get lost.
#[test]
fn that_a_node_abstains_is_said_until_it_is_heard() {
    let mut desk = Desk::new(key(1), Policy::default());
    desk.join(1);
    let now = desk.now;
    desk.node.abstain(Some("late".into()), now);
    desk.pass(seconds(4));
    let updates =
        |desk: &Desk| desk.requests.iter().filter(|request| matches!(request, Request::Update(_))).count();
    assert_eq!(updates(&desk), 2);
    let record = NodeRecord { abstains: Some("late".into()), ..record(1, OWN) };
    desk.change("nodes/b", Some(record.to_bytes()));
    desk.pass(seconds(4));
    assert_eq!(updates(&desk), 2);
}

/// The withdrawal was on its way when the lease ended: nothing is left of it.
#[test]
fn what_was_being_taken_back_ends_with_the_lease() {
    let key = ordered(&["a", "b"]);
    let mut desk = Desk::new(key, Policy::default());
    desk.join(1);
    desk.find(key, Healthy);
    desk.pass(seconds(1));
    desk.say(Said::Written(1));
    desk.member("a");
    desk.opinion("a", key, Healthy, Healthy);
    desk.pass(seconds(1));
    assert_eq!((desk.written.len(), desk.probed.len()), (0, 1));
    desk.say(Said::Lost(Term(1)));
    assert!(desk.probed.is_empty());
}
