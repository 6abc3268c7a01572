//! Redis' protocol, RESP 2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>), and a
//! check in it.

use hc_types::{Failure, Pass, RedisDialogue, RedisRole, quote};

use super::received::{Next, Received, Talk, malformed, mismatch, refused};

/// The longest reply, in bytes. That of ROLE has some 40 for each replica.
const MAX_REPLY: usize = 16 * 1024;
/// How deep replies may be nested. That of ROLE is 2 deep.
const MAX_DEPTH: usize = 4;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'b> {
    /// `+OK`
    Simple(&'b [u8]),
    /// `-ERR …`
    Error(&'b [u8]),
    /// `:7`
    Integer(&'b [u8]),
    /// `$2`, two bytes. `None`: `$-1`.
    Bulk(Option<&'b [u8]>),
    /// `*2`, two replies. `*-1` is an empty one here.
    Array(Vec<Reply<'b>>),
}

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// They need not be complete to be seen as none.
    Malformed,
    /// More than the longest reply.
    TooLong,
}

/// Reads the reply that the bytes begin with, and says how many it takes. `None`: it is not
/// complete.
///
/// # Errors
/// [`Bad`] if they are no reply, or one of more than 16 KiB.
pub fn reply(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Bad> {
    let seen = &bytes[..bytes.len().min(MAX_REPLY)];
    let mut reader = Reader { bytes: seen, at: 0 };
    match reader.reply(MAX_DEPTH)? {
        Some(reply) => Ok(Some((reply, reader.at))),
        None if seen.len() == MAX_REPLY => Err(Bad::TooLong),
        None => Ok(None),
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn reply(&mut self, depth: usize) -> Result<Option<Reply<'b>>, Bad> {
        let Some(kind) = self.bytes.get(self.at).copied() else { return Ok(None) };
        if depth == 0 || !b"+-:$*".contains(&kind) {
            return Err(Bad::Malformed);
        }
        let Some(line) = self.line()? else { return Ok(None) };
        let line = &line[1..];
        Ok(Some(match kind {
            b'+' => Reply::Simple(line),
            b'-' => Reply::Error(line),
            b':' => Reply::Integer(line),
            b'$' => match length(line)? {
                None => Reply::Bulk(None),
                Some(length) => match self.bulk(length)? {
                    Some(bytes) => Reply::Bulk(Some(bytes)),
                    None => return Ok(None),
                },
            },
            _ => {
                let count = length(line)?.unwrap_or(0);
                // Each takes four bytes or more; a number alone must not take memory.
                if count > MAX_REPLY / 4 {
                    return Err(Bad::TooLong);
                }
                let mut replies = Vec::new();
                for _ in 0..count {
                    match self.reply(depth - 1)? {
                        Some(reply) => replies.push(reply),
                        None => return Ok(None),
                    }
                }
                Reply::Array(replies)
            }
        }))
    }

    /// Up to CR LF, without them.
    fn line(&mut self) -> Result<Option<&'b [u8]>, Bad> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = rest[..end].strip_suffix(b"\r").ok_or(Bad::Malformed)?;
        self.at += end + 1;
        Ok(Some(line))
    }

    fn bulk(&mut self, length: usize) -> Result<Option<&'b [u8]>, Bad> {
        if length > MAX_REPLY {
            return Err(Bad::TooLong);
        }
        let Some(bytes) = self.bytes.get(self.at..self.at + length + 2) else { return Ok(None) };
        let bytes = bytes.strip_suffix(b"\r\n").ok_or(Bad::Malformed)?;
        self.at += length + 2;
        Ok(Some(bytes))
    }
}

/// A number; `None` for -1.
fn length(line: &[u8]) -> Result<Option<usize>, Bad> {
    if line == b"-1" {
        return Ok(None);
    }
    if line.is_empty() || line.len() > 10 || !line.iter().all(u8::is_ascii_digit) {
        return Err(Bad::Malformed);
    }
    let number = line.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    usize::try_from(number).map(Some).map_err(|_| Bad::TooLong)
}

/// Writes a command, as an array of its words.
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Auth,
    Ping,
    Role,
}

/// A Redis check, and where it is. All commands are sent at once.
#[derive(Debug)]
pub struct Redis<'p> {
    probe: &'p RedisDialogue,
    sent: bool,
    /// The commands whose replies are awaited.
    open: Vec<Command>,
    role: Option<&'static str>,
}

