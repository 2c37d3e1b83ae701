//! The two tasks of a link over QUIC on the network thread: one reads into the inbox, one writes from the
//! outbox.

use bytes::Bytes;

use super::super::outbox::{Drain, Farewell, Last, Queue};
use super::*;

/// Packets handed over at once, and pieces written at once.
const BATCH: usize = 64;
/// Bytes taken from the queue at once.
const TURN: usize = 1 << 20;

/// Moves arriving bytes into the inbox until the stream ends, then says why it ended.
pub(super) async fn read(
    conn: Connection,
    mut stream: RecvStream,
    inbox: Arc<Inbox>,
    (peer, idle): (String, Duration),
) {
    // However this task ends, the reader must not wait for it.
    let _end = EndOnDrop(inbox.clone());
    let mut chunks = vec![Bytes::new(); BATCH];
    let end = loop {
        tokio::select! {
            () = inbox.until_room() => {}
            // What a peer said before it closed can still be read; of one that is lost, nobody waits for the rest.
            error = conn.closed() => match error {
                ConnectionError::ApplicationClosed(_) => inbox.until_room().await,
                error => break lost(&peer, &error, idle),
            }
        }
        match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                inbox.push(&chunks[..count]);
                chunks[..count].fill(Bytes::new());
            }
            // The connection's close follows the stream's and carries the reason.
            Ok(None) => {
                break match tokio::time::timeout(2 * LINGER, conn.closed()).await {
                    Ok(error) => lost(&peer, &error, idle),
                    Err(_) => broken(&peer, "its stream ended without a close"),
                };
            }
            Err(ReadError::ConnectionLost(error)) => break lost(&peer, &error, idle),
            Err(ReadError::Reset(code)) => break stopped(&conn, code, &peer, idle).await,
            Err(_) => break broken(&peer, "its stream cannot be read"),
        }
    };
    inbox.finish(end);
}

/// The peer ended its stream early, with a reason's code; the close of the connection that follows says more.
async fn stopped(conn: &Connection, code: VarInt, peer: &str, idle: Duration) -> Error {
    match (tokio::time::timeout(LINGER, conn.closed()).await, u16::try_from(code.into_inner())) {
        (Ok(error @ ConnectionError::ApplicationClosed(_)), _) => lost(peer, &error, idle),
        (_, Ok(code)) if code != 0 => goodbye(peer, code, &[]),
        _ => broken(peer, "its stream was reset"),
    }
}

/// Writes queued frames until the link says goodbye, then closes the connection.
pub(super) async fn write(conn: Connection, mut stream: SendStream, mut drain: Drain, inbox: &Inbox) {
    let queue = drain.queue.clone();
    let hurry = &mut drain.hurry;
    let late = async {
        match hurry.await {
            Ok(ending) => {
                tokio::time::sleep(LINGER).await;
                ending
            }
            Err(_) => std::future::pending().await,
        }
    };
    let ending = tokio::select! {
        // A write error means the connection is lost; the reader reports that.
        _ = drained(&conn, &mut stream, &queue) => return,
        ending = late => ending,
        () = inbox.replaced() => Farewell { code: Reason::Replaced.code(), payload: Vec::new() },
    };
    let acknowledged = || conn.stats().frame_rx.acks;
    let before = acknowledged();
    // A close is one packet, and may be lost where much is on its way; the end of a stream is repeated until it has
    // arrived. The close has the details, and comes while the peer waits for them.
    if conn.close_reason().is_none() && stream.reset(VarInt::from_u32(ending.code.into())).is_ok() {
        let _ = tokio::time::timeout(LINGER / 2, conn.closed()).await;
    }
    // Nobody acknowledges for a process that has ended; one that had ended the connection itself says so.
    inbox.answered(conn.close_reason().is_none() && acknowledged() > before);
    close(&conn, &ending);
}

/// Writes the queue to its last frame: all that is there at once, so that small frames share a packet.
async fn drained(conn: &Connection, stream: &mut SendStream, queue: &Queue) -> Result<(), WriteError> {
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
fn close(conn: &Connection, ending: &Farewell) {
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
