//! Backends on command, for programs in other languages: a line of JSON each way.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use hc_wire::bytes::JsonBytes;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::certificate::{Authority, Identity, Purpose, Wish};
use crate::datagram::DatagramServer;
use crate::port::{ClosedPort, FullPort};
use crate::script::Step;

/// What is wanted: `{"want":"tcp","ip":"127.0.0.1","steps":["read_head",{"send":"HTTP/1.1 200 OK\r\n\r\n"}]}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "want", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A server that plays these steps on each connection.
    Tcp {
        /// The address to listen on.
        ip: IpAddr,
        /// What it does.
        #[serde(default)]
        steps: Vec<Step>,
        /// TLS around it.
        #[serde(default)]
        tls: Option<Certificate>,
    },
    /// A server that answers each datagram with these.
    Udp {
        /// The address to listen on.
        ip: IpAddr,
        /// The answers.
        #[serde(default)]
        replies: Vec<JsonBytes>,
    },
    /// A TCP port where nobody listens.
    Closed {
        /// The address.
        ip: IpAddr,
    },
    /// A TCP port whose queue is full.
    Full {
        /// The address.
        ip: IpAddr,
    },
    /// The end of what listens there.
    Stop {
        /// What was answered when it was wanted.
        address: SocketAddr,
    },
}

/// Which certificate a server shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    /// DNS names and addresses that it names.
    pub names: Vec<String>,
    /// The years whose beginnings are its dates. Default: 2000 and 2100.
    pub years: Option<(i32, i32)>,
    /// Whether it may sign others.
    pub authority: bool,
    /// Whether it is for clients and not for servers.
    pub for_clients: bool,
    /// Who signs it.
    pub signed_by: Signer,
    /// Whether the server speaks TLS 1.2 and nothing else.
    pub only_tls12: bool,
}

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// The authority of the stage.
    #[default]
    Trusted,
    /// An authority that nobody knows.
    Stranger,
    /// It signs itself.
    Itself,
    /// It signs itself and is of version 1; the other wishes are void.
    Version1,
}

/// What became of a command: one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Where it is.
    Address(SocketAddr),
    /// It has ended; what each connection or datagram brought.
    Received(Vec<JsonBytes>),
    /// It was not done.
    Error(String),
}

/// What listens, or does not.
enum Act {
    Tcp(Backend),
    Udp(DatagramServer),
    Closed { _held: ClosedPort },
    Full { _held: FullPort },
}

/// All backends of one program. They end with it.
pub struct Stage {
    trusted: Authority,
    stranger: Authority,
    acts: HashMap<SocketAddr, Act>,
}

