//! How the steps went, and what is printed of it at the end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::tally::Tally;

/// How a step went.
#[derive(Debug, PartialEq)]
pub(super) struct Done {
    pub(super) name: String,
    pub(super) took: Duration,
    /// Processor time of the programs that it ran, on all processors.
    pub(super) cpu: Duration,
    /// Why it failed.
    pub(super) error: Option<String>,
    /// What its tests did, if it runs tests and they could be run.
    pub(super) tally: Option<Tally>,
}

impl Done {
    /// Writes it for the process that runs the other steps.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let Self { name, took, cpu, error, tally } = self;
        let value = json!({
            "name": name,
            "took": took.as_secs_f64(),
            "cpu": cpu.as_secs_f64(),
            "error": error,
            "tally": tally.as_ref().map(Tally::to_json),
        });
        std::fs::write(file, value.to_string()).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let value: Value = serde_json::from_slice(&text)?;
        let seconds = |key: &str| Duration::try_from_secs_f64(value[key].as_f64().unwrap_or_default());
        Ok(Self {
            name: value["name"].as_str().context("no name")?.into(),
            took: seconds("took")?,
            cpu: seconds("cpu")?,
            error: value["error"].as_str().map(Into::into),
            tally: Some(&value["tally"]).filter(|tally| tally.is_object()).map(Tally::from_json),
        })
    }
}

/// All steps that have ended.
#[derive(Default)]
pub(super) struct Report {
    pub(super) done: Vec<Done>,
    /// How many steps were not begun after a failure.
    pub(super) left_out: usize,
    /// From the first step's begin to the last one's end.
    pub(super) took: Duration,
}

impl Report {
    /// The end of the output is what people and machines read: steps, what failed, results of the
    /// test runners, totals.
    pub(super) fn print(&self) {
        println!("\n=== results");
        println!("{:12} {:6} {:>8} {:>10}", "step", "", "took", "processor");
        for done in &self.done {
            let word = if done.error.is_some() { "FAILED" } else { "ok" };
            println!("{:12} {word:6} {:>8} {:>10}", done.name, seconds(done.took), seconds(done.cpu));
        }
        if self.left_out > 0 {
            println!("{} more steps were not run after the failure (--keep-going runs them)", self.left_out);
        }
        let cpu = self.done.iter().map(|done| done.cpu).sum();
        println!("{:12} {:6} {:>8} {:>10}\n", "all", "", seconds(self.took), seconds(cpu));
        for done in &self.done {
            if let Some(error) = &done.error {
                println!("{} failed: {error}", done.name);
            }
        }
        let mut tallies = self.done.iter().filter_map(|done| done.tally.clone());
        if let Some(mut sum) = tallies.next() {
            tallies.for_each(|tally| sum += tally);
            sum.print();
        }
    }

    pub(super) fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> =
            self.done.iter().filter(|done| done.error.is_some()).map(|done| &*done.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_wrote_is_read_by_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sim.json");
        let mut done = Done {
            name: "sim".into(),
            took: Duration::from_millis(1500),
            cpu: Duration::from_millis(250),
            error: Some("it failed\n    | why".into()),
            tally: None,
        };
        done.write(&file).unwrap();
        assert_eq!(Done::read(&file).unwrap(), done);
        (done.error, done.tally) = (None, Some(Tally::default()));
        done.write(&file).unwrap();
        assert_eq!(Done::read(&file).unwrap(), done);
        Done::read(&directory.path().join("none")).unwrap_err();
    }
}
