//! MySQL's protocol 10 up to the login
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).
//!
//! A connection that is closed before the login counts as an error of its host, and after
//! `max_connect_errors` of them the server blocks the host. So a login is always brought to its
//! end, as HAProxy's `mysql-check user` does it; a denied one does not count.

use hc_types::{Failure, MysqlDialogue, Pass};

use super::received::{Next, Received, Talk, malformed, mismatch, refused};

/// The longest packet, in bytes.
const MAX_PACKET: usize = 32 * 1024;
/// How often a server may ask for more in a login.
const MAX_ROUNDS: u8 = 5;
/// COM_QUIT.
const FAREWELL: &[u8] = &[1, 0, 0, 0, 1];

const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
/// `utf8_general_ci`, which every version knows.
const UTF8: u8 = 33;

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'b> {
    /// Its number.
    pub number: u8,
    /// What follows the header; never empty.
    pub body: &'b [u8],
}

/// Reads the packet that the bytes begin with, and says how many it takes. `None`: it is not
/// complete.
///
/// # Errors
/// In words, for an empty packet, and for one of more than 32 KiB.
pub fn packet(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, &'static str> {
    let Some((&[a, b, c, number], rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    match u32::from_le_bytes([a, b, c, 0]) as usize {
        0 => Err("an empty packet"),
        length if length > MAX_PACKET => Err("a packet of more than 32 KiB"),
        length => Ok(rest.get(..length).map(|body| (Packet { number, body }, 4 + length))),
    }
}

/// What is used of a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'b> {
    /// The version of the server.
    pub version: &'b [u8],
    /// What it can do.
    pub capabilities: u32,
    /// How it lets users in, unless they have another way of their own.
    pub plugin: &'b [u8],
}

/// Reads the body of a greeting. `None`: it is none of protocol 10.
#[must_use]
pub fn greeting(body: &[u8]) -> Option<Greeting<'_>> {
    let (version, rest) = split_at_zero(body.strip_prefix(&[10])?)?;
    // A number of the thread, 8 bytes of a challenge, a 0.
    let (low, rest) = rest.get(13..)?.split_first_chunk::<2>()?;
    let low = u32::from(u16::from_le_bytes(*low));
    // A character set and a status.
    let Some((&[high_low, high_high, length], rest)) =
        rest.get(3..).and_then(|rest| rest.split_first_chunk())
    else {
        return Some(Greeting { version, capabilities: low, plugin: b"" });
    };
    let capabilities = u32::from(u16::from_le_bytes([high_low, high_high])) << 16 | low;
    // 10 reserved bytes, and the rest of the challenge.
    let plugin = rest.get(10 + usize::from(length).saturating_sub(8).max(13)..).unwrap_or_default();
    let plugin = plugin.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Greeting { version, capabilities, plugin })
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Reads the body of an ERR packet: number and text.
#[must_use]
pub fn error(body: &[u8]) -> Option<(u16, &[u8])> {
    let (code, text) = body.strip_prefix(&[0xff])?.split_first_chunk::<2>()?;
    // Since protocol 4.1 a state of five characters stands before the text.
    let text = match text {
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    Some((u16::from_le_bytes(*code), text))
}

/// A MySQL check, and where it is.
#[derive(Debug)]
pub struct Mysql<'p> {
    probe: &'p MysqlDialogue,
    tls: bool,
    at: At,
    rounds: u8,
    version: String,
    capabilities: u32,
    plugin: Vec<u8>,
    /// The number of our next packet.
    number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Greeting,
    Tls,
    Login,
    Reply,
    More,
}

impl<'p> Mysql<'p> {
    /// At its beginning.
    #[must_use]
    pub fn new(probe: &'p MysqlDialogue, tls: bool) -> Self {
        Self {
            probe,
            tls,
            at: At::Greeting,
            rounds: 0,
            version: String::new(),
            capabilities: 0,
            plugin: Vec::new(),
            number: 1,
        }
    }

    fn greet(&mut self, body: &[u8]) -> Result<(), Failure> {
        let Some(greeting) = greeting(body) else {
            return Err(malformed("a greeting of another protocol than 10"));
        };
        if self.tls && greeting.capabilities & SSL == 0 {
            return Err(Failure::WrongAnswer("it speaks no TLS".into()));
        }
        let version = greeting.version.iter().take(64).copied().filter(u8::is_ascii_graphic);
        self.version = version.map(char::from).collect();
        self.capabilities = LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION;
        self.capabilities |= greeting.capabilities & PLUGIN_AUTH;
        self.capabilities |= if self.tls { SSL } else { 0 };
        self.plugin = greeting.plugin.to_vec();
        self.at = if self.tls { At::Tls } else { At::Login };
        Ok(())
    }

