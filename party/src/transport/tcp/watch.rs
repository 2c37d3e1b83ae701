//! Whether a link's socket concerns the network thread just now.
//!
//! A blocking side that waits for bytes reads its socket itself: that saves two changes of thread in each
//! round trip. Meanwhile the network thread must sleep on; afterwards it must listen again, or nobody would
//! notice a peer that goes away. So the socket stands in an epoll instance of its own, and that instance in
//! the network thread's. Any thread may change what the inner one watches for, which wakes nobody by itself.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io;

/// The inner epoll instance, with one socket.
pub(super) struct Watch {
    epoll: OwnedFd,
    wants: Mutex<Wants>,
}

/// What matters.
#[derive(Default)]
struct Wants {
    /// Somebody else reads.
    reader: bool,
    /// There is no room for what would be read.
    full: bool,
    /// Something waits to be written.
    write: bool,
    /// What the system was told. It forgets it (one shot) when it reports.
    told: EventFlags,
    /// Whether the socket is in the instance.
    there: bool,
}

/// What became possible.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    /// Reading, or learning of an end.
    pub(super) read: bool,
    /// Writing.
    pub(super) write: bool,
}

impl Watch {
    /// Watches for nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, wants: Mutex::default() })
    }

    /// Somebody reads on another thread, or no more.
    pub(super) fn reader(
        &self,
        socket: &TcpStream,
        reading: bool,
        full: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        self.change(socket, |wants| (wants.reader, wants.full) = (reading, full()))
    }

    /// Something waits to be written.
    pub(super) fn write(&self, socket: &TcpStream) -> io::Result<()> {
        self.change(socket, |wants| wants.write = true)
    }

    /// What became possible since; `None` if nothing did. [`Watch::again`] must follow.
    pub(super) fn take(&self) -> io::Result<Option<Ready>> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.epoll, &mut events, Some(&now))? == 0 {
            return Ok(None);
        }
        let flags = events[0].flags;
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        wants.told = EventFlags::empty();
        // What is written, or not, from here on decides.
        wants.write &= !flags.contains(EventFlags::OUT);
        Ok(Some(Ready {
            read: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
            write: flags.contains(EventFlags::OUT),
        }))
    }

    /// Watches on after [`Watch::take`]. Whether there is room is asked in here: an older answer could come after a
    /// newer one.
    pub(super) fn again(&self, socket: &TcpStream, full: impl FnOnce() -> bool) -> io::Result<()> {
        self.change(socket, |wants| wants.full = full())
    }

    fn change(&self, socket: &TcpStream, change: impl FnOnce(&mut Wants)) -> io::Result<()> {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wants);
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, !wants.reader && !wants.full);
        flags.set(EventFlags::OUT, wants.write);
        if flags == wants.told {
            return Ok(());
        }
        let data = EventData::new_u64(0);
        let shot = flags | EventFlags::ONESHOT;
        match (flags.is_empty(), wants.there) {
            // Even a socket watched for nothing reports its end, again and again: take it out.
            (true, true) => epoll::delete(&self.epoll, socket)?,
            (true, false) => {}
            (false, true) => epoll::modify(&self.epoll, socket, data, shot)?,
            (false, false) => epoll::add(&self.epoll, socket, data, shot)?,
        }
        (wants.told, wants.there) = (flags, !flags.is_empty());
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
