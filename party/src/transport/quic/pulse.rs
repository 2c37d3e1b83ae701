//! Noticing that the process at the other end has died: TCP is told by the peer's system, QUIC has to ask.

use std::time::Duration;

use quinn::Connection;

use super::super::knock::is_closed;

/// Ends when nothing came for `every`, in which signs of life were due, and the peer's system says that its port is
/// closed. A forged answer alone ends nothing: while packets come, nobody asks.
pub(super) async fn stopped(conn: &Connection, every: Duration) {
    let heard = || conn.stats().udp_rx.datagrams;
    let mut before = heard();
    loop {
        tokio::time::sleep(every).await;
        if heard() == before && is_closed(conn.remote_address()).await && heard() == before {
            return;
        }
        before = heard();
    }
}
