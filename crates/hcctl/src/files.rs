//! Files of checks, looked at without a server: whether they are right, and what would come of
//! them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow};
use hc_api::CheckState;
use hc_config::{Checks, ConfigErrors, Diagnostic, Limits};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::FilesArgs;
use crate::plan::{Changes, Cost, seconds};
use crate::{DOWN, HEALTHY, print, write};

/// Lines of one kind of change that are printed; `--json` has all.
const SHOWN: usize = 50;

/// Reads the files. `Ok(Err)` are problems of the files.
///
/// # Errors
/// When nothing can be said about them, for lack of descriptors or memory.
fn read(args: &FilesArgs) -> Result<Result<Checks, ConfigErrors>> {
    let globs: Vec<String> = args.files.iter().map(|file| glob(file)).collect();
    let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
    let limits = Limits::new(args.max_range.get(), args.max_checks.get());
    match hc_config::load(&globs, &limits) {
        Err(errors) if errors.is_shortage() => Err(anyhow!("the files cannot be read now: {errors}")),
        read => Ok(read),
    }
}

/// A file that is there is meant as it is written, whatever is in its name.
fn glob(file: &str) -> String {
    if !Path::new(file).exists() {
        return file.to_owned();
    }
    glob::Pattern::escape(file)
}

/// Says whether the files are right.
pub(crate) fn validate(args: &FilesArgs, as_json: bool) -> Result<u8> {
    match read(args)? {
        Err(errors) => wrong(&errors, as_json),
        Ok(checks) => {
            let warnings = problems(&checks.warnings);
            let value = json!({
                "right": true, "checks": checks.checks.len(), "host_names": checks.hosts.len(), "problems": [], "warnings": warnings,
            });
            print(as_json, &value, || {
                let mut text = lines(&checks.warnings, "warning: ");
                let _ = writeln!(text, "right: {}", counted(&checks));
                text
            })?;
            Ok(HEALTHY)
        }
    }
}

fn wrong(errors: &ConfigErrors, as_json: bool) -> Result<u8> {
    let value = json!({ "right": false, "problems": problems(errors.diagnostics()), "warnings": [] });
    print(as_json, &value, || lines(errors.diagnostics(), ""))?;
    Ok(DOWN)
}

fn counted(checks: &Checks) -> String {
    let mut text = format!("{} checks", checks.checks.len());
    if !checks.hosts.is_empty() {
        let _ = write!(text, ", and {} of host names", checks.hosts.len());
    }
    text
}

fn lines(diagnostics: &[Diagnostic], before: &str) -> String {
    diagnostics.iter().fold(String::new(), |mut text, diagnostic| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{before}{diagnostic}");
        text
    })
}

fn problems(diagnostics: &[Diagnostic]) -> Vec<Value> {
    let of_one = |diagnostic: &Diagnostic| {
        let place = diagnostic.place.as_ref();
        json!({
            "file": place.map(|place| &place.file),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "key": diagnostic.key,
            "problem": diagnostic.problem,
            "suggestion": diagnostic.suggestion,
        })
    };
    diagnostics.iter().map(of_one).collect()
}

/// What comes of the files, as JSON.
#[derive(Serialize)]
struct Plan {
    #[serde(flatten)]
    cost: Cost,
    /// How the running checks would change; absent if the server could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
    /// Why the server could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_server: Option<String>,
}

/// Says what would come of the files. `running` are the checks of the server, or why it could not
/// be asked.
pub(crate) fn plan(args: &FilesArgs, running: Result<Vec<CheckState>>, as_json: bool) -> Result<u8> {
    let checks = match read(args)? {
        Ok(checks) => checks,
        Err(errors) => return wrong(&errors, as_json),
    };
    let cost = Cost::of(&checks);
    let (changes, no_server) = match running {
        Ok(running) => (Some(Changes::between(&running, &checks)), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let plan = Plan { cost, changes, no_server };
    if as_json {
        print(true, &plan, String::new)?;
    } else {
        write(&lines(&checks.warnings, "warning: "))?;
        write(&in_words(&plan, &checks))?;
    }
    Ok(HEALTHY)
}

fn in_words(Plan { cost, changes, no_server }: &Plan, checks: &Checks) -> String {
    let mut text = format!("{}\n", counted(checks));
    let times = &cost.detection_seconds;
    let mut line = |key: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:20}{value}");
    };
    line("probes a second:", format!("{:.1}", cost.probes_per_second));
    line("sockets:", format!("{} at once while no backend answers", cost.sockets));
    line("detection, mean:", format!("{} from the moment when a backend falls silent", seconds(times.mean)));
    let slowest = if times.slowest.is_empty() { String::new() } else { format!(" ({})", times.slowest) };
    line("detection, worst:", format!("{}{slowest}", seconds(times.worst)));
    if let Some(problem) = no_server {
        let _ = writeln!(text, "\nHow the running checks would change is not known: {problem}");
    }
    if let Some(changes) = changes {
        text.push_str("\nAgainst the running checks:\n");
        some(&mut text, "+", &changes.added);
        some(&mut text, "+", &changes.host_names_added);
        some(&mut text, "-", &changes.removed);
        let changed: Vec<String> =
            changes.changed.iter().map(|(name, what)| format!("{name}: {}", what.join(", "))).collect();
        some(&mut text, "~", &changed);
        let _ = writeln!(
            text,
            "{} added, {} removed, {} changed, {} as before. What a probe sends and expects is not compared.",
            changes.added.len() + changes.host_names_added.len(),
            changes.removed.len(),
            changes.changed.len(),
            changes.unchanged
        );
    }
    text
}

/// Each with a sign before it, not all of very many.
fn some(text: &mut String, sign: &str, names: &[String]) {
    for name in names.iter().take(SHOWN) {
        let _ = writeln!(text, "{sign} {}", crate::table::clean(name));
    }
    if names.len() > SHOWN {
        let _ = writeln!(text, "{sign} and {} more", names.len() - SHOWN);
    }
}
