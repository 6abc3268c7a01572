//! Seesaw's side: the program `seesaw-check`, which runs Seesaw's own checkers.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// How many checks it runs at once.
pub(crate) const PARALLEL: usize = 64;

/// What it made of a check.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    n: u64,
    success: Option<bool>,
    message: serde_json::Value,
    panic: Option<String>,
    error: Option<String>,
    check: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Answer {
    /// The verdict in a word, and the text for operators.
    pub(crate) fn verdict(&self) -> Result<(&'static str, String)> {
        let text = match &self.message {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (self.success, &self.panic, &self.error) {
            (Some(true), ..) => Ok(("pass", text)),
            (Some(false), ..) => Ok(("fail", text)),
            (None, Some(panic), _) => Ok(("panic", panic.clone())),
            (None, None, error) => bail!("seesaw-check cannot run it: {}", error.clone().unwrap_or_default()),
        }
    }
}

type Waiting = Arc<Mutex<HashMap<u64, SyncSender<Answer>>>>;

/// The running program.
pub(crate) struct Seesaw {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    reader: Option<thread::JoinHandle<()>>,
}

impl Seesaw {
    /// Starts the program, which trusts the certificates in `roots` alone.
    pub(crate) fn start(program: &Path, roots: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg("-parallel")
            .arg(PARALLEL.to_string())
            .env("SSL_CERT_FILE", roots)
            .env("SSL_CERT_DIR", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Go's HTTP client complains there of every odd server, and most are odd on purpose.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}: `cargo xtask parity` builds it", program.display()))?;
        let output = child.stdout.take().context("its output was piped")?;
        let input = child.stdin.take();
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(answer) =
                    line.map_err(anyhow::Error::from).and_then(|l| Ok(serde_json::from_str::<Answer>(&l)?))
                else {
                    break;
                };
                let asker = answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.n);
                if let Some(asker) = asker {
                    // Room for one, and one is all that comes.
                    let _ = asker.try_send(answer);
                }
            }
            // Whoever still waits learns that nothing comes any more.
            answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Ok(Self { child, input: Mutex::new(input), waiting, reader: Some(reader) })
    }

    /// The check numbered `n` with what hc-proxy would add to it: how Go reads its request.
    pub(crate) fn convert(&self, n: u64, line: &str) -> Result<String> {
        const FIELDS: [&str; 5] =
            ["request_target", "http_host", "server_name", "authorization", "request_error"];

        let mut check: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)?;
        let mut question = check.clone();
        question.insert("convert".to_owned(), true.into());
        let question = serde_json::to_string(&question)?;
        let answer = self.run(n, &question, Duration::ZERO)?;
        let sent = answer.check.with_context(|| format!("it cannot be converted: {:?}", answer.error))?;
        check.extend(sent.into_iter().filter(|(field, _)| FIELDS.contains(&&**field)));
        Ok(serde_json::to_string(&check)?)
    }

    /// Runs the check numbered `n` that is written in `line`, with this timeout.
    pub(crate) fn run(&self, n: u64, line: &str, timeout: Duration) -> Result<Answer> {
        /// On top of the timeout, for a machine that is busy.
        const GRACE: Duration = Duration::from_secs(30);

        let (asker, answer) = sync_channel(1);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(n, asker);
        {
            let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
            let input = input.as_mut().context("it has ended")?;
            writeln!(input, "{line}").and_then(|()| input.flush()).context("seesaw-check does not read")?;
        }
        answer.recv_timeout(timeout + GRACE).context("seesaw-check does not answer")
    }
}

impl Drop for Seesaw {
    fn drop(&mut self) {
        // The end of its input is its end; checks that it left behind go with it.
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
