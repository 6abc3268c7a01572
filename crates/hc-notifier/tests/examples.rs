//! The example does what it says.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/own-sink.rs"]
mod own_sink;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// Refuses the first write.
#[derive(Default)]
struct Unsteady {
    tried: bool,
    text: Vec<u8>,
}

impl Write for Unsteady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.tried, true) {
            self.text.write(bytes)
        } else {
            Err(io::Error::other("not yet"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_arrive_is_delivered_again() {
    let output = Arc::<Mutex<Unsteady>>::default();
    own_sink::run(output.clone()).await.unwrap();
    let text = output.lock().unwrap().text.clone();
    assert_eq!(String::from_utf8(text).unwrap(), "192.0.2.1 is healthy\n");
}
