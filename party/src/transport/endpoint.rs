//! This process on the network: one UDP socket, one thread, any number of links.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quinn::{IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::dial::{Caller, Dial};
use super::greet::{Greeter, in_time};
use super::link::Link;
use super::preamble::Role;
use super::pump::{LINGER, Side, alert};
use super::reason::Reason;
use super::tls::{self, Refused};
use super::{Accept, Error, Limits, Result, socket};
use crate::identity::{Fingerprint, Identity};

/// Flow control: what one side may send before the other's QUIC thread has read, in bytes.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A process's place on the network. Dropping it closes every link (after the last words of those already
/// dropped), so keep it until the links are done.
pub struct Endpoint {
    commands: Option<UnboundedSender<Command>>,
    arrivals: Arc<Arrivals>,
    address: SocketAddr,
    mine: Fingerprint,
    thread: Option<JoinHandle<()>>,
}

struct Command {
    dial: Dial,
    addresses: Vec<SocketAddr>,
    reply: mpsc::SyncSender<Result<Link>>,
}

impl Endpoint {
    /// Opens the socket (`listen`, or any port for a process that only dials) and starts the thread.
    ///
    /// # Errors
    /// [`Error::PortInUse`], or [`Error::System`] for anything else the system refuses.
    pub fn bind(
        identity: Arc<Identity>,
        role: Role,
        listen: Option<SocketAddr>,
        accept: Accept,
    ) -> Result<Self> {
        Self::bind_with(identity, role, listen, accept, Limits::default())
    }

    /// [`Endpoint::bind`] with other bounds on time and memory.
    ///
    /// # Errors
    /// As [`Endpoint::bind`].
    pub fn bind_with(
        identity: Arc<Identity>,
        role: Role,
        listen: Option<SocketAddr>,
        accept: Accept,
        limits: Limits,
    ) -> Result<Self> {
        let socket = socket::open(listen)?;
        let address = socket.local_addr().map_err(|e| system("read the socket's address", &e))?;
        let refused = Refused::default();
        let transport = Arc::new(transport(&limits)?);
        let server = match listen {
            Some(_) => Some(server(&identity, accept, refused.clone(), &transport, &limits)?),
            None => None,
        };
        let arrivals = Arc::new(Arrivals::default());
        let (commands, inbox) = unbounded_channel();
        let (ready, started) = mpsc::sync_channel(1);
        let mine = identity.fingerprint();
        let greeter = Greeter { role, limits, writers: Arc::new(()) };
        let at_door = Door { greeter: greeter.clone(), arrivals: arrivals.clone(), refused };
        let thread = std::thread::Builder::new()
            .name("twoply-quic".into())
            .spawn(move || {
                let config = quinn::EndpointConfig::default();
                let make = move || quinn::Endpoint::new(config, server, socket, Arc::new(TokioRuntime));
                run(make, &ready, |quinn| Caller { quinn, identity, transport, greeter }, at_door, inbox);
            })
            .map_err(|e| system("start the QUIC thread", &e))?;
        let endpoint = Self { commands: Some(commands), arrivals, address, mine, thread: Some(thread) };
        started.recv().map_err(|_| Error::Shut)??;
        Ok(endpoint)
    }

    /// The address this endpoint listens on; the port is known even if any port was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key this endpoint shows.
    pub fn fingerprint(&self) -> Fingerprint {
        self.mine
    }

    /// The next caller whom the accept list takes. Refused callers are logged and do not end the wait.
    ///
    /// # Errors
    /// After `within`: [`Error::Uninvited`] or [`Error::Unwanted`] when only callers came who were refused or
    /// who refused us, [`Error::Version`] when the last one spoke another version, else
    /// [`Error::NobodyCame`].
    pub fn accept(&self, within: Duration) -> Result<Link> {
        let waited = within.into();
        self.arrivals.next(within)?.map_err(|refusal| match refusal {
            Some(Refusal::Uninvited(found)) => Error::Uninvited { waited, found },
            Some(Refusal::Unwanted) => Error::Unwanted { waited, mine: self.mine },
            Some(Refusal::Foreign(error)) => error,
            None => Error::NobodyCame { waited },
        })
    }

    /// Calls a peer.
    ///
    /// # Errors
    /// [`Error::Address`] or [`Error::Name`] at once; [`Error::Stranger`] or [`Error::Refused`] when either
    /// side's key is not the expected one; [`Error::Version`]; [`Error::Unreachable`] after the deadline.
    pub fn connect(&self, dial: &Dial) -> Result<Link> {
        let start = Instant::now();
        let addresses = dial.resolve()?;
        let (reply, answer) = mpsc::sync_channel(1);
        let left = dial.within.saturating_sub(start.elapsed());
        let command = Command { dial: dial.clone().within(left), addresses, reply };
        self.commands.as_ref().and_then(|commands| commands.send(command).ok()).ok_or(Error::Shut)?;
        // The QUIC thread keeps the deadline; the slack only guards against that thread's death.
        answer.recv_timeout(left + 4 * LINGER).map_err(|_| Error::Shut)?
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn system(what: &'static str, error: &dyn std::error::Error) -> Error {
    Error::System { what, why: error.to_string() }
}

fn transport(limits: &Limits) -> Result<TransportConfig> {
    let idle = IdleTimeout::try_from(limits.idle).map_err(|e| system("set the idle timeout", &e))?;
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits.idle / 4))
        // One stream, opened by the caller.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW));
    Ok(config)
}

fn server(
    identity: &Identity,
    accept: Accept,
    refused: Refused,
    transport: &Arc<TransportConfig>,
    limits: &Limits,
) -> Result<ServerConfig> {
    let crypto = tls::server(identity, accept, refused)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport.clone()).max_incoming(limits.connections);
    Ok(config)
}

