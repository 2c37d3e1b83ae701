//! A channel that keeps what passed, to test views and to replay one side alone.

use super::Channel;
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What one side of a channel sent and received, message by message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Messages sent.
    pub sent: Vec<Vec<u8>>,
    /// Messages received.
    pub received: Vec<Vec<u8>>,
}

/// Records an inner channel, or replays a recording with no peer at all.
pub struct Recorded {
    inner: Inner,
    log: Arc<Mutex<Recording>>,
}

enum Inner {
    Live(Box<dyn Channel>),
    Replay(VecDeque<Vec<u8>>),
}

impl Recorded {
    /// Records everything that passes through `inner`.
    pub fn new(inner: impl Channel + 'static) -> Self {
        Recorded { inner: Inner::Live(Box::new(inner)), log: Arc::default() }
    }
    /// Answers every `recv` from the recording; what is sent is recorded and goes nowhere.
    pub fn replay(recording: &Recording) -> Self {
        Recorded { inner: Inner::Replay(recording.received.iter().cloned().collect()), log: Arc::default() }
    }
    /// The recording, shared with the channel.
    pub fn log(&self) -> Arc<Mutex<Recording>> {
        self.log.clone()
    }
}

impl Channel for Recorded {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if let Inner::Live(c) = &mut self.inner {
            c.send(bytes)?;
        }
        self.log.lock().map_err(|_| Error::Channel("recording lost".into()))?.sent.push(bytes.to_vec());
        Ok(())
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        let got = match &mut self.inner {
            Inner::Live(c) => c.recv(len)?,
            Inner::Replay(q) => q.pop_front().ok_or_else(|| Error::Channel("recording is over".into()))?,
        };
        if got.len() != len {
            return Err(Error::Channel(format!(
                "out of step: wanted {len} bytes, recording has {}",
                got.len()
            )));
        }
        self.log.lock().map_err(|_| Error::Channel("recording lost".into()))?.received.push(got.clone());
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::pair;

    #[test]
    fn a_recording_replays_without_a_peer() {
        let (a, mut b) = pair();
        let mut a = Recorded::new(a);
        b.send(&[7, 8]).unwrap();
        a.send(&[1]).unwrap();
        assert_eq!(a.recv(2).unwrap(), [7, 8]);
        let log = a.log().lock().unwrap().clone();
        let mut again = Recorded::replay(&log);
        assert_eq!(again.recv(2).unwrap(), [7, 8]);
        assert!(again.recv(2).is_err());
        assert_eq!(b.recv(1).unwrap(), [1]);
        b.send(&[0; 3]).unwrap();
        assert!(a.recv(2).is_err(), "wrong length is refused");
    }
}
