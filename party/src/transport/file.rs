//! Long byte streams, such as dealt segments, over a link: bounded memory on both sides.

use std::io::{Read, Write};

use super::frame::Kind;
use super::link::Link;
use super::{Error, Result};

/// Bytes per frame.
const CHUNK: usize = 1 << 20;
/// The sender waits while this many bytes are queued.
const AHEAD: usize = 8 << 20;

impl Link {
    /// Sends exactly `length` bytes of `from`, calling `progress` with the bytes sent so far. Waits for the
    /// peer when it is slower; what stays in memory is about 8 MiB.
    ///
    /// # Errors
    /// [`Error::File`] when `from` fails or is short, [`Error::Stuck`] when the peer takes nothing for the
    /// link's patience, and whatever ends a link.
    pub fn send_file(
        &mut self,
        from: &mut impl Read,
        length: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut sent = 0;
        while sent < length {
            let now = chunk(length - sent);
            let part = &mut buffer[..now];
            from.read_exact(part)
                .map_err(|e| Error::File { what: "read the data to send", why: e.to_string() })?;
            self.wait_below(AHEAD)?;
            self.send_frame(Kind::Data, part)?;
            sent += now as u64;
            progress(sent);
        }
        self.wait_below(1)
    }

    /// Receives exactly `length` bytes, sent by [`Link::send_file`], into `to`. The caller makes them durable.
    ///
    /// # Errors
    /// [`Error::File`] when `to` fails (a full disk), and whatever ends a link.
    pub fn recv_to_file(
        &mut self,
        to: &mut impl Write,
        length: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        let mut received = 0;
        while received < length {
            let part = self.recv_data(chunk(length - received))?;
            to.write_all(&part)
                .map_err(|e| Error::File { what: "write received data", why: e.to_string() })?;
            received += part.len() as u64;
            progress(received);
        }
        Ok(())
    }
}

fn chunk(left: u64) -> usize {
    usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))
}
