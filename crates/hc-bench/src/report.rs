//! What a benchmark found: tables for people, samples and plots beside them, as one JSON file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::plot::Plot;
use crate::procfs;

/// All that one benchmark found.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Report {
    /// The command that finds it again, the commit and the machine.
    #[serde(default)]
    pub(crate) facts: Facts,
    pub(crate) tables: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) plots: Vec<Plot>,
}

/// Where and how figures came about.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Facts {
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) machine: String,
    /// Processes that wanted to run, by the kernel's average over a minute: at the start and at the
    /// end.
    pub(crate) load: [f64; 2],
}

/// A table, and the single values behind it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// The value of each round, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) samples: BTreeMap<String, Vec<f64>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) -> Self {
        let head = head.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.into(), head, rows, samples: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, name: impl Into<String>, samples: &[f64]) -> Self {
        self.samples.insert(name.into(), samples.to_vec());
        self
    }

    /// In Markdown, its title in bold.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("**{}**\n\n| {} |\n", self.title, self.head.join(" | "));
        let _ = writeln!(text, "|{}", "---|".repeat(self.head.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

impl From<Table> for Report {
    fn from(table: Table) -> Self {
        vec![table].into()
    }
}

impl From<Vec<Table>> for Report {
    fn from(tables: Vec<Table>) -> Self {
        Self { tables, ..Self::default() }
    }
}

impl Report {
    /// All tables, and links to the plots in the folder `plots`.
    pub(crate) fn markdown(&self, plots: &str) -> String {
        let mut text = String::new();
        for table in &self.tables {
            text.push_str(&table.markdown());
            text.push('\n');
        }
        for plot in &self.plots {
            let _ = writeln!(text, "![{}]({plots}/{}.svg)\n", plot.title, plot.name);
        }
        text
    }

    /// Writes `NAME.json` and a drawing for each plot.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(folder.join(format!("{name}.json")), json)?;
        for plot in &self.plots {
            fs::write(folder.join(format!("{}.svg", plot.name)), plot.svg()?)?;
        }
        Ok(())
    }
}

impl Facts {
    /// What can be said before the benchmark of this name runs.
    pub(crate) fn of(name: &str, quick: bool) -> Result<Self> {
        let load = procfs::load()?;
        let quick = if quick { " --quick" } else { "" };
        Ok(Self {
            command: format!("cargo xtask bench{quick} {name}"),
            commit: commit().unwrap_or_else(|_| "unknown".to_owned()),
            machine: procfs::machine()?,
            load: [load, load],
        })
    }

    /// A line of Markdown.
    pub(crate) fn markdown(&self) -> String {
        let [from, to] = self.load;
        format!(
            "`{}`, commit {}, {}, load {from:.1} at the start and {to:.1} at the end:\n",
            self.command, self.commit, self.machine
        )
    }
}

/// The commit that is checked out, with a `+` where files differ from it.
fn commit() -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let output = Command::new("git").args(args).output().context("git")?;
        anyhow::ensure!(output.status.success(), "git: {}", output.status);
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let changed =
        !git(&["status", "--porcelain", "--untracked-files=no", "--", "crates", "proxy"])?.is_empty();
    Ok(git(&["rev-parse", "--short", "HEAD"])? + if changed { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let table = Table::new("Costs", &["", "µs"], vec![vec!["ours".into(), "1.0".into()]]);
        assert_eq!(table.markdown(), "**Costs**\n\n|  | µs |\n|---|---|\n| ours | 1.0 |\n");
    }

    #[test]
    fn a_report_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let table = Table::new("Costs", &["µs"], vec![vec!["1.0".into()]]).with("ours", &[1.0, 2.0]);
        let report = Report::from(table);
        report.write(folder.path(), "cpu").unwrap();
        let text = fs::read(folder.path().join("cpu.json")).unwrap();
        let again: Report = serde_json::from_slice(&text).unwrap();
        assert_eq!(again.markdown("p"), report.markdown("p"));
        assert_eq!(again.tables[0].samples["ours"], [1.0, 2.0]);
    }
}
