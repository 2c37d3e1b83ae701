//! What a peer may send over QUIC before it was read.
//!
//! A connection carries one stream, so the window of the connection, which quinn lets change, bounds what a peer can
//! have here; the stream's own window, which does not change, only bounds what waits between quinn and the inbox.
//! What a peer has once been allowed to send cannot be taken back. So a window is not raised for a request and lowered
//! after it: the request's bytes are allowed once, and quinn renews no more than the small window as they are read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quinn::{Connection, VarInt};

use super::CONNECTION_WINDOW;

/// Most bytes that are allowed at once: far more than any request, far less than QUIC can count.
const MOST: u64 = 1 << 40;

/// The window of one connection.
pub(in super::super) struct Flow {
    conn: Connection,
    small: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Bytes allowed beyond the small window. As quinn does, each byte that is read counts as one of them first.
    beyond: u64,
}

impl Flow {
    /// The connection was set up with a window of `small` bytes.
    pub(super) fn new(conn: Connection, small: u32) -> Self {
        let open = small >= CONNECTION_WINDOW;
        Self { conn, small: small.into(), state: Mutex::new(State { open, beyond: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self, bytes: u64) {
        // MOST keeps this in range.
        self.conn.set_receive_window(VarInt::from_u64(bytes).unwrap_or(VarInt::MAX));
    }

    #[cfg(test)]
    pub(in super::super) fn arrived(&self) -> u64 {
        self.conn.stats().udp_rx.bytes
    }

    /// `count` bytes were read.
    pub(in super::super) fn took(&self, count: u64) {
        let mut state = self.state();
        state.beyond = state.beyond.saturating_sub(count);
    }

    /// The large window, for good.
    pub(in super::super) fn open(&self) {
        if !std::mem::replace(&mut self.state().open, true) {
            self.window(CONNECTION_WINDOW.into());
        }
    }

    /// Allows `bytes` beyond the small window, once.
    pub(in super::super) fn admit(&self, bytes: u64) {
        let mut state = self.state();
        let more = bytes.min(MOST).saturating_sub(state.beyond);
        if !state.open && more > 0 {
            self.window(self.small + more);
            self.window(self.small);
            state.beyond += more;
        }
    }

    /// Back to the small window.
    pub(in super::super) fn restrict(&self) {
        let mut state = self.state();
        if state.open && self.small < CONNECTION_WINDOW.into() {
            state.open = false;
            self.window(self.small);
            state.beyond += u64::from(CONNECTION_WINDOW) - self.small;
        }
    }
}
