//! Real etcd: members that are started, killed and wiped on command.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::process::{Process, wait_until};

/// Which etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's package `etcd-server`, 3.4.
    Debian,
    /// The one that `proxy/etcdtest/go.mod` names, which `cargo xtask setup` builds.
    Current,
}

impl Version {
    /// # Panics
    /// When it is not there.
    fn program(self) -> PathBuf {
        let file = match self {
            Self::Debian => PathBuf::from("/usr/bin/etcd"),
            Self::Current => match std::env::var_os("HC_BIN") {
                Some(directory) => PathBuf::from(directory).join("etcd"),
                None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bin/etcd"),
            },
        };
        assert!(file.exists(), "{} is missing: run cargo xtask setup", file.display());
        file
    }
}

/// The members of a cluster. Dropping it ends them.
#[derive(Debug)]
pub struct Etcd {
    program: PathBuf,
    flags: Vec<String>,
    scheme: &'static str,
    directory: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    clients: Port,
    peers: Port,
    process: Option<Process>,
}

/// A port that is ours as long as this lives. Etcd may listen on it, again and again.
#[derive(Debug)]
struct Port {
    address: SocketAddr,
    _held: Socket,
}

impl Port {
    fn reserve() -> io::Result<Self> {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Go sets it as well, and then both may have the port while one of them listens.
        held.set_reuse_address(true)?;
        held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = held.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _held: held })
    }
}

impl Etcd {
    /// Starts `count` members with these flags beside those that they need, and waits until they
    /// serve. Their data are below `directory`.
    ///
    /// # Panics
    /// When etcd is missing or does not start.
    #[track_caller]
    #[must_use]
    pub fn start(version: Version, directory: &Path, count: usize, flags: &[&str]) -> Self {
        let scheme = if flags.iter().any(|flag| flag.starts_with("--cert-file")) { "https" } else { "http" };
        let member = |_| {
            let clients = Port::reserve().unwrap_or_else(|error| panic!("no port: {error}"));
            let peers = Port::reserve().unwrap_or_else(|error| panic!("no port: {error}"));
            Member { clients, peers, process: None }
        };
        let mut etcd = Self {
            program: version.program(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            scheme,
            directory: directory.to_owned(),
            members: (0..count).map(member).collect(),
        };
        (0..count).for_each(|member| etcd.spawn(member));
        (0..count).for_each(|member| etcd.wait(member));
        etcd
    }

    /// Starts a member that was killed, with what it had.
    ///
    /// # Panics
    /// When it does not serve.
    #[track_caller]
    pub fn restart(&mut self, member: usize) {
        self.spawn(member);
        self.wait(member);
    }

    /// Starts all members that were killed: what they had may be wiped, so that none serves alone.
    ///
    /// # Panics
    /// When one does not serve.
    #[track_caller]
    pub fn restart_all(&mut self) {
        let killed: Vec<usize> =
            (0..self.count()).filter(|member| self.members[*member].process.is_none()).collect();
        killed.iter().for_each(|member| self.spawn(*member));
        killed.iter().for_each(|member| self.wait(*member));
    }

    fn spawn(&mut self, member: usize) {
        let cluster: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(number, member)| format!("m{number}=http://{}", member.peers.address))
            .collect();
        let Member { clients, peers, .. } = &self.members[member];
        let clients = format!("{}://{}", self.scheme, clients.address);
        let peers = format!("http://{}", peers.address);
        let mut command = Command::new(&self.program);
        command
            .args(["--name", &format!("m{member}"), "--initial-cluster", &cluster.join(",")])
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster-state", "new", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.data(member))
            .args(&self.flags)
            // What it takes for the disk of a machine that does ten things at once.
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"]);
        let log = self.directory.join(format!("m{member}.log"));
        let process = Process::try_start_logged(&mut command, &log).unwrap_or_else(|error| panic!("{error}"));
        self.members[member].process = Some(process);
    }

    fn data(&self, member: usize) -> PathBuf {
        self.directory.join(format!("m{member}"))
    }

    #[track_caller]
    fn wait(&mut self, member: usize) {
        let address = self.members[member].clients.address;
        let process = self.members[member].process.as_mut();
        let Some(process) = process else { panic!("m{member} was not started") };
        wait_until("etcd listens", || {
            assert!(process.running(), "etcd has ended:\n{}", process.log_tail());
            TcpStream::connect(address).is_ok()
        });
    }

    /// Kills a member at once, by SIGKILL.
    pub fn kill(&mut self, member: usize) {
        self.members[member].process = None;
    }

    /// Removes all that a member has, which must not be running.
    ///
    /// # Panics
    /// When it cannot be removed.
    pub fn wipe(&mut self, member: usize) {
        assert!(self.members[member].process.is_none(), "m{member} is running");
        fs::remove_dir_all(self.data(member)).unwrap_or_else(|error| panic!("m{member}: {error}"));
    }

    /// How many members there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Where a member serves.
    #[must_use]
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].clients.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn endpoint(&self, member: usize) -> String {
        format!("{}://{}", self.scheme, self.address(member))
    }

    /// The URLs of all members.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.count()).map(|member| self.endpoint(member)).collect()
    }

    /// Calls etcd's JSON API, without TLS: `kv/put`, for example. Bytes are in base64 there.
    ///
    /// # Panics
    /// When curl is missing.
    pub fn call(&self, member: usize, what: &str, token: Option<&str>, body: &Value) -> Value {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10", "--data", &body.to_string()]);
        if let Some(token) = token {
            command.args(["--header", &format!("Authorization: {token}")]);
        }
        let output = command.arg(format!("{}/v3/{what}", self.endpoint(member))).output();
        let output = output.unwrap_or_else(|error| panic!("curl: {error}"));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The last lines of the logs of all members.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.members.iter().flat_map(|member| &member.process).map(Process::log_tail).collect()
    }
}
