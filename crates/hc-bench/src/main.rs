//! The benchmarks of the hc health checker. `cargo xtask bench` builds what they need and runs them
//! in a network namespace of their own; figures and how to read them are in `docs/performance.md`.

mod arrivals;
mod calls;
mod check_time;
mod clock;
mod cpu;
mod death;
mod goals;
mod instructions;
mod lateness;
mod memory;
mod million;
mod nobody;
mod page;
mod peers;
mod plot;
mod process;
mod procfs;
mod race;
mod rate;
mod readers;
mod report;
mod roles;
mod schedule;
mod server;
mod snapshot;
mod stats;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::{Long, Value};
use report::{Facts, Report};

/// A benchmark and its name.
type Bench = (&'static str, fn(&Options) -> Result<Report>);

const BENCHES: &[Bench] = &[
    ("arrivals", arrivals::run),
    ("calls", calls::run),
    ("check-time", check_time::run),
    ("cpu-http", cpu::run_http),
    ("cpu-https", cpu::run_https),
    ("cpu-tcp", cpu::run_tcp),
    ("death", death::run),
    ("floors", cpu::run_floors),
    ("instructions", instructions::run),
    ("memory", memory::run),
    ("million", million::run),
    ("rate", rate::run),
    ("readers", readers::run),
    ("scale", rate::run_scale),
    ("schedule", schedule::run),
    ("snapshot", snapshot::run),
];

/// What the command line says.
#[derive(Debug, Default)]
struct Options {
    /// Two short rounds instead of five long ones.
    quick: bool,
    /// JSON, plots and the page are written.
    write: bool,
    /// Nothing is measured; the page is made from the files again.
    page: bool,
    names: Vec<String>,
}

impl Options {
    /// How often peers take turns.
    fn rounds(&self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    /// How long a peer settles in its turn, and how long it is then looked at.
    fn spell(&self) -> (Duration, Duration) {
        let [settle, length] = if self.quick { [500, 2_000] } else { [1_000, 4_000] };
        (Duration::from_millis(settle), Duration::from_millis(length))
    }

    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let (mut options, mut parser) = (Self::default(), lexopt::Parser::from_args(args));
        while let Some(arg) = parser.next()? {
            match arg {
                Long("quick") => options.quick = true,
                Long("write") => options.write = true,
                Long("page") => options.page = true,
                Value(name) => options.names.push(name.to_string_lossy().into_owned()),
                other => return Err(other.unexpected().into()),
            }
        }
        if let Some(unknown) =
            options.names.iter().find(|name| !BENCHES.iter().any(|bench| is(bench.0, name)))
        {
            let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
            bail!("no benchmark {unknown:?}; there are: {}", names.join(", "));
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| is(name, wanted))
    }
}

/// Whether a name means this benchmark: `cpu` means `cpu-tcp` and the others of that kind.
fn is(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn main() -> Result<()> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [first, role @ ..] = &args[..]
        && first == roles::WORD
    {
        let role: Vec<String> = role.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        return roles::run(&role);
    }
    let options = Options::parse(args)?;
    let root = std::env::current_dir()?;
    if !options.page {
        // As many connections may wait for the backend as it asks for; only in this namespace.
        fs::write("/proc/sys/net/core/somaxconn", "65535").context("somaxconn: run `cargo xtask bench`")?;
        for (name, run) in BENCHES.iter().filter(|(name, _)| options.wants(name)) {
            measure(name, run, &options, &root)?;
        }
    }
    if options.page || options.write { page::write(&root) } else { Ok(()) }
}

#[allow(clippy::print_stdout, reason = "the result of the program")]
fn measure(name: &str, run: &fn(&Options) -> Result<Report>, options: &Options, root: &Path) -> Result<()> {
    let mut facts = Facts::of(name, options.quick)?;
    let mut report = run(options).with_context(|| name.to_owned())?;
    facts.load[1] = procfs::load()?;
    report.facts = facts;
    println!("\n{}\n{}", report.facts.markdown(), report.markdown(page::FOLDER));
    if options.write { report.write(&root.join(page::FOLDER), name) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        Options::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn names_choose() {
        let all = parse(&["--quick"]).unwrap();
        assert!(all.quick && !all.write && BENCHES.iter().all(|(name, _)| all.wants(name)));
        let some = parse(&["--write", "cpu", "rate"]).unwrap();
        assert!(some.write && some.wants("cpu-tcp") && some.wants("cpu-http") && some.wants("rate"));
        assert!(!some.wants("calls") && !parse(&["cpu-tcp"]).unwrap().wants("cpu-http"));
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        for wrong in ["no-such", "cp", "cpu-", "cpu-tcp-more"] {
            assert!(parse(&[wrong]).unwrap_err().to_string().contains("cpu-tcp"), "{wrong}");
        }
        parse(&["--no-such"]).unwrap_err();
    }
}
