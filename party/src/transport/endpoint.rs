//! This process on the network: one port, over UDP and TCP; one thread; any number of links.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quinn::{TokioRuntime, VarInt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::dial::{Caller, Dial};
use super::door::{Arrivals, Door, Refusal};
use super::greet::Greeter;
use super::guests::Guests;
use super::link::Link;
use super::preamble::Role;
use super::reason::Reason;
use super::refusals::EVERY;
use super::tls::{self, Refused};
use super::{Accept, Error, LINGER, Limits, Result, quic, socket, tcp};
use crate::identity::{Fingerprint, Identity};

/// How often an endpoint that goes looks whether the last words have left.
const LOOK: Duration = Duration::from_millis(5);

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
        let (udp, tcp) = socket::open(listen)?;
        let address = udp.local_addr().map_err(|e| system("read the socket's address", &e))?;
        let (refused, arrivals) = (Refused::default(), Arc::new(Arrivals::default()));
        let transport = Arc::new(quic::transport(&limits)?);
        let (close, closing) = watch::channel(false);
        let (mut server, mut listener) = (None, None);
        if let Some(tcp) = tcp {
            server = Some(quic::server(&identity, accept.clone(), refused.clone(), &limits)?);
            let config = Arc::new(tls::server(&identity, accept, refused.clone())?);
            listener = Some((tcp, tcp::Server { config, closing: closing.clone() }));
        }
        let mine = identity.fingerprint();
        let greeter = Greeter { role, limits, writers: Arc::new(()) };
        let guests = Guests::new(greeter.limits.clone());
        let refusals = Arc::default();
        let door = Door { greeter: greeter.clone(), arrivals: arrivals.clone(), refused, guests, refusals };
        let (commands, inbox) = unbounded_channel();
        let (ready, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("twoply-net".into())
            .spawn(move || {
                let reset = quic::endpoint_config(&identity);
                let begin = Begin { udp, reset, server, listener, door, commands: inbox, close };
                run(begin, &ready, |quinn| Caller { quinn, identity, transport, greeter, closing });
            })
            .map_err(|e| system("start the network thread", &e))?;
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
        // The network thread keeps the deadline, alone: after a suspension of the process a clock here could be
        // the first to find it passed. If that thread dies, the other end of the channel dies with it.
        answer.recv().map_err(|_| Error::Shut)?
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

/// What the network thread begins with.
struct Begin {
    udp: UdpSocket,
    reset: quinn::EndpointConfig,
    server: Option<quinn::ServerConfig>,
    listener: Option<(TcpListener, tcp::Server)>,
    door: Door,
    commands: UnboundedReceiver<Command>,
    /// Told when the endpoint goes.
    close: watch::Sender<bool>,
}

/// The network thread.
fn run(begin: Begin, ready: &mpsc::SyncSender<Result<()>>, caller: impl FnOnce(quinn::Endpoint) -> Caller) {
    let arrivals = begin.door.arrivals.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let result = runtime.map_err(|e| system("start the network runtime", &e)).and_then(|runtime| {
        runtime.block_on(async {
            let Begin { udp, reset, server, listener, door, commands, close } = begin;
            let quinn = quinn::Endpoint::new(reset, server, udp, Arc::new(TokioRuntime))
                .map_err(|e| system("start QUIC", &e))?;
            let listener = listener
                .map(|(listener, server)| Ok((tokio::net::TcpListener::from_std(listener)?, server)))
                .transpose()
                .map_err(|e: std::io::Error| system("listen over TCP", &e))?;
            // The receiver waits for this and nothing else.
            let _ = ready.send(Ok(()));
            let caller = Arc::new(caller(quinn.clone()));
            serve(quinn, listener, caller, door, commands, close).await;
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
    listener: Option<(tokio::net::TcpListener, tcp::Server)>,
    caller: Arc<Caller>,
    door: Door,
    mut commands: UnboundedReceiver<Command>,
    close: watch::Sender<bool>,
) {
    let (writers, door) = (door.greeter.writers.clone(), Arc::new(door));
    // Greeter, door, caller and this function hold one each; every writer one more.
    let idle = Arc::strong_count(&writers);
    let (here, at) = (door.clone(), quinn.clone());
    let refusals = door.refusals.clone();
    let mut listening = vec![tokio::spawn(async move { here.listen_quic(at).await })];
    if let Some((listener, server)) = listener {
        let said = refusals.clone();
        listening.push(tokio::spawn(async move { door.listen_tcp(listener, server).await }));
        listening.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                said.log(EVERY);
            }
        }));
    }
    while let Some(Command { dial, addresses, reply }) = commands.recv().await {
        let caller = caller.clone();
        tokio::spawn(async move {
            // A caller that stopped waiting drops the link, which closes it.
            let _ = reply.send(caller.connect(&dial, &addresses).await);
        });
    }
    let idling = || async {
        let start = Instant::now();
        while Arc::strong_count(&writers) > idle && start.elapsed() < 2 * LINGER {
            tokio::time::sleep(LOOK).await;
        }
    };
    idling().await;
    listening.iter().for_each(tokio::task::JoinHandle::abort);
    refusals.log(Duration::ZERO);
    quinn.close(VarInt::from_u32(Reason::Interrupted.code().into()), &[]);
    // Long enough for the goodbyes to leave; a peer that is gone cannot keep us.
    let _ = close.send(true);
    idling().await;
    let _ = tokio::time::timeout(LINGER, quinn.wait_idle()).await;
}
