//! Real TLS servers: `openssl s_server`, with any of its options.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

/// A running `openssl s_server`. Dropping it ends it.
#[derive(Debug)]
pub struct OpensslServer {
    child: Child,
    address: SocketAddr,
    reader: Option<JoinHandle<()>>,
}

impl OpensslServer {
    /// Starts it on a port of its own. With `-www` among the arguments it answers HTTP requests
    /// with 200, one connection after the other.
    ///
    /// # Errors
    /// When openssl is missing or refuses the arguments; then with its own words.
    pub fn start<S: AsRef<OsStr>>(ip: IpAddr, arguments: &[S]) -> io::Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", &SocketAddr::new(ip, 0).to_string()]).args(arguments);
        Self::of(command, "ACCEPT ")
    }

    /// Starts a program that writes its address on a line of its output, behind these words.
    ///
    /// # Errors
    /// When it ends without; then with its own words.
    pub fn of(mut command: Command, before_address: &str) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let mut line = String::new();
        let address = loop {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                let mut words = String::new();
                if let Some(errors) = &mut child.stderr {
                    errors.read_to_string(&mut words)?;
                }
                let status = child.wait()?;
                return Err(io::Error::other(format!("{command:?} ended with {status}: {words}")));
            }
            if let Some(address) = line.strip_prefix(before_address) {
                break address.trim().parse().map_err(io::Error::other)?;
            }
        };
        // It must be able to go on writing.
        let reader = thread::spawn(move || {
            let _: io::Result<u64> = io::copy(&mut output, &mut io::sink());
        });
        Ok(Self { child, address, reader: Some(reader) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
