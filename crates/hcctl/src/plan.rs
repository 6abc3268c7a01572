//! What checks will cost and how soon they notice, and how they differ from those that run.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use hc_api::CheckState;
use hc_config::{Check, Checks, HostCheck, Resolve};
use hc_types::{CheckId, CheckSpec, Pace, ProbeSpec, Status};
use serde::Serialize;

/// What a set of checks does once it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// Checks whose targets are addresses.
    pub(crate) checks: usize,
    /// Checks whose targets are host names. In the figures below each counts once, as if it had one
    /// address.
    pub(crate) host_names: usize,
    /// Probes that begin in a second, on average.
    pub(crate) probes_per_second: f64,
    /// Sockets that are open at once while no backend answers: each probe then waits for its
    /// timeout. ICMP needs none.
    pub(crate) sockets: u64,
    /// From the moment when a healthy backend falls silent to the verdict.
    pub(crate) detection_seconds: Detection,
}

/// Times until it is noticed that a backend is silent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Detection {
    /// Over all checks and moments.
    pub(crate) mean: f64,
    /// Of the slowest check at the worst moment.
    pub(crate) worst: f64,
    /// The name of that check.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) slowest: String,
}

impl Cost {
    pub(crate) fn of(checks: &Checks) -> Self {
        let addresses = checks.checks.iter().map(|check| (&*check.name, &*check.spec));
        let hosts = checks.hosts.iter().map(|host| (&*host.name, host.spec()));
        let mut cost =
            Self { checks: checks.checks.len(), host_names: checks.hosts.len(), ..Self::default() };
        let (mut sockets, mut sum) = (0.0, 0.0);
        for (name, spec) in addresses.chain(hosts) {
            let (interval, timeout) = (spec.interval().as_secs_f64(), spec.timeout().as_secs_f64());
            cost.probes_per_second += 1.0 / interval;
            // These share one socket.
            if !matches!(spec.probe(), ProbeSpec::Icmp | ProbeSpec::HalfOpen) {
                sockets += (timeout / interval).min(1.0);
            }
            let (mean, worst) = detection(spec);
            sum += mean;
            if worst > cost.detection_seconds.worst {
                cost.detection_seconds.worst = worst;
                name.clone_into(&mut cost.detection_seconds.slowest);
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the number of checks"
        )]
        let sockets = sockets.ceil() as u64;
        let all = (cost.checks + cost.host_names).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a number of checks")]
        let mean = sum / all as f64;
        (cost.sockets, cost.detection_seconds.mean) = (sockets, mean);
        cost
    }
}

/// Mean and worst time, in seconds, from the moment when a backend falls silent to the verdict.
///
/// Example: interval 5 s, timeout 1 s, 2 retries. At the worst moment a probe has just passed;
/// those after 5, 10 and 15 s fail, the last of them at 16 s. A mean moment is half an interval
/// later. Probes that follow a failure come at the fast interval, if there is one; jitter can delay
/// the last of them.
fn detection(spec: &CheckSpec) -> (f64, f64) {
    let (interval, timeout) = (spec.interval().as_secs_f64(), spec.timeout().as_secs_f64());
    let fast = spec.interval_at(Pace::Changing);
    // Two probes of a check never overlap: those that are due while one waits are left out.
    let period = fast.as_secs_f64() * (timeout / fast.as_secs_f64()).ceil().max(1.0);
    let rest = period * f64::from(spec.retries()) + timeout;
    let jitter = spec.jitter().of(if spec.retries() == 0 { spec.interval() } else { fast }).as_secs_f64();
    (interval / 2.0 + rest, interval + rest + jitter)
}

/// How checks of files differ from those that run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Changes {
    /// Names of checks that would begin.
    pub(crate) added: Vec<String>,
    /// Names, or ids where there are none, of checks that would end.
    pub(crate) removed: Vec<String>,
    /// What would be other than it is, by name.
    pub(crate) changed: BTreeMap<String, Vec<String>>,
    /// Checks that would go on as they are.
    pub(crate) unchanged: usize,
    /// Host names none of whose addresses are checked now, in words.
    pub(crate) host_names_added: Vec<String>,
}

