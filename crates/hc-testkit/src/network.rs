//! A network of its own for a test: nothing that the host does can disturb it, and nothing of it
//! stays.

use std::fs;
use std::io;
use std::panic;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// Runs `test` on a thread in a new network namespace, whose loopback is up. Programs that it
/// starts, and files below `/proc/sys/net` that it writes, belong to that namespace; it goes away
/// when the last socket in it does.
///
/// # Panics
/// When `test` does. Without root: such a test must not pass by being skipped.
pub fn in_own_network<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
        run("ip link set lo up");
        test()
    });
    thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
}

/// Waits until the state of every link that is up agrees with its carrier. The kernel sets the
/// carrier at once, and the state, of which it sends a notice, up to a second later; on a busy
/// machine a probe that began meanwhile would see that as a change of its path.
///
/// # Panics
/// When the links do not settle within 10 s.
pub fn await_links() {
    // `LOWER_UP` is the carrier, `NO-CARRIER` the state. A link that has just come up has both for
    // a moment.
    let is_settled = |link: &str| link.contains("LOWER_UP") != link.contains("NO-CARRIER");
    for _ in 0..1000 {
        if run("ip -o link show up").lines().all(is_settled) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the links do not settle");
}

/// Another network beside this thread's, with a thread that lives in it. It goes away when this is
/// dropped and the last socket in it is closed.
#[derive(Debug)]
pub struct Network {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    tid: i32,
}

type Job = Box<dyn FnOnce() + Send>;

impl Network {
    /// A new network whose loopback is up.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn new() -> Self {
        let (jobs, to_do) = mpsc::sync_channel::<Job>(1);
        let (started, starts) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            run("ip link set lo up");
            started.send(gettid().as_raw()).expect("somebody waits");
            for job in to_do {
                job();
            }
        });
        let tid = starts.recv().expect("the thread has started");
        Self { jobs: Some(jobs), thread: Some(thread), tid }
    }

    /// Runs `job` in this network, and gives back what it found.
    ///
    /// # Panics
    /// When `job` does.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (found, finds) = mpsc::sync_channel(1);
        let job = Box::new(move || found.send(job()).expect("somebody waits"));
        self.jobs.as_ref().expect("there until it is dropped").send(job).expect("the thread lives");
        finds.recv().expect("the job has ended well")
    }

    /// Lays a cable between the calling thread's network and this one: the interface `here`, and
    /// `there` at the other end.
    ///
    /// # Panics
    /// When there are such interfaces already.
    pub fn connect(&self, here: &str, there: &str) {
        connect_to(self.tid, here, there);
    }

    /// The id of its thread, for [`connect_to`].
    #[must_use]
    pub fn tid(&self) -> i32 {
        self.tid
    }
}

/// Lays a cable between the calling thread's network and that of the thread `tid`.
///
/// # Panics
/// When there are such interfaces already.
pub fn connect_to(tid: i32, here: &str, there: &str) {
    run(&format!("ip link add {here} type veth peer name {there} netns {tid}"));
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.jobs = None;
        // A job that panicked has been told of already.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Runs a command, its words divided by blanks, and gives back what it printed.
///
/// # Panics
/// When it cannot be started or fails.
pub fn run(command: &str) -> String {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().expect("a command has a first word");
    let output = Command::new(program).args(words).output().unwrap_or_else(|e| panic!("{command}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes a kernel parameter of this thread's network, as `net.ipv4.ping_group_range`.
///
/// # Errors
/// When there is no such parameter, or it does not take the value.
pub fn set_parameter(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
}
