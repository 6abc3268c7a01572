//! The texts for operators, case by case.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::side::{Event, Kind, Side};
use super::verdict;
use crate::case::{Case, Family};
use crate::cases;
use crate::compare::{Deed, Difference};
use crate::exceptions::Exceptions;
use crate::pattern::matches;
use crate::serve::Running;
use crate::trust::Trust;

/// The first cell of the table's head.
const HEAD: &str = "| message |";

/// The cases whose messages are compared: every kind of text that an operator can read, once.
const CASES: &[&str] = &[
    "tcp/*",
    "udp/*",
    "dns/right",
    "dns/wrong",
    "dns/no-answers",
    "dns/other-type",
    "dns/rcode/2",
    "dns/rcode/3",
    "dns/not-a-response",
    "dns/refused",
    "dns/silence",
    "dns/broken/header-alone",
    "dns/label-of-64",
    "radius/code/2-for-accept",
    "radius/code/3-for-accept",
    "radius/code/77-for-accept",
    "radius/code/11-for-any",
    "radius/other-secret",
    "radius/silence",
    "radius/wrong-identifier",
    "radius/refused",
    "radius/broken/length-too-small",
    "radius/broken/attribute-length-1",
    "tls/verified/*",
    "tls/not/*",
    "https/verified/good/address",
    "https/verified/stranger/address",
    "https/not/plain-http",
    "http/connection/*",
    "http/status/404",
    "http/status/404-unwanted",
    "http/body/*",
    "http/line/*-any",
    "http/field/no-colon",
    "http/redirect/301/*",
    "http/request/plain/*zz*",
    "http/request/plain/\":foo\"",
    "http/request/plain/\"1:2\"",
];

/// Differences between the texts that are meant: on the left Seesaw's, on the right ours.
pub(crate) struct MessageTable(Vec<Row>);

/// Patterns of texts that mean the same.
struct Row {
    id: String,
    seesaw: Vec<String>,
    ours: Vec<String>,
}

impl MessageTable {
    /// Reads the table out of the document.
    ///
    /// # Errors
    /// When there is none, or a row is not one.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut rows = text.lines().skip_while(|line| !line.starts_with(HEAD));
        ensure!(rows.next().is_some(), "no table that begins with {HEAD:?}");
        rows.next();
        let rows = rows.take_while(|line| line.starts_with('|')).map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [id, seesaw, ours, reason] = cells[..] else {
                bail!("a row of the messages has four cells: {row}")
            };
            ensure!(!reason.is_empty(), "{id} has no reason");
            let patterns =
                |cell: &str| cell.split("`, `").map(|one| one.trim_matches('`').to_owned()).collect();
            Ok(Row { id: id.to_owned(), seesaw: patterns(seesaw), ours: patterns(ours) })
        });
        rows.collect::<Result<_>>().map(Self)
    }

    fn find(&self, seesaw: &str, ours: &str) -> Option<&str> {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        let row = self.0.iter().find(|row| any(&row.seesaw, seesaw) && any(&row.ours, ours));
        row.map(|row| &*row.id)
    }
}

fn wanted(trust: &Trust) -> Vec<Case> {
    let is_wanted = |case: &Case| {
        let named = CASES.iter().any(|pattern| matches(pattern, &case.name));
        // What cannot be asked from here is held on our side, and what no backend can be is
        // rejected: nothing is told.
        let is_untold = case.name.ends_with("/no-route") || case.name.contains("/no-backend/");
        case.family == Family::V4 && named && !is_untold
    };
    cases::all(trust).into_iter().filter(is_wanted).collect()
}

/// The verdict and the text of each case by its name.
pub(super) type Texts = BTreeMap<String, (String, String)>;

/// Runs each case once.
pub(super) fn run(kind: Kind, programs: &Path, trust: &Trust) -> Result<Texts> {
    let cases = wanted(trust);
    let servers: Vec<Running> = cases
        .iter()
        .map(|case| case.server.start(case.family))
        .collect::<Result<_, _>>()
        .context("servers")?;
    let mut set = Vec::new();
    for (n, (case, server)) in (1..).zip(cases.iter().zip(&servers)) {
        let address = server.address();
        let mut check: Value = serde_json::from_str(&case.line(n, address.ip(), address.port()))?;
        check.as_object_mut().context("a check is an object")?.remove("n");
        set.push(check);
    }
    let side = Side::start(kind, programs, Some(trust.file()), &set)?;
    let told = |events: &[Event], id: u64| {
        events
            .iter()
            .find(|event| event.id == id && event.event == "notification" && event.probes() > 0)
            .cloned()
    };
    let ids = 1..=cases.len() as u64;
    let events =
        side.wait("every case to be told of", |events| ids.clone().all(|id| told(events, id).is_some()))?;
    let mut texts = Texts::new();
    for ((id, case), server) in ids.zip(&cases).zip(&servers) {
        let event = told(&events, id).context("waited for it")?;
        let word = if event.state == "healthy" { "pass" } else { "fail" };
        texts.insert(case.name.clone(), (word.to_owned(), normalized(&event.message(), server)));
    }
    Ok(texts)
}

/// Without what differs from run to run: the port of the server, and that of the client.
fn normalized(message: &str, server: &Running) -> String {
    let mut text = message.replace(&format!(":{}", server.address().port()), ":PORT");
    text = text.replace(&format!("to port {}", server.address().port()), "to port PORT");
    let Some((before, after)) = text.split_once("->") else { return text };
    let local = before.trim_end_matches(|c: char| c.is_ascii_digit());
    format!("{local}CLIENT->{after}")
}

/// Holds verdicts against the list of exceptions, and texts against that of the messages.
pub(super) fn compare(
    [seesaw, ours]: &[Texts; 2],
    exceptions: &Exceptions,
    table: &MessageTable,
) -> Result<String> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut same = 0;
    for ((name, (theirs, their_text)), (our_word, our_text)) in seesaw.iter().zip(ours.values()) {
        let deed = |word: &String, text: &String| Deed { word: word.clone(), text: text.clone() };
        if theirs != our_word {
            let (seesaw, ours) = (deed(theirs, their_text), deed(our_word, our_text));
            let difference =
                Difference { case: name.clone(), told: "by the programs".to_owned(), seesaw, ours };
            if exceptions.find(&difference).is_none() {
                problems.push(format!("{difference}\n    Seesaw: {their_text}\n    we: {our_text}"));
            }
        } else if their_text == our_text {
            same += 1;
        } else if let Some(id) = table.find(their_text, our_text) {
            *seen.entry(id).or_default() += 1;
        } else {
            problems.push(format!("{name}: Seesaw `{their_text}` we `{our_text}`"));
        }
    }
    for Row { id, .. } in &table.0 {
        if !seen.contains_key(&**id) {
            problems.push(format!("message {id} is listed and was not seen"));
        }
    }
    verdict(&problems)?;
    let listed: usize = seen.values().sum();
    Ok(format!("{} messages: {same} are the same, {listed} differ as listed", seesaw.len()))
}
