//! The alert rules and the dashboard: their metrics exist, each alert has a unit test and a page,
//! and promtool agrees.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::page::Page;
use crate::command;

const RULES: &str = "packaging/prometheus/hc-server.rules.yml";
const TESTS: &str = "packaging/prometheus/hc-server.rules.test.yml";
const DASHBOARD: &str = "packaging/grafana/hc-server.json";
const RUNBOOK: &str = "docs/runbook.md";

/// What does not fit together.
pub(super) fn problems(root: &Path, pages: &[Page]) -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    let (rules, tests, dashboard) = (read(RULES)?, read(TESTS)?, read(DASHBOARD)?);
    let mut problems = Vec::new();
    let mut metrics = of_reference(&read("docs/reference/metrics.md")?);
    metrics.extend(words(&read("proxy/internal/metrics/metrics.go")?, "hc_proxy_"));
    for (path, text) in [(RULES, &rules), (TESTS, &tests), (DASHBOARD, &dashboard)] {
        let unknown = words(text, "hc_").into_iter().filter(|name| !metrics.contains(name));
        problems.extend(unknown.map(|name| format!("{path}: no program has the metric {name}")));
    }
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&dashboard) {
        problems.push(format!("{DASHBOARD}: not JSON: {error}"));
    }
    let runbook = pages.iter().find(|page| page.path == Path::new(RUNBOOK));
    problems.extend(of_alerts(&rules, &tests, runbook));
    Ok(problems)
}

/// Has promtool check the rules, and run their unit tests.
pub(super) fn promtool(root: &Path) -> Result<()> {
    for (what, file) in [("check", RULES), ("test", TESTS)] {
        command::run(Command::new("promtool").args([what, "rules", file]).current_dir(root))?;
    }
    Ok(())
}

/// Alerts without a page of their own or a test.
fn of_alerts(rules: &str, tests: &str, runbook: Option<&Page>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for part in rules.split("- alert: ").skip(1) {
        let name = part.lines().next().unwrap_or_default().trim();
        let anchor = name.to_lowercase();
        if !names.insert(anchor.clone()) {
            problems.push(format!("{RULES}: {name} is there twice"));
        }
        if !part.contains(&format!("\n          runbook: {RUNBOOK}#{anchor}\n")) {
            problems.push(format!("{RULES}: {name} does not name {RUNBOOK}#{anchor}"));
        }
        if !runbook.is_some_and(|page| page.anchors.contains(&anchor)) {
            problems.push(format!("{RUNBOOK} has no section {name}"));
        }
        if !tests.contains(&format!("\n  - name: {name}\n")) {
            problems.push(format!("{TESTS} has no test {name}"));
        }
    }
    problems
}

/// The names of all series that the reference of hc-server lists.
fn of_reference(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((name, rest)) = row.split_once("` | ") else { continue };
        let endings: &[&str] = match rest.split(' ').next() {
            Some("counter") => &["_total"],
            Some("info") => &["_info"],
            Some("histogram") => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// The words of a text that begin so.
fn words(text: &str, beginning: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with(beginning) && word.len() > beginning.len())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_endings_of_their_type() {
        let page = "| metric | type |\n| --- | --- |\n| `hc_ready` | gauge |  | x |\n| `hc_p` | counter | `a` | x |\n| `hc_d` | histogram | | x |\n";
        let names: Vec<String> = of_reference(page).into_iter().collect();
        assert_eq!(names, ["hc_d_bucket", "hc_d_count", "hc_d_sum", "hc_p_total", "hc_ready"]);
        assert_eq!(
            words("sum(rate(hc_p_total{job=\"hc-server\"}[5m])) hc_", "hc_"),
            ["hc_p_total".to_owned()].into()
        );
    }

    #[test]
    fn an_alert_has_a_page_and_a_test() {
        let rules = "x:\n  - alert: HcOne\n    annotations:\n          runbook: docs/runbook.md#hcone\n  - alert: HcTwo\n";
        let runbook = Page::parse(Path::new(RUNBOOK), "## HcOne\n");
        let found = of_alerts(rules, "tests:\n  - name: HcOne\n    x\n", Some(&runbook));
        assert_eq!(
            found,
            [
                format!("{RULES}: HcTwo does not name {RUNBOOK}#hctwo"),
                format!("{RUNBOOK} has no section HcTwo"),
                format!("{TESTS} has no test HcTwo")
            ]
        );
    }
}
