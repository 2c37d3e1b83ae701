//! The two tasks of a link on the QUIC thread: one reads into the inbox, one writes from the outbox.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};

use super::frame::decode_abort;
use super::inbox::Inbox;
use super::outbox::{Drain, Ending, Out};
use super::reason::Reason;
use super::{Error, Result};

/// How long an ABORT may wait for the bytes queued before it, and for the peer's acknowledgement.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// Packets handed over at once.
const BATCH: usize = 64;

/// Moves arriving bytes into the inbox until the stream ends, then says why it ended.
pub(super) async fn read(conn: Connection, mut stream: RecvStream, inbox: Arc<Inbox>, peer: String) {
    // However this task ends, the reader must not wait for it.
    let _end = EndOnDrop(inbox.clone());
    let mut chunks = vec![Bytes::new(); BATCH];
    let end = loop {
        inbox.until_room().await;
        match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                inbox.push(&chunks[..count]);
                chunks[..count].fill(Bytes::new());
            }
            // The connection's close follows the stream's and carries the reason.
            Ok(None) => {
                break match tokio::time::timeout(2 * LINGER, conn.closed()).await {
                    Ok(error) => lost(&peer, &error),
                    Err(_) => Error::Lost { peer, why: "its stream ended without a close".into() },
                };
            }
            Err(ReadError::ConnectionLost(error)) => break lost(&peer, &error),
            Err(_) => break Error::Lost { peer, why: "its stream was reset".into() },
        }
    };
    inbox.finish(end);
}

/// Writes queued frames until the link says goodbye, then closes the connection.
pub(super) async fn write(conn: Connection, mut stream: SendStream, mut drain: Drain) {
    let Drain { queue, backlog, hurry } = &mut drain;
    let work = async {
        while let Some(out) = queue.recv().await {
            match out {
                Out::Piece(piece) => {
                    let count = piece.len();
                    stream.write_chunk(piece).await?;
                    backlog.took(count);
                }
                Out::Last { frame, ending, done } => {
                    stream.write_chunk(frame).await?;
                    let acknowledged = stream.finish().is_ok() && matches!(stream.stopped().await, Ok(None));
                    close(&conn, &ending);
                    if acknowledged {
                        // Nobody listens after an abort.
                        let _ = done.try_send(());
                    }
                    break;
                }
            }
        }
        Ok::<(), WriteError>(())
    };
    let hurried = async {
        match hurry.await {
            Ok(ending) => {
                tokio::time::sleep(LINGER).await;
                close(&conn, &ending);
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        // A write error means the connection is lost; the reader reports that.
        _ = work => {}
        () = hurried => {}
    }
}

/// Closes a connection with an ending's code, unless it is closed: why it was must not be overwritten, as
/// the reader task may not have looked yet.
pub(super) fn close(conn: &Connection, ending: &Ending) {
    if conn.close_reason().is_some() {
        return;
    }
    conn.close(VarInt::from_u32(u32::from(ending.code)), &ending.payload);
}

/// What a connection's end means to the blocking side. The peer's own words are never repeated.
pub(super) fn lost(peer: &str, error: &ConnectionError) -> Error {
    let peer = peer.to_owned();
    let why = match error {
        ConnectionError::ApplicationClosed(close) => {
            let (_, detail) = decode_abort(&close.reason);
            return match close.error_code.into_inner() {
                0 => Error::Closed { peer },
                code => {
                    let reason = u16::try_from(code).map_or(Reason::Unlisted, Reason::from_code);
                    Error::PeerFailed { peer, reason, detail }
                }
            };
        }
        ConnectionError::LocallyClosed => return Error::Shut,
        ConnectionError::TimedOut => "nothing was heard for too long".to_owned(),
        ConnectionError::Reset => "it was restarted".to_owned(),
        ConnectionError::VersionMismatch => "it speaks another version of QUIC".to_owned(),
        ConnectionError::TransportError(error) => format!("QUIC error {}", error.code),
        ConnectionError::ConnectionClosed(close) => format!("it reports QUIC error {}", close.error_code),
        ConnectionError::CidsExhausted => "no connection ids are left".to_owned(),
    };
    Error::Lost { peer, why }
}

/// The TLS alert behind a failed connection, and whether this side raised it.
pub(super) fn alert(error: &ConnectionError) -> Option<(Side, u8)> {
    let (side, code) = match error {
        ConnectionError::TransportError(error) => (Side::Ours, u64::from(error.code)),
        ConnectionError::ConnectionClosed(close) => (Side::Theirs, u64::from(close.error_code)),
        _ => return None,
    };
    // RFC 9001, section 4.8: alerts are 0x100 plus their TLS number.
    let number = code.checked_sub(0x100)?;
    u8::try_from(number).ok().map(|number| (side, number))
}

/// Who raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This process.
    Ours,
    /// The other one.
    Theirs,
}

/// A failure to write or read the preamble.
pub(super) fn stream_error<T>(peer: &str, error: Option<&ConnectionError>) -> Result<T> {
    Err(error.map_or_else(
        || Error::Lost { peer: peer.to_owned(), why: "its stream was reset".into() },
        |error| lost(peer, error),
    ))
}

struct EndOnDrop(Arc<Inbox>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.finish(Error::Shut);
    }
}
