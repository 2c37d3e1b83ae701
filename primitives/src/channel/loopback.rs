//! Two ends in one process.

use super::Channel;
use crate::{Error, Result};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// One end of an in-process channel.
pub struct Loopback {
    out: Sender<Vec<u8>>,
    inbox: Receiver<Vec<u8>>,
    deadline: Duration,
}

/// A connected pair whose `recv` waits at most 30 s.
pub fn pair() -> (Loopback, Loopback) {
    let (a, b) = channel();
    let (c, d) = channel();
    let end = |out, inbox| Loopback { out, inbox, deadline: Duration::from_secs(30) };
    (end(a, d), end(c, b))
}

impl Channel for Loopback {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.send(bytes.to_vec()).map_err(|_| Error::Channel("the other end is gone".into()))
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        let got = self.inbox.recv_timeout(self.deadline).map_err(|e| match e {
            RecvTimeoutError::Timeout => Error::Channel(format!("nothing heard for {:?}", self.deadline)),
            RecvTimeoutError::Disconnected => Error::Channel("the other end is gone".into()),
        })?;
        if got.len() != len {
            return Err(Error::Channel(format!("out of step: wanted {len} bytes, got {}", got.len())));
        }
        Ok(got)
    }
}