/// The QUIC thread.
fn run(
    make: impl FnOnce() -> std::io::Result<quinn::Endpoint>,
    ready: &mpsc::SyncSender<Result<()>>,
    caller: impl FnOnce(quinn::Endpoint) -> Caller,
    door: Door,
    commands: UnboundedReceiver<Command>,
) {
    let arrivals = door.arrivals.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let result = runtime.map_err(|e| system("start the QUIC runtime", &e)).and_then(|runtime| {
        runtime.block_on(async {
            let quinn = make().map_err(|e| system("start QUIC", &e))?;
            // The receiver waits for this and nothing else.
            let _ = ready.send(Ok(()));
            serve(quinn.clone(), Arc::new(caller(quinn)), door, commands).await;
            Ok(())
        })
    });
    if let Err(error) = result {
        let _ = ready.send(Err(error));
    }
    arrivals.close();
}

async fn serve(
    quinn: quinn::Endpoint,
    caller: Arc<Caller>,
    door: Door,
    mut commands: UnboundedReceiver<Command>,
) {
    let writers = door.greeter.writers.clone();
    // Greeter, door, caller and this function hold one each; every writer one more.
    let idle = Arc::strong_count(&writers);
    let listening = tokio::spawn(listen(quinn.clone(), door));
    while let Some(Command { dial, addresses, reply }) = commands.recv().await {
        let caller = caller.clone();
        tokio::spawn(async move {
            // A caller that stopped waiting drops the link, which closes it.
            let _ = reply.send(caller.connect(&dial, &addresses).await);
        });
    }
    let start = Instant::now();
    while Arc::strong_count(&writers) > idle && start.elapsed() < 2 * LINGER {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    listening.abort();
    quinn.close(VarInt::from_u32(Reason::Interrupted.code().into()), &[]);
    // Long enough for the close to leave; a peer that is gone cannot keep us.
    let _ = tokio::time::timeout(LINGER, quinn.wait_idle()).await;
}

/// What the listening task needs.
#[derive(Clone)]
struct Door {
    greeter: Greeter,
    arrivals: Arc<Arrivals>,
    refused: Refused,
}

async fn listen(quinn: quinn::Endpoint, door: Door) {
    while let Some(incoming) = quinn.accept().await {
        if quinn.open_connections() >= door.greeter.limits.connections {
            tracing::warn!("too many connections; a caller was told to come back");
            incoming.refuse();
            continue;
        }
        // Not a clone of the door: it would count as a writer.
        let (greeter, arrivals, refused) =
            (door.greeter.clone(), door.arrivals.clone(), door.refused.clone());
        tokio::spawn(async move { welcome(incoming, greeter, &arrivals, &refused).await });
    }
}

/// One caller, from its first packet to a link or a refusal.
async fn welcome(incoming: Incoming, greeter: Greeter, arrivals: &Arrivals, refused: &Refused) {
    let from = incoming.remote_address();
    let within = greeter.limits.handshake;
    let late = || Error::Silent { peer: from.to_string(), what: "handshake", waited: within.into() };
    let mut refusal = None;
    let greeting = async {
        let lost = |e: quinn::ConnectionError| super::pump::lost(&from.to_string(), &e);
        let conn = match incoming.accept().map_err(lost)?.await {
            Ok(conn) => conn,
            Err(error) => {
                refusal = match alert(&error) {
                    Some((Side::Ours, _)) => tls::take_refused(refused).map(Refusal::Uninvited),
                    Some((Side::Theirs, _)) => Some(Refusal::Unwanted),
                    None => None,
                };
                return Err(lost(error));
            }
        };
        greeter.answer(conn).await
    };
    match in_time(within, greeting, late).await {
        Ok(link) => arrivals.push(link),
        Err(error) => {
            match (&refusal, &error) {
                (Some(Refusal::Uninvited(key)), _) => {
                    tracing::warn!(%from, %key, "refused a caller whose key is not accepted");
                }
                (Some(_), _) => tracing::warn!(%from, "a caller does not accept this machine's key"),
                (None, error) => tracing::warn!(%from, %error, "a caller did not get through"),
            }
            let foreign = matches!(error, Error::Version { .. }).then_some(error).map(Refusal::Foreign);
            arrivals.refused(refusal.or(foreign));
        }
    }
}

/// Why a caller did not become a link, where there is something to be done about it.
enum Refusal {
    /// We do not take its key.
    Uninvited(Fingerprint),
    /// It does not take ours.
    Unwanted,
    /// It speaks another version, as this error says.
    Foreign(Error),
}

/// Links that wait for [`Endpoint::accept`].
#[derive(Default)]
struct Arrivals {
    state: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    links: VecDeque<Link>,
    refusal: Option<Refusal>,
    closed: bool,
}

impl Arrivals {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, link: Link) {
        self.state().links.push_back(link);
        self.came.notify_one();
    }

    fn refused(&self, refusal: Option<Refusal>) {
        let mut state = self.state();
        state.refusal = refusal.or(state.refusal.take());
    }

    fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
    }

    /// The next live link; `Ok(Err(..))` after `within`.
    fn next(&self, within: Duration) -> Result<std::result::Result<Link, Option<Refusal>>> {
        let until = Instant::now() + within;
        let mut state = self.state();
        loop {
            while let Some(link) = state.links.pop_front() {
                if link.is_alive() {
                    state.refusal = None;
                    return Ok(Ok(link));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.closed {
                return Err(Error::Shut);
            }
            if left.is_zero() {
                return Ok(Err(state.refusal.take()));
            }
            state = self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
