//! Packets: what a link over TCP carries inside TLS, as QUIC's packets do for a link over QUIC.
//!
//! A link is one stream of bytes, but a peer must also be heard while that stream is still, and must be able
//! to say goodbye in the middle of a long frame. So the bytes travel in packets, with others between them:
//! 4 bytes, little-endian, length in the lower three, kind in the last; then the payload.

use super::super::frame::ABORT_CAP;

/// Length of a packet's head in bytes.
pub(super) const HEAD: usize = 4;
/// Most stream bytes in one packet.
pub(super) const CAP: usize = 256 << 10;
/// Longest CLOSE payload: the code, then what an ABORT carries.
const CLOSE_CAP: usize = 2 + ABORT_CAP;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Bytes of the stream.
    Stream = 0,
    /// Nothing: the sender is alive.
    Ping = 1,
    /// The sender is done with the connection: code (0: in order) and an ABORT payload. The last of its
    /// packets, except for one `Closed`.
    Close = 2,
    /// The sender has everything up to the other side's `Close`.
    Closed = 3,
}

/// The head of a packet. Callers keep `length` below [`CAP`].
pub(super) fn head(kind: Kind, length: usize) -> [u8; HEAD] {
    (length as u32 | u32::from(kind as u8) << 24).to_le_bytes()
}

/// What a parser finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Bytes of the stream.
    Stream(&'a [u8]),
    /// The other side is done, with this code and ABORT payload.
    Close(u16, &'a [u8]),
    /// The other side has everything.
    Closed,
}

/// The bytes are no packets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad;

/// Cuts bytes, however they come in, into packets. Holds no more than a head and a CLOSE.
pub(super) struct Parser {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    have: usize,
    kind: Kind,
    /// Bytes of the payload still to come.
    left: usize,
    close: Vec<u8>,
}

impl Parser {
    pub(super) fn new() -> Self {
        Self { head: [0; HEAD], have: 0, kind: Kind::Ping, left: 0, close: Vec::new() }
    }

    /// Hands over everything in `bytes`, in order.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Found<'_>)) -> Result<(), Bad> {
        while !bytes.is_empty() {
            if self.have < HEAD {
                self.head[self.have] = bytes[0];
                self.have += 1;
                bytes = &bytes[1..];
                if self.have == HEAD {
                    self.begin()?;
                }
            } else {
                let (now, later) = bytes.split_at(bytes.len().min(self.left));
                self.left -= now.len();
                bytes = later;
                match self.kind {
                    Kind::Stream => found(Found::Stream(now)),
                    _ => self.close.extend_from_slice(now),
                }
            }
            if self.have == HEAD && self.left == 0 {
                self.have = 0;
                self.end(&mut found)?;
            }
        }
        Ok(())
    }

    /// Checks a head.
    fn begin(&mut self) -> Result<(), Bad> {
        let word = u32::from_le_bytes(self.head);
        let (length, kind) = ((word & 0xff_ffff) as usize, (word >> 24) as u8);
        let kinds = [Kind::Stream, Kind::Ping, Kind::Close, Kind::Closed];
        self.kind = kinds.into_iter().find(|&k| k as u8 == kind).ok_or(Bad)?;
        let allowed = match self.kind {
            Kind::Stream => 0..=CAP,
            Kind::Close => 2..=CLOSE_CAP,
            Kind::Ping | Kind::Closed => 0..=0,
        };
        self.left = length;
        if allowed.contains(&length) { Ok(()) } else { Err(Bad) }
    }

    /// A packet is complete.
    fn end(&mut self, found: &mut impl FnMut(Found<'_>)) -> Result<(), Bad> {
        match self.kind {
            Kind::Close => {
                let (code, payload) = self.close.split_first_chunk().ok_or(Bad)?;
                found(Found::Close(u16::from_le_bytes(*code), payload));
                self.close.clear();
            }
            Kind::Closed => found(Found::Closed),
            Kind::Stream | Kind::Ping => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], cut: usize) -> Result<Vec<String>, Bad> {
        let (mut parser, mut out) = (Parser::new(), Vec::new());
        for part in bytes.chunks(cut) {
            parser.feed(part, |found| out.push(format!("{found:?}")))?;
        }
        Ok(out)
    }

    #[test]
    fn packets_come_out_whatever_the_cuts() {
        let mut bytes = Vec::new();
        for (kind, payload) in [
            (Kind::Stream, &b"ab"[..]),
            (Kind::Ping, b""),
            (Kind::Stream, b""),
            (Kind::Close, b"\x65\0xyz"),
            (Kind::Closed, b""),
        ] {
            bytes.extend(head(kind, payload.len()));
            bytes.extend(payload);
        }
        assert_eq!(bytes[..6], *b"\x02\0\0\0ab");
        let whole = ["Stream([97, 98])", "Close(101, [120, 121, 122])", "Closed"];
        for cut in 2..bytes.len() {
            let found: Vec<_> = all(&bytes, cut).unwrap();
            let rest: Vec<_> = found.iter().filter(|f| !f.starts_with("Stream([97")).collect();
            if cut >= bytes.len() - 1 {
                assert_eq!(found, whole);
            }
            assert_eq!(rest[rest.len() - 2..], whole[1..], "{cut}");
        }
        assert_eq!(all(&bytes, 1).unwrap()[..2], ["Stream([97])", "Stream([98])"]);
    }

    #[test]
    fn other_kinds_and_lengths_are_refused_at_their_head() {
        for bad in [
            (CAP as u32 + 1).to_le_bytes(),
            [0xff, 0xff, 0xff, 0],
            [1, 0, 0, 1],
            [0, 0, 0, 2],
            [1, 0, 0, 2],
            head(Kind::Close, CLOSE_CAP + 1),
            [1, 0, 0, 3],
            [0, 0, 0, 4],
            [0, 0, 0, 255],
        ] {
            assert_eq!(all(&bad, 4), Err(Bad), "{bad:?}");
        }
    }
}