impl Changes {
    /// Compares by id, as the server does. The addresses of a host name are those that are checked
    /// now.
    pub(crate) fn between(running: &[CheckState], checks: &Checks) -> Self {
        let by_id: HashMap<CheckId, &Check> = checks.checks.iter().map(|check| (check.id, check)).collect();
        let by_name: HashMap<&str, &HostCheck> =
            checks.hosts.iter().map(|host| (&*host.name, host)).collect();
        let mut changes = Self::default();
        let (mut known, mut resolved) = (Vec::new(), Vec::new());
        for state in running {
            let id = state.id.parse().map(CheckId).ok();
            let of_host = host_of(state, &by_name);
            let wanted = match (id.and_then(|id| by_id.get(&id)), &of_host) {
                (Some(check), _) => {
                    known.push(check.id);
                    Some(CheckState::new(check.id, &check.spec, &Status::NEW).with_labels(labels(check)))
                }
                (None, Some((host, check))) => {
                    resolved.push(&*host.name);
                    Some(CheckState::new(check.id, &check.spec, &Status::NEW).with_labels(labels(check)))
                }
                (None, None) => None,
            };
            let title = state.title().to_owned();
            match wanted.map(|wanted| differences(state, &wanted)) {
                None => changes.removed.push(title),
                Some(differences) if differences.is_empty() => changes.unchanged += 1,
                Some(differences) => drop(changes.changed.insert(title, differences)),
            }
        }
        let known: std::collections::HashSet<CheckId> = known.into_iter().collect();
        let new = checks.checks.iter().filter(|check| !known.contains(&check.id));
        changes.added = new.map(|check| check.name.to_string()).collect();
        let resolved: std::collections::HashSet<&str> = resolved.into_iter().collect();
        let new = checks.hosts.iter().filter(|host| !resolved.contains(&*host.name));
        changes.host_names_added = new
            .map(|host| match host.resolve {
                Resolve::Each => format!("{} (a host name, for each of its addresses)", host.name),
                _ => format!("{} (a host name)", host.name),
            })
            .collect();
        changes
    }
}

fn labels(check: &Check) -> impl Iterator<Item = (&str, &str)> {
    check.labels.iter().map(|(key, value)| (&**key, &**value))
}

/// The host name that a running check checks, or one of its addresses, and that check as the files
/// have it.
fn host_of<'c>(state: &CheckState, hosts: &HashMap<&str, &'c HostCheck>) -> Option<(&'c HostCheck, Check)> {
    if let Some(host) = hosts.get(state.name.as_deref()?).filter(|host| host.resolve != Resolve::Each) {
        let check = host.check_of_all(state.addresses.iter().copied()).ok()?;
        return Some((host, check));
    }
    let (name, ip) = state.name.as_deref()?.rsplit_once('/')?;
    let host = *hosts.get(name)?;
    let check = host.check(ip.parse::<IpAddr>().ok()?)?.ok()?;
    Some((host, check))
}

/// What is other, in words.
fn differences(now: &CheckState, then: &CheckState) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, now: String, then: String| {
        if now != then {
            differences.push(format!("{what} {now} -> {then}"));
        }
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    compare("type", now.kind.clone(), then.kind.clone());
    compare("target", now.target.clone(), then.target.clone());
    compare("mode", now.mode.to_string(), then.mode.to_string());
    compare("mark", or_none(now.mark.map(|m| m.to_string())), or_none(then.mark.map(|m| m.to_string())));
    let backend = |state: &CheckState| or_none(state.backend.map(|ip| ip.to_string()));
    compare("backend", backend(now), backend(then));
    compare("interval", seconds(now.interval_seconds), seconds(then.interval_seconds));
    compare("timeout", seconds(now.timeout_seconds), seconds(then.timeout_seconds));
    compare("retries", now.retries.to_string(), then.retries.to_string());
    compare("rise", now.rise.to_string(), then.rise.to_string());
    let span = |time: Option<f64>| or_none(time.map(seconds));
    compare("fast interval", span(now.fast_interval_seconds), span(then.fast_interval_seconds));
    compare("down interval", span(now.down_interval_seconds), span(then.down_interval_seconds));
    compare("jitter", span(now.jitter_seconds), span(then.jitter_seconds));
    compare("start delay", span(now.start_delay_seconds), span(then.start_delay_seconds));
    let labels = |state: &CheckState| {
        let labels: Vec<String> = state.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("({})", labels.join(", "))
    };
    compare("labels", labels(now), labels(then));
    differences
}

