//! The page in Chromium, which `page-tests/tests/walk.js` drives: a line of JSON for each look, and a
//! line for what came of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Machine, PAGE};

pub(super) struct Browser {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    /// Starts the browser. It shows nothing yet.
    pub(super) fn start(machine: &Machine<'_>) -> Result<Self> {
        let mut child = Command::new("node")
            .arg(machine.page_tests.join("tests/walk.js"))
            .env("HC_SCREENSHOTS", machine.shots)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("standard output was piped")?);
        Ok(Self { child, asks, answers })
    }

    /// Opens the page. It is never loaded again.
    pub(super) fn open(&mut self) -> Result<()> {
        self.look("open", "", json!({ "url": format!("http://{PAGE}/") }))
    }

    /// Looks whether the page shows what it should, and takes a picture of it as `shot`.
    pub(super) fn look(&mut self, look: &str, shot: &str, mut with: Value) -> Result<()> {
        println!("page: {look} {with}");
        with["look"] = look.into();
        with["shot"] = shot.into();
        writeln!(self.asks.as_mut().context("the page is closed")?, "{with}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "ok" => Ok(()),
            "" => bail!("what drives the browser has ended, at the look {look} {with}"),
            problem => {
                let words: String = serde_json::from_str(problem).unwrap_or_else(|_| problem.to_owned());
                bail!("the page, at the look {look} {with}: {words}")
            }
        }
    }

    /// Closes the page, which must not have complained of anything.
    pub(super) fn close(mut self) -> Result<()> {
        self.asks = None;
        ensure!(self.child.wait()?.success(), "the page complained; see above");
        Ok(())
    }
}