impl<'p> Redis<'p> {
    /// At its beginning.
    #[must_use]
    pub fn new(probe: &'p RedisDialogue) -> Self {
        let auth = (!probe.password.expose().is_empty()).then_some(Command::Auth);
        let role = probe.role.map(|_| Command::Role);
        // The last one is the next.
        let open = role.into_iter().chain([Command::Ping]).chain(auth).collect();
        Self { probe, sent: false, open, role: None }
    }

    fn commands(&self) -> Vec<u8> {
        let (user, password) = (self.probe.username.as_slice(), self.probe.password.expose());
        let words = |command: &Command| match command {
            Command::Auth if user.is_empty() => vec![b"AUTH", password],
            Command::Auth => vec![b"AUTH", user, password],
            Command::Ping => vec![&b"PING"[..]],
            Command::Role => vec![&b"ROLE"[..]],
        };
        self.open.iter().rev().flat_map(|open| command(&words(open))).collect()
    }

    fn judge(&mut self, command: Command, reply: &Reply<'_>) -> Result<(), Failure> {
        match (command, reply) {
            // A server that does not know AUTH repeats what came after it: the password.
            (Command::Auth, Reply::Error(words)) => {
                let first = words.split(|byte| *byte == b' ').next().unwrap_or_default();
                Err(refused(meaning(words), first))
            }
            (_, Reply::Error(words)) => Err(refused(meaning(words), words)),
            (Command::Auth, Reply::Simple(b"OK")) => Ok(()),
            (Command::Ping, Reply::Simple(b"PONG") | Reply::Bulk(Some(b"PONG"))) => Ok(()),
            (Command::Role, Reply::Array(parts)) => self.judge_role(parts.first()),
            (_, other) => {
                let words = match other {
                    Reply::Simple(words) | Reply::Integer(words) | Reply::Bulk(Some(words)) => words,
                    _ => &b""[..],
                };
                Err(refused("another reply than expected: ", words))
            }
        }
    }

    fn judge_role(&mut self, role: Option<&Reply<'_>>) -> Result<(), Failure> {
        let (Some(wanted), Some(Reply::Bulk(Some(role)))) = (self.probe.role, role) else {
            return Err(malformed("the reply to ROLE has no role"));
        };
        let (word, name) = match wanted {
            RedisRole::Master => (&b"master"[..], "master"),
            RedisRole::Replica => (&b"slave"[..], "replica"),
        };
        if *role != word {
            let text = format!("its role is {}, and not {name}", quote(&role[..role.len().min(64)]));
            return Err(Failure::WrongAnswer(text.into()));
        }
        self.role = Some(name);
        Ok(())
    }
}

/// What the first word of an error means for an operator.
fn meaning(error: &[u8]) -> &'static str {
    match error.split(|byte| *byte == b' ').next().unwrap_or_default() {
        b"LOADING" => "it is loading its data: ",
        b"MASTERDOWN" => "it has lost its master: ",
        b"NOAUTH" => "it wants a password: ",
        b"WRONGPASS" => "the password is wrong: ",
        b"BUSY" => "it is busy with a script: ",
        b"MISCONF" => "it cannot write its data: ",
        b"DENIED" => "it takes no connections from here: ",
        _ => "error ",
    }
}

impl Talk for Redis<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        if !self.sent {
            self.sent = true;
            return Ok(Next::Send(self.commands()));
        }
        while let Some(command) = self.open.last().copied() {
            let rest = received.rest();
            match reply(rest) {
                Ok(Some((reply, used))) => {
                    self.judge(command, &reply)?;
                    received.take(used);
                    self.open.pop();
                }
                Ok(None) => return Ok(Next::Read),
                Err(Bad::Malformed) => return Err(mismatch(rest, b"+PONG")),
                Err(Bad::TooLong) => return Err(malformed("a reply of more than 16 KiB")),
            }
        }
        let pass = self.role.map_or(Pass::Plain, |role| Pass::answer(format!("it is a {role}")));
        Ok(Next::Pass { pass, farewell: &[] })
    }

    fn may_repeat_secrets(&self) -> bool {
        self.open.last() == Some(&Command::Auth)
    }

    fn step(&self) -> String {
        let word = match self.open.last() {
            Some(Command::Auth) => "AUTH",
            Some(Command::Ping) => "PING",
            Some(Command::Role) | None => "ROLE",
        };
        word.to_owned()
    }
}
