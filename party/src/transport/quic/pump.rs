//! The two tasks of a link over QUIC on the network thread: one reads into the inbox, one writes from the
//! outbox.

use bytes::Bytes;

use super::super::outbox::{Drain, Ending, Last, Queue};
use super::*;

/// Packets handed over at once, and pieces written at once.
const BATCH: usize = 64;
/// Bytes taken from the queue at once.
const TURN: usize = 1 << 20;

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
pub(super) async fn write(conn: Connection, stream: SendStream, mut drain: Drain) {
    let queue = drain.queue.clone();
    let hurry = &mut drain.hurry;
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
        _ = drained(&conn, stream, &queue) => {}
        () = hurried => {}
    }
}

/// Writes the queue to its last frame: all that is there at once, so that small frames share a packet.
async fn drained(conn: &Connection, mut stream: SendStream, queue: &Queue) -> Result<(), WriteError> {
    let mut pieces = Vec::with_capacity(BATCH);
    loop {
        match queue.take(BATCH, TURN, &mut pieces) {
            None if pieces.is_empty() => queue.until_more().await,
            None => {
                let count = pieces.iter().map(Bytes::len).sum();
                stream.write_all_chunks(&mut pieces).await?;
                pieces.clear();
                queue.took(count);
            }
            Some(Last { frame, ending, done }) => {
                stream.write_chunk(frame).await?;
                let acknowledged = stream.finish().is_ok() && matches!(stream.stopped().await, Ok(None));
                close(conn, &ending);
                if acknowledged {
                    // Nobody listens after an abort.
                    let _ = done.try_send(());
                }
                return Ok(());
            }
        }
    }
}

/// Closes a connection with an ending's code, unless it is closed: why it was must not be overwritten, as
/// the reader task may not have looked yet.
fn close(conn: &Connection, ending: &Ending) {
    if conn.close_reason().is_some() {
        return;
    }
    conn.close(VarInt::from_u32(u32::from(ending.code)), &ending.payload);
}

struct EndOnDrop(Arc<Inbox>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.finish(Error::Shut);
    }
}
