//! A link with a round-trip time and a bandwidth, inside one process.

use super::{Channel, Loopback, pair};
use crate::{Error, Result};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Round-trip time and bandwidth of a link.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Link {
    /// Round-trip time.
    pub rtt: Duration,
    /// Bits per second in each direction.
    pub bits_per_second: f64,
}

/// One end of a simulated link: a message leaves when the line is free, and arrives half a round trip after its last bit left.
pub struct Simulated {
    inner: Loopback,
    link: Link,
    line_free: Option<Instant>,
    arrivals_out: Sender<Instant>,
    arrivals_in: Receiver<Instant>,
}

/// A connected pair over `link`.
pub fn simulated_pair(link: Link) -> (Simulated, Simulated) {
    let (a, b) = pair();
    let ((ta, rb), (tb, ra)) = (channel(), channel());
    let end = |inner, arrivals_out, arrivals_in| Simulated {
        inner,
        link,
        line_free: None,
        arrivals_out,
        arrivals_in,
    };
    (end(a, ta, ra), end(b, tb, rb))
}

impl Channel for Simulated {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        // The simulation is a shell around the protocol core, so it may read the clock itself.
        let now = Instant::now();
        let start = self.line_free.map_or(now, |free| free.max(now));
        let done = start + Duration::from_secs_f64(bytes.len() as f64 * 8.0 / self.link.bits_per_second);
        self.line_free = Some(done);
        self.arrivals_out
            .send(done + self.link.rtt / 2)
            .map_err(|_| Error::Channel("the other end is gone".into()))?;
        self.inner.send(bytes)
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        let got = self.inner.recv(len)?;
        let at = self.arrivals_in.recv().map_err(|_| Error::Channel("the other end is gone".into()))?;
        sleep(at.saturating_duration_since(Instant::now()));
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_at_least_half_a_round_trip_and_its_bits() {
        let (mut a, mut b) = simulated_pair(Link { rtt: Duration::from_millis(20), bits_per_second: 1e6 });
        let start = Instant::now();
        a.send(&[0; 1250]).unwrap();
        b.send(&[1]).unwrap();
        assert_eq!(a.recv(1).unwrap(), [1]);
        assert_eq!(b.recv(1250).unwrap().len(), 1250);
        assert!(start.elapsed() >= Duration::from_millis(20), "10 ms of bits and 10 ms of way");
    }
}
