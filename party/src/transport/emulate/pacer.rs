//! Holding back what one end of an emulated link sends: a thread per link that sleeps until bytes are due.

use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::outbox::{Exit, Last, NotSent};
use super::super::{Error, Result};
use super::Shape;

/// Longer frames arrive in pieces of so many bytes, the last one of less than twice as many: a header must not cost
/// a piece of its own.
const PIECE: usize = 64 << 10;
/// How long before it is due the thread is awake: a sleep ends some tens of microseconds late.
const AWAKE: Duration = Duration::from_micros(40);
/// Round trips from here on can do without that.
const LONG: Duration = Duration::from_millis(2);

/// The blocking side's end: what is sent here leaves when it is due. Dropping it loses nothing that was sent.
pub(in super::super) struct Pacer {
    timetable: Timetable,
    /// Gone once the last frame is on its way.
    road: Option<Sender<Due>>,
}

/// Bytes, and when they arrive.
type Due = (Instant, Parcel);

enum Parcel {
    Bytes(Bytes),
    Last(Last),
}

/// When what is sent arrives: behind what was sent before, at the rate, and half a round trip later.
struct Timetable {
    shape: Shape,
    /// When all that was sent so far has left.
    free: Instant,
}

impl Timetable {
    /// When the last of `bytes` that are sent at `now` arrives.
    fn arrival(&mut self, now: Instant, bytes: usize) -> Instant {
        self.free = now.max(self.free) + self.shape.transmission(bytes);
        self.free + self.shape.rtt / 2
    }
}

impl Pacer {
    /// Starts the thread.
    pub(in super::super) fn start(shape: Shape, exit: Exit) -> Result<Self> {
        let (road, arriving) = channel();
        let awake = if shape.rtt < LONG { AWAKE } else { Duration::ZERO };
        std::thread::Builder::new()
            .name("twoply-pace".into())
            .spawn(move || deliver(&arriving, &exit, awake))
            .map_err(|e| Error::System { what: "start a thread", why: e.to_string() })?;
        Ok(Self { timetable: Timetable { shape, free: Instant::now() }, road: Some(road) })
    }

    /// Sends bytes of the stream.
    pub(in super::super) fn send(&mut self, mut bytes: Bytes) -> Result<(), NotSent> {
        let now = Instant::now();
        while !bytes.is_empty() {
            let piece = bytes.split_to(if bytes.len() < 2 * PIECE { bytes.len() } else { PIECE });
            let arrival = self.timetable.arrival(now, piece.len());
            let road = self.road.as_ref().ok_or(NotSent)?;
            road.send((arrival, Parcel::Bytes(piece))).map_err(|_| NotSent)?;
        }
        Ok(())
    }

    /// Sends the last frame.
    pub(in super::super) fn last(&mut self, last: Last) -> Result<(), NotSent> {
        let arrival = self.timetable.arrival(Instant::now(), last.frame.len());
        let road = self.road.take().ok_or(NotSent)?;
        road.send((arrival, Parcel::Last(last))).map_err(|_| NotSent)
    }
}

/// The thread: hands over what is due, until the last frame or the end of the connection.
fn deliver(arriving: &Receiver<Due>, exit: &Exit, awake: Duration) {
    // By default the system adds up to 50 us to every sleep. If it refuses, emulated links are that much longer.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut next = None;
    while let Some((due, parcel)) = next.take().or_else(|| arriving.recv().ok()) {
        next = arriving.try_recv().ok();
        // In a stream only the last piece has to be on time; the cores have better things to do.
        let awake = if next.is_none() { awake } else { Duration::ZERO };
        std::thread::sleep(due.saturating_duration_since(Instant::now() + awake));
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let sent = match parcel {
            Parcel::Bytes(bytes) => exit.relay(bytes),
            Parcel::Last(last) => exit.last(last),
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_behind_one_another_at_the_rate_and_half_a_round_trip_later() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        // 1 MB/s, so a byte takes a microsecond.
        let shape = Shape { rtt: ms(100), bits_per_second: Some(8_000_000) };
        let mut timetable = Timetable { shape, free: start };
        assert_eq!(timetable.arrival(start, 10_000), start + ms(60));
        assert_eq!(timetable.arrival(start + ms(4), 5_000), start + ms(65), "the first one is still leaving");
        assert_eq!(timetable.arrival(start + ms(40), 1_000), start + ms(91), "nothing is left");
        assert_eq!(timetable.arrival(start + ms(41), 0), start + ms(91));
        let mut timetable = Timetable { shape: Shape { bits_per_second: None, ..shape }, free: start };
        assert_eq!(timetable.arrival(start + ms(1), 1 << 30), start + ms(51));
    }

    #[test]
    fn transmission_is_never_rounded_down() {
        let shape = Shape { rtt: Duration::ZERO, bits_per_second: Some(3_000_000_000) };
        assert_eq!(shape.transmission(1), Duration::from_nanos(3));
        assert_eq!(shape.transmission(3 << 30), Duration::from_nanos(8 << 30));
    }
}
