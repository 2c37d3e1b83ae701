//! Frames: 4 bytes of length (little-endian, payload only), 1 byte of kind, the payload.

use bytes::{BufMut, Bytes, BytesMut};

use super::Error;
use super::reason::{Detail, Reason};

/// Longest payload of one `send`, in bytes.
pub const PAYLOAD_CAP: usize = 1 << 30;
/// Usual cap on one control message, in bytes.
pub const CONTROL_CAP: usize = 64 << 10;
/// Longest ABORT payload, in bytes: code and detail.
pub(super) const ABORT_CAP: usize = 128;
/// Length of a header in bytes.
pub(super) const HEADER: usize = 5;
/// Payloads are queued in pieces of at most this many bytes, so that memory is freed as they leave.
const PIECE: usize = 1 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Masked values, key bytes: whatever the plan says comes now.
    Data = 1,
    /// A postcard-encoded message.
    Control = 2,
    /// The sender stopped; code and detail follow. The last frame.
    Abort = 3,
    /// The sender is done. Empty. The last frame.
    Close = 4,
}

impl Kind {
    /// The name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::Control => "control message",
            Kind::Abort => "abort",
            Kind::Close => "close",
        }
    }
}

/// A parsed header: `None` for a kind that does not exist.
pub(super) fn parse(header: [u8; HEADER]) -> (Option<Kind>, usize) {
    let [a, b, c, d, kind] = header;
    let kind = [Kind::Data, Kind::Control, Kind::Abort, Kind::Close].into_iter().find(|&k| k as u8 == kind);
    // usize has at least 32 bits wherever this runs.
    (kind, u32::from_le_bytes([a, b, c, d]) as usize)
}

/// The header of a frame. The caller has checked the length against [`PAYLOAD_CAP`].
pub(super) fn head(kind: Kind, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [a, b, c, d, kind as u8]
}

/// One frame in pieces for the outbox: the only copy of the payload on this side.
pub(super) fn pieces(kind: Kind, payload: &[u8]) -> impl Iterator<Item = Bytes> {
    let (first, rest) = payload.split_at(payload.len().min(PIECE));
    let mut whole = BytesMut::with_capacity(HEADER + first.len());
    whole.put_slice(&head(kind, payload.len()));
    whole.put_slice(first);
    std::iter::once(whole.freeze()).chain(chunks(rest))
}

/// The rest of a payload in pieces for the outbox.
pub(super) fn chunks(rest: &[u8]) -> impl Iterator<Item = Bytes> {
    rest.chunks(PIECE).map(Bytes::copy_from_slice)
}

/// Payload of an ABORT: code, then the detail. The same bytes go into the transport's own close.
pub(super) fn encode_abort(reason: Reason, detail: &Detail) -> Vec<u8> {
    // A label of 64 characters keeps this under the cap; serialization into memory does not fail.
    postcard::to_stdvec(&(reason.code(), detail)).unwrap_or_default()
}

/// Reads an ABORT payload; anything unreadable is an unlisted reason.
pub(super) fn decode_abort(bytes: &[u8]) -> (Reason, Detail) {
    match postcard::from_bytes::<(u16, Detail)>(bytes) {
        Ok((code, detail)) if bytes.len() <= ABORT_CAP => (Reason::from_code(code), detail),
        _ => (Reason::Unlisted, Detail::None),
    }
}

/// What a peer's close means: its code (0: in order) and an ABORT payload, by whichever transport.
pub(super) fn goodbye(peer: &str, code: u16, payload: &[u8]) -> Error {
    let peer = peer.to_owned();
    match code {
        0 => Error::Closed { peer },
        code => {
            let (_, detail) = decode_abort(payload);
            Error::PeerFailed { peer, reason: Reason::from_code(code), detail }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Label;
    use super::*;
    use crate::exit::ExitCode;

    #[test]
    fn header_bytes_are_frozen() {
        let whole: Vec<Bytes> = pieces(Kind::Control, b"abc").collect();
        assert_eq!(whole, [Bytes::from_static(b"\x03\0\0\0\x02abc")]);
        assert_eq!(parse([3, 0, 0, 0, 2]), (Some(Kind::Control), 3));
        assert_eq!(parse([255, 255, 255, 255, 9]), (None, u32::MAX as usize));
    }

    #[test]
    fn long_payloads_are_cut_but_stay_one_frame() {
        let payload: Vec<u8> = (0..3 * PIECE + 7).map(|i| i as u8).collect();
        let whole: Vec<Bytes> = pieces(Kind::Data, &payload).collect();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole.concat()[HEADER..], payload);
    }

    #[test]
    fn aborts_fit_and_rubbish_is_unlisted() {
        let detail = Detail::Layer(Label::new(&"x".repeat(Label::LONGEST)));
        let reason = Reason::Failed(ExitCode::Range);
        let bytes = encode_abort(reason, &detail);
        assert!(bytes.len() <= ABORT_CAP);
        assert_eq!(decode_abort(&bytes), (reason, detail));
        for bad in [&b""[..], b"\xff", b"\xff\xff\xff\xff", &[0; 200], b"\x0a\x02\x03\x1b[m"] {
            assert_eq!(decode_abort(bad), (Reason::Unlisted, Detail::None), "{bad:?}");
        }
    }
}
