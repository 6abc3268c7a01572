//! What a backend does with a connection, step by step.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use hc_types::RawBytes;
use socket2::SockRef;

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes these bytes.
    Send(RawBytes),
    /// Writes these bytes one by one, with a pause before each.
    Drip {
        /// The bytes.
        bytes: RawBytes,
        /// The pause, in milliseconds.
        pause_ms: u64,
    },
    /// Writes these bytes again and again, until the peer has enough.
    Repeat(RawBytes),
    /// Reads this many bytes.
    Read(usize),
    /// Reads up to an empty line: the head of an HTTP request.
    ReadHead,
    /// Does nothing until the peer closes or the backend ends.
    Hang,
    /// Says that nothing more will be sent, and goes on.
    HalfClose,
    /// Closes with a reset.
    Reset,
}

impl Step {
    /// [`Step::Send`] of anything that is bytes.
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self::Send(bytes.as_ref().into())
    }

    /// The usual script of an HTTP server: reads a request, answers with these bytes, closes.
    pub fn respond(response: impl AsRef<[u8]>) -> Vec<Self> {
        vec![Self::ReadHead, Self::send(response)]
    }
}

/// How the peer ended the connection, if it did while the script was reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a FIN.
    Closed,
    /// With a reset.
    Reset,
}

/// A connection, with or without TLS over it.
pub(crate) struct Wire<S> {
    /// What is read and written.
    pub(crate) stream: S,
    /// The socket below.
    pub(crate) socket: TcpStream,
}

impl<S: Read + Write> Wire<S> {
    /// Plays `steps`. Every byte that is read goes to `heard`.
    pub(crate) fn play(&mut self, steps: &[Step], heard: &mut dyn FnMut(&[u8])) -> io::Result<Option<Ended>> {
        for step in steps {
            let done = match step {
                Step::Send(bytes) => self.write(bytes.as_slice()),
                Step::Drip { bytes, pause_ms } => bytes.as_slice().chunks(1).try_for_each(|byte| {
                    thread::sleep(Duration::from_millis(*pause_ms));
                    self.write(byte)
                }),
                Step::Repeat(bytes) => loop {
                    if let Err(error) = self.write(bytes.as_slice()) {
                        break Err(error);
                    }
                },
                Step::Read(count) => self.read_until(heard, |all| all.len() >= *count),
                Step::ReadHead => self.read_until(heard, |all| all.ends_with(b"\r\n\r\n")),
                Step::Hang => self.read_until(heard, |_| false),
                Step::HalfClose => self.socket.shutdown(Shutdown::Write),
                Step::Reset => {
                    SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
                    return Ok(None);
                }
            };
            if let Err(error) = done {
                return match error.kind() {
                    io::ErrorKind::UnexpectedEof => Ok(Some(Ended::Closed)),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ok(Some(Ended::Reset)),
                    _ => Err(error),
                };
            }
        }
        Ok(None)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads byte by byte, so that what is not asked for stays in the socket.
    fn read_until(
        &mut self,
        heard: &mut dyn FnMut(&[u8]),
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let mut all = Vec::new();
        let mut byte = [0];
        while !enough(&all) {
            if self.stream.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            all.extend(byte);
            heard(&byte);
        }
        Ok(())
    }
}
