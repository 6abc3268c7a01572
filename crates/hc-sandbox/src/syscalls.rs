//! System calls (seccomp(2)), through libseccomp: it can ask the kernel to log what is refused.

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};

/// `EPERM`.
const NOT_PERMITTED: i32 = 1;

/// What a health checker calls after its start, by what for.
const ALLOWED: &[&[&str]] = &[
    // Sockets and pipes.
    &[
        "accept4",
        "bind",
        "close",
        "connect",
        "getpeername",
        "getsockname",
        "getsockopt",
        "listen",
        "read",
        "readv",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "sendmmsg",
        "sendmsg",
        "sendto",
        "setsockopt",
        "shutdown",
        "socket",
        "socketpair",
        "write",
        "writev",
        "pipe2",
        "dup",
        "fcntl",
        "ioctl",
    ],
    // Waiting.
    &[
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        "eventfd2",
        "poll",
        "ppoll",
        "select",
        "pselect6",
        "nanosleep",
        "clock_nanosleep",
        "timerfd_create",
        "timerfd_settime",
        "restart_syscall",
    ],
    // Time and chance.
    &["clock_gettime", "clock_getres", "gettimeofday", "time", "getrandom"],
    // Threads and signals.
    &[
        "clone",
        "clone3",
        "exit",
        "exit_group",
        "futex",
        "get_robust_list",
        "set_robust_list",
        "set_tid_address",
        "rseq",
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_yield",
        "membarrier",
        "gettid",
        "getpid",
        "getppid",
        "tgkill",
        "kill",
        "prctl",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "rt_sigtimedwait",
        "sigaltstack",
        "getcpu",
    ],
    // Memory.
    &["brk", "madvise", "mmap", "mprotect", "mremap", "munmap"],
    // Files: the snapshot, the socket's file, accounts, counters.
    &[
        "open",
        "openat",
        "fstat",
        "newfstatat",
        "stat",
        "lstat",
        "statx",
        "lseek",
        "pread64",
        "pwrite64",
        "fsync",
        "fdatasync",
        "ftruncate",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "chmod",
        "fchmod",
        "fchmodat",
        "chown",
        "lchown",
        "fchown",
        "fchownat",
        "umask",
        "getdents64",
        "readlink",
        "readlinkat",
        "access",
        "faccessat",
        "faccessat2",
    ],
    // Itself.
    &[
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getgroups",
        "prlimit64",
        "getrlimit",
        "getrusage",
        "sysinfo",
        "uname",
        "capget",
    ],
];

/// Refuses every other call from now on, in all threads, and says how many are left.
pub(crate) fn filter() -> Result<usize, SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(NOT_PERMITTED))?;
    filter.set_ctl_log(true)?;
    filter.set_ctl_tsync(true)?;
    let mut allowed = 0;
    for name in ALLOWED.iter().copied().flatten() {
        // A call that this architecture does not have (`open` on arm64) needs no permission.
        if let Ok(syscall) = ScmpSyscall::from_name(name) {
            filter.add_rule(ScmpAction::Allow, syscall)?;
            allowed += 1;
        }
    }
    filter.load()?;
    Ok(allowed)
}
