//! A network of its own for a test: nothing that the host does can disturb it, and nothing of it stays.

use std::fs;
use std::io;
use std::panic;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread in a new network namespace, whose loopback is up. Programs that it starts, and files below
/// `/proc/sys/net` that it writes, belong to that namespace; it goes away when the last socket in it does.
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
