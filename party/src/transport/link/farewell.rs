//! How a link ends on this side: in order, with a reason, or let go of.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::frame::{Kind, encode_abort, pieces};
use super::super::outbox::Farewell;
use super::super::reason::{Detail, Reason};
use super::super::{Error, Loss, Result};
use super::Link;
use crate::exit::ExitCode;

/// Who reads a connection says why it ended a moment after who writes it has gone.
const REPORT: Duration = Duration::from_secs(1);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(1);

impl Link {
    /// Sends everything that is queued, tells the peer that this side is done, and waits until it has it all.
    ///
    /// # Errors
    /// The link's own error when it had failed, [`Error::Silent`] when the peer does not acknowledge in time.
    pub fn close(mut self, within: Duration) -> Result<()> {
        self.ended = true;
        if let Some(fault) = self.fault.take() {
            // The peer learns nothing new: it caused this, or was told when it happened.
            return if matches!(fault, Error::Closed { .. }) { Ok(()) } else { Err(fault) };
        }
        let (done, finished) = mpsc::sync_channel(1);
        let frame: Bytes = pieces(Kind::Close, &[]).next().unwrap_or_default();
        let sent = self.parts.outbox.last(frame, Farewell::default(), done).is_ok();
        let result =
            if sent { finished.recv_timeout(within) } else { Err(mpsc::RecvTimeoutError::Disconnected) };
        match result {
            Ok(()) => Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.parts.outbox.hurry(ending(Reason::Deadline, &Detail::None));
                let peer = self.parts.name.clone();
                Err(Error::Silent { peer, what: "acknowledgement", waited: within.into() })
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => self.closed_first(within),
        }
    }

    /// The connection ended before our close was through. That is in order if the peer closed in order.
    fn closed_first(&self, within: Duration) -> Result<()> {
        let until = Instant::now() + within.min(REPORT);
        loop {
            match self.parts.inbox.end() {
                Some(Error::Closed { .. }) => return Ok(()),
                Some(error) => return Err(error),
                None if Instant::now() > until => return Err(self.died()),
                // The reader task reports the end a moment after the writer task has gone.
                None => std::thread::sleep(LOOK),
            }
        }
    }

    /// Why nothing can be sent any more. Who reads the connection says so a moment after who writes it has gone.
    pub(super) fn why_it_ended(&self) -> Error {
        let until = Instant::now() + REPORT;
        loop {
            match self.parts.inbox.end() {
                Some(error) => return error,
                None if Instant::now() > until => return self.died(),
                None => std::thread::sleep(LOOK),
            }
        }
    }

    /// The writer has gone, and the reader says nothing of it.
    fn died(&self) -> Error {
        Error::Lost { peer: self.parts.name.clone(), how: Loss::Died }
    }

    /// Tells the peer that this side stopped, and why. Best effort; does not wait.
    pub fn abort(mut self, reason: Reason, detail: Detail) {
        self.tell(reason, &detail);
    }

    /// Queues the ABORT and bounds the time it may take to get out.
    pub(super) fn tell(&mut self, reason: Reason, detail: &Detail) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let ending = ending(reason, detail);
        let frame: Bytes = pieces(Kind::Abort, &ending.payload).next().unwrap_or_default();
        let (done, _) = mpsc::sync_channel(1);
        // If the writer is gone, the connection is, and nobody can be told.
        let _ = self.parts.outbox.last(frame, ending.clone(), done);
        self.parts.outbox.hurry(ending);
    }
}

fn ending(reason: Reason, detail: &Detail) -> Farewell {
    Farewell { code: reason.code(), payload: encode_abort(reason, detail) }
}

impl Drop for Link {
    fn drop(&mut self) {
        let reason = match std::thread::panicking() {
            true => Reason::Failed(ExitCode::Internal),
            false => Reason::Dropped,
        };
        self.tell(reason, &Detail::None);
    }
}