    /// What a login begins with, and all of a request for TLS.
    fn begin(&self) -> Vec<u8> {
        let mut body = self.capabilities.to_le_bytes().to_vec();
        body.extend_from_slice(&0x0100_0000_u32.to_le_bytes());
        body.push(UTF8);
        body.extend_from_slice(&[0; 23]);
        body
    }

    fn login(&self) -> Vec<u8> {
        let mut body = self.begin();
        body.extend_from_slice(self.probe.username.as_bytes());
        body.push(0);
        let answer = self.no_password();
        body.extend(u8::try_from(answer.len()));
        body.extend_from_slice(answer);
        if self.capabilities & PLUGIN_AUTH != 0 {
            body.extend_from_slice(&self.plugin);
            body.push(0);
        }
        body
    }

    /// How a client of the plugin says that it has no password. Servers take a packet of no bytes
    /// for that too, but with `sha256_password` those before MySQL 8 do not.
    fn no_password(&self) -> &'static [u8] {
        match &*self.plugin {
            b"caching_sha2_password" | b"sha256_password" | b"mysql_clear_password" => &[0],
            _ => &[],
        }
    }

    fn framed(&mut self, body: &[u8]) -> Vec<u8> {
        let [a, b, c, _] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let number = self.number;
        self.number = number.wrapping_add(1);
        [&[a, b, c, number], body].concat()
    }

    /// The reply to a login.
    fn judge(&mut self, body: &[u8]) -> Result<Option<Next>, Failure> {
        match body[0] {
            0 => Ok(Some(Next::Pass { pass: self.pass("let us in"), farewell: FAREWELL })),
            0xff => match error(body) {
                // Nobody in particular was to be let in, and the server has looked for us among its
                // users.
                Some((1044 | 1045 | 1698, _)) if self.probe.username.is_empty() => {
                    Ok(Some(Next::Pass { pass: self.pass("denied us access"), farewell: &[] }))
                }
                error => Err(refusal(error)),
            },
            // AuthSwitchRequest, or a plugin that says more.
            kind @ (0xfe | 1) if self.rounds < MAX_ROUNDS => {
                self.rounds += 1;
                // `fast_auth_success` of caching_sha2_password is no question: OK follows.
                if body == [1, 3] {
                    return Ok(None);
                }
                if kind == 0xfe {
                    self.plugin = body[1..].split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                }
                self.at = At::More;
                Ok(None)
            }
            0xfe | 1 => Err(malformed("a login without an end")),
            other => Err(malformed(format!("a reply to the login that begins with {other:#04x}"))),
        }
    }

    fn pass(&self, what: &str) -> Pass {
        Pass::answer(format!("version {} {what}", self.version))
    }
}

fn refusal(error: Option<(u16, &[u8])>) -> Failure {
    match error {
        Some((code, text)) => refused(&format!("error {code}: "), text),
        None => malformed("an error without a number"),
    }
}

impl Talk for Mysql<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        loop {
            match self.at {
                At::Tls => {
                    self.at = At::Login;
                    let request = self.begin();
                    return Ok(Next::Send(self.framed(&request)));
                }
                At::Login if self.tls => {
                    self.tls = false;
                    return Ok(Next::StartTls);
                }
                At::Login => {
                    self.at = At::Reply;
                    let login = self.login();
                    return Ok(Next::Send(self.framed(&login)));
                }
                At::More => {
                    self.at = At::Reply;
                    let answer = self.no_password();
                    return Ok(Next::Send(self.framed(answer)));
                }
                At::Greeting | At::Reply => {}
            }
            let rest = received.rest();
            // The first packet has the number 0 and is short; else it is another protocol.
            if self.at == At::Greeting && rest.get(2..4).is_some_and(|bytes| bytes != [0, 0]) {
                return Err(mismatch(rest, b"J\0\0\0\n8.0\0"));
            }
            let Some((Packet { number, body }, used)) = packet(rest).map_err(malformed)? else {
                return Ok(Next::Read);
            };
            let next = match self.at {
                At::Greeting if body[0] == 0xff => return Err(refusal(error(body))),
                At::Greeting => self.greet(body).map(|()| None)?,
                _ => {
                    self.number = number.wrapping_add(1);
                    self.judge(body)?
                }
            };
            received.take(used);
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    fn step(&self) -> String {
        match self.at {
            At::Greeting => "the greeting",
            At::Tls => "SSLRequest",
            At::Login | At::Reply | At::More => "the login",
        }
        .to_owned()
    }
}