impl Stage {
    /// An empty stage with two authorities.
    ///
    /// # Errors
    /// When no keys can be made.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            trusted: Authority::new("trusted", 2000, 2100).map_err(io::Error::other)?,
            stranger: Authority::new("stranger", 2000, 2100).map_err(io::Error::other)?,
            acts: HashMap::new(),
        })
    }

    /// The certificate to be trusted, in PEM.
    #[must_use]
    pub fn trusted(&self) -> String {
        self.trusted.pem()
    }

    /// Does what a line of JSON says.
    pub fn obey(&mut self, line: &str) -> Answer {
        let done =
            serde_json::from_str(line).map_err(io::Error::from).and_then(|command| self.command(command));
        done.unwrap_or_else(|error| Answer::Error(error.to_string()))
    }

    fn command(&mut self, command: Command) -> io::Result<Answer> {
        let (address, act) = match command {
            Command::Tcp { ip, steps, tls } => {
                let backend = match tls {
                    None => Backend::start(ip, steps)?,
                    Some(wish) => Backend::start_tls(ip, &self.identity(wish)?, steps)?,
                };
                (backend.address(), Act::Tcp(backend))
            }
            Command::Udp { ip, replies } => {
                let replies: Vec<_> = replies.iter().map(|reply| reply.0.as_slice().to_vec()).collect();
                let server = DatagramServer::start(ip, move |_| replies.clone())?;
                (server.address(), Act::Udp(server))
            }
            Command::Closed { ip } => {
                let port = ClosedPort::reserve(ip)?;
                (port.address(), Act::Closed { _held: port })
            }
            Command::Full { ip } => {
                let port = FullPort::start(ip)?;
                (port.address(), Act::Full { _held: port })
            }
            Command::Stop { address } => return self.stop(address),
        };
        self.acts.insert(address, act);
        Ok(Answer::Address(address))
    }

    fn stop(&mut self, address: SocketAddr) -> io::Result<Answer> {
        let received = match self.acts.remove(&address) {
            None => return Err(io::Error::other(format!("nothing is at {address}"))),
            Some(Act::Tcp(backend)) => {
                backend.seen().into_iter().map(|seen| JsonBytes(seen.received.into())).collect()
            }
            Some(Act::Udp(server)) => {
                server.seen().into_iter().map(|bytes| JsonBytes(bytes.into())).collect()
            }
            Some(Act::Closed { .. } | Act::Full { .. }) => Vec::new(),
        };
        Ok(Answer::Received(received))
    }

    fn identity(&self, certificate: Certificate) -> io::Result<Identity> {
        let Certificate { names, years, authority, for_clients, signed_by, only_tls12 } = certificate;
        let purposes = if for_clients { vec![Purpose::ClientAuth] } else { Vec::new() };
        let wish = Wish { names, years: years.unwrap_or((2000, 2100)), authority, purposes };
        let identity = match signed_by {
            Signer::Trusted => self.trusted.sign(&wish),
            Signer::Stranger => self.stranger.sign(&wish),
            Signer::Itself => Identity::self_signed(&wish),
            Signer::Version1 => Ok(Identity::version_1()),
        };
        let identity = identity.map_err(io::Error::other)?;
        Ok(if only_tls12 { identity.only_tls12() } else { identity })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn address(answer: Answer) -> SocketAddr {
        match answer {
            Answer::Address(address) => address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_backend_comes_and_goes_on_command() {
        let mut stage = Stage::new().unwrap();
        let line = r#"{"want":"tcp","ip":"127.0.0.1","steps":[{"read":4},{"send":"pong"}]}"#;
        let address = address(stage.obey(line));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "pong");
        let stop = format!(r#"{{"want":"stop","address":"{address}"}}"#);
        assert_eq!(serde_json::to_string(&stage.obey(&stop)).unwrap(), r#"{"received":["ping"]}"#);
        assert!(matches!(stage.obey(&stop), Answer::Error(_)));
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn what_is_not_understood_is_answered() {
        let mut stage = Stage::new().unwrap();
        for line in ["", "{", r#"{"want":"tea"}"#, r#"{"want":"tcp","ip":"127.0.0.1","stpes":[]}"#] {
            assert!(matches!(stage.obey(line), Answer::Error(_)), "{line}");
        }
    }

    #[test]
    fn all_kinds_can_be_had() {
        let mut stage = Stage::new().unwrap();
        for line in [
            r#"{"want":"tcp","ip":"::1","tls":{"names":["::1"],"signed_by":"stranger","only_tls12":true}}"#,
            r#"{"want":"tcp","ip":"127.0.0.1","tls":{"signed_by":"version1"},"steps":["read_head","hang"]}"#,
            r#"{"want":"tcp","ip":"127.0.0.1","tls":{"names":["a.example"],"years":[2001,2002],"authority":true,"signed_by":"itself"}}"#,
            r#"{"want":"udp","ip":"127.0.0.1","replies":["pong",{"base64":"AP8="}]}"#,
            r#"{"want":"closed","ip":"127.0.0.1"}"#,
            r#"{"want":"full","ip":"127.0.0.1"}"#,
        ] {
            address(stage.obey(line));
        }
        assert!(stage.trusted().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
