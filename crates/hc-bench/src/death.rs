//! From the death of a backend to the engine's RPC: hc-server, hc-proxy and a stand-in for the
//! engine, as they are deployed.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use hc_testkit::process::Process;
use serde_json::{Value, json};

use crate::Options;
use crate::peers;
use crate::report::{Report, Table};
use crate::server::Cpus;
use crate::stats::percentile;

const BACKENDS: usize = 200;
const INTERVAL: Duration = Duration::from_secs(1);
const RETRIES: u32 = 1;
/// Deaths are this far apart, so that they come at all moments of the interval.
const BETWEEN: Duration = Duration::from_millis(17);

/// How long the engine may take to hear of all of them.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let mut backends = (1..=BACKENDS as u64).map(Backend::new).collect::<Result<Vec<_>>>()?;
    let checks: Vec<_> = backends.iter().map(Backend::check).collect();
    let (engine, socket) = peers::engine_with(dir.path(), "engine", &checks)?;
    let _ours = peers::our_programs(dir.path(), &socket, "", (Cpus::One, &[]))?;
    told(&engine, 0, "healthy")?;

    let (mut since_death, mut since_probe) = (Vec::new(), Vec::new());
    for _ in 0..if options.quick { 1 } else { 5 } {
        let from = engine.mark();
        let mut died = HashMap::new();
        for backend in &mut backends {
            sleep(BETWEEN);
            died.insert(backend.id, SystemTime::now());
            backend.listener = None;
        }
        for (id, news) in told(&engine, from, "unhealthy")? {
            since_death.push(millis(news.heard.duration_since(died[&id])?));
            since_probe.push(millis(news.heard.duration_since(news.probed)?));
        }
        let from = engine.mark();
        backends.iter_mut().try_for_each(Backend::revive)?;
        told(&engine, from, "healthy")?;
    }
    Ok(table(since_death, since_probe).into())
}

fn table(since_death: Vec<f64>, since_probe: Vec<f64>) -> Table {
    // A refused connection fails at once, so nothing is waited for but the probes.
    let formula = millis(INTERVAL * (RETRIES + 1));
    let beyond: Vec<f64> = since_death.iter().map(|millis| millis - formula).collect();
    let row = |name: &str, mut values: Vec<f64>| {
        let figures = [50.0, 99.0, 100.0].map(|percent| format!("{:.0}", percentile(&mut values, percent)));
        [vec![name.to_owned()], figures.into()].concat()
    };
    let title = format!(
        "{} deaths of backends that refuse from then on, interval {} s, {RETRIES} retry: until the engine's RPC, ms",
        since_death.len(),
        INTERVAL.as_secs()
    );
    let rows = vec![
        row("from the death", since_death.clone()),
        row(&format!("the same beyond the detection time at worst, {formula:.0} ms"), beyond),
        row("from the start of the probe that decided", since_probe.clone()),
    ];
    Table::new(title, &["", "p50", "p99", "max"], rows)
        .with("from the death, ms", &since_death)
        .with("from the deciding probe, ms", &since_probe)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A listener that dies and comes back.
struct Backend {
    id: u64,
    address: SocketAddr,
    listener: Option<TcpListener>,
}

impl Backend {
    fn new(id: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        Ok(Self { id, address: listener.local_addr()?, listener: Some(listener) })
    }

    fn revive(&mut self) -> Result<()> {
        self.listener = Some(TcpListener::bind(self.address)?);
        Ok(())
    }

    fn check(&self) -> Value {
        json!({
            "id": self.id, "interval": format!("{}s", INTERVAL.as_secs()), "timeout": "1s", "retries": RETRIES,
            "checker_type": "tcp", "ip": self.address.ip(), "port": self.address.port(),
        })
    }
}

/// What the engine heard of a check: when, and when the probe behind it began.
#[derive(Debug, PartialEq)]
struct News {
    heard: SystemTime,
    probed: SystemTime,
}

/// Waits until the engine has heard this of every backend, and says when it first did.
fn told(engine: &Process, from: usize, state: &str) -> Result<HashMap<u64, News>> {
    let mut heard = HashMap::new();
    let mut at = from;
    let all = engine.wait_lines(PATIENCE, |lines| {
        for line in &lines[at..] {
            if let Some((id, news)) = news(line, state) {
                heard.entry(id).or_insert(news);
            }
        }
        at = lines.len();
        (heard.len() == BACKENDS).then_some(())
    });
    ensure!(all.is_some(), "the engine heard {state} of {} backends only", heard.len());
    Ok(heard)
}

fn news(line: &str, state: &str) -> Option<(u64, News)> {
    let event: Value = serde_json::from_str(line).ok()?;
    let time = |name: &str| humantime::parse_rfc3339(event[name].as_str()?).ok();
    let is_wanted = event["event"] == "notification" && event["state"] == state;
    let news = News { heard: time("time")?, probed: time("last_check")? };
    is_wanted.then_some((event["id"].as_u64()?, news))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_engine_is_read() {
        let line = r#"{"event":"notification","time":"1970-01-01T00:00:02.5Z","id":7,"state":"unhealthy","last_check":"1970-01-01T00:00:02Z"}"#;
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(news(line, "unhealthy").unwrap(), (7, News { heard: at(2_500), probed: at(2_000) }));
        assert_eq!(news(line, "healthy"), None);
        assert_eq!(news(r#"{"event":"fetch","time":"1970-01-01T00:00:02Z","checks":1}"#, "healthy"), None);
    }

    #[test]
    fn the_detection_time_is_taken_off() {
        let table = table(vec![1_900.0, 2_030.0], vec![25.0, 30.0]);
        assert_eq!(table.rows[1][1..], ["-100", "30", "30"]);
        assert_eq!(table.rows[2][3], "30");
    }
}