/// A time span to the millisecond.
pub(crate) fn seconds(seconds: f64) -> String {
    let rounded = (seconds * 1000.0).round() / 1000.0;
    Duration::try_from_secs_f64(rounded)
        .map(|time| humantime::format_duration(time).to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hc_config::{Limits, NoFiles, SourceFile, parse};

    use super::*;

    fn read(text: &str) -> Checks {
        parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap()
    }

    fn running(checks: &[Check]) -> Vec<CheckState> {
        let state = |check: &Check| {
            CheckState::new(check.id, &check.spec, &Status::NEW)
                .with_name(Some(&check.name))
                .with_labels(labels(check))
        };
        checks.iter().map(state).collect()
    }

    const CHECK: &str = "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\n";

    #[test]
    fn a_silent_backend_is_noticed_after_retries_and_a_timeout() {
        let spec = |timing: &str| (*read(&format!("{CHECK}icmp = {{}}\n{timing}")).checks[0].spec).clone();
        let times = |timing: &str| detection(&spec(timing));
        assert_eq!(times("interval = '5s'\ntimeout = '1s'\nretries = 2"), (13.5, 16.0));
        assert_eq!(times("interval = '5s'\ntimeout = '5s'"), (7.5, 10.0));
        assert_eq!(
            times("interval = '10s'\ntimeout = '1s'\nretries = 2\nfast_interval = '2s'"),
            (10.0, 15.0)
        );
        assert_eq!(times("interval = '10s'\ntimeout = '1s'\njitter = '10%'"), (6.0, 12.0));
        // Each probe waits for 3 s, so that every second and third is left out.
        assert_eq!(times("interval = '1s'\ntimeout = '3s'\nretries = 1"), (6.5, 7.0));
    }

    #[test]
    fn costs_are_summed_up() {
        let cost = Cost::of(&read(
            "[defaults]\ninterval = '10s'\ntimeout = '5s'\n\
             [[check]]\nname = 'a'\ntarget = ['192.0.2.1', '192.0.2.2', 'h.example']\ntcp = {}\nport = 80\n\
             [[check]]\nname = 'b'\ntarget = '192.0.2.1'\nicmp = {}\ninterval = '1s'\ntimeout = '1s'\nretries = 1\n",
        ));
        assert_eq!((cost.checks, cost.host_names, cost.sockets), (3, 1, 2));
        assert!((cost.probes_per_second - 1.3).abs() < 1e-9, "{cost:?}");
        assert_eq!(
            (cost.detection_seconds.worst, cost.detection_seconds.slowest.as_str()),
            (15.0, "a/192.0.2.1:80")
        );
        assert_eq!(cost.detection_seconds.mean, (3.0 * 10.0 + 2.5) / 4.0);
        assert_eq!(Cost::of(&Checks::default()), Cost::default());
    }

    #[test]
    fn changes_are_found_by_id_and_those_of_host_names_by_name() {
        let before = read(
            "[[check]]\nname = 'w'\ntarget = ['192.0.2.1', '192.0.2.2']\nport = 80\ntcp = {}\n\
             [[check]]\nname = 'h'\ntarget = 'h.example'\nicmp = {}\n",
        );
        let mut checks = before.checks.clone();
        checks.push(before.hosts[0].check([192, 0, 2, 9].into()).unwrap().unwrap());
        let after = read(
            "[[check]]\nname = 'w'\ntarget = ['192.0.2.2', '192.0.2.3']\nport = 80\ntcp = {}\nretries = 3\nlabels = { a = 'b' }\n\
             [[check]]\nname = 'h'\ntarget = 'h.example'\nicmp = {}\n\
             [[check]]\nname = 'i'\ntarget = 'i.example'\nicmp = {}\n\
             [[check]]\nname = 'j'\ntarget = 'j.example'\nresolve = 'any'\nicmp = {}\n",
        );
        let changes = Changes::between(&running(&checks), &after);
        assert_eq!(changes.added, ["w/192.0.2.3:80"]);
        assert_eq!(changes.removed, ["w/192.0.2.1:80"]);
        assert_eq!(changes.changed["w/192.0.2.2:80"], ["retries 0 -> 3", "labels () -> (a=b)"]);
        let new = ["i (a host name, for each of its addresses)", "j (a host name)"];
        assert_eq!((changes.unchanged, changes.host_names_added), (1, new.map(str::to_owned).to_vec()));
        let same = Changes::between(&running(&checks), &before);
        assert_eq!(same, Changes { unchanged: 3, ..Changes::default() });
    }

    #[test]
    fn one_check_of_all_addresses_is_found_by_the_name_of_the_host() {
        let files = |interval: &str| {
            read(&format!(
                "[[check]]\nname = 'h'\ntarget = 'h.example:80'\nresolve = 'all'\ntcp = {{}}\ninterval = '{interval}'\n"
            ))
        };
        let before = files("5s");
        let one = before.hosts[0].check_of_all([[192, 0, 2, 9].into(), [192, 0, 2, 8].into()]).unwrap();
        let running = running(&[one]);
        assert_eq!(Changes::between(&running, &before), Changes { unchanged: 1, ..Changes::default() });
        let changes = Changes::between(&running, &files("9s"));
        assert_eq!(changes.changed["h"], ["interval 5s -> 9s"]);
        assert!(changes.removed.is_empty() && changes.host_names_added.is_empty(), "{changes:?}");
    }
}
