//! Both transports against plain TCP with the same bytes, over loopback: a table in Markdown.
//!
//! `cargo bench -p twoply-party --bench transport [-- quic tcp plain] [--rounds N]`; `--test` runs everything once.
//! Both ends are threads of this process, so its CPU time is the price of a transfer for both.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use twoply_party::identity::Identity;
use twoply_party::transport::{Accept, Dial, Endpoint, Link, Role, Transport};
use twoply_primitives::{Channel, Result};

const MB: usize = 1 << 20;
/// Pieces in which a gate's message leaves.
const PIECE: usize = 32 << 10;

/// Messages over plain TCP: the same headers, no TLS, no thread, no limit, no sign of life.
struct Plain(TcpStream);

impl Channel for Plain {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut head = [0; 5];
        head[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        // Small messages in one call, as a careful program would.
        if bytes.len() <= PIECE {
            self.0.write_all(&[&head, bytes].concat()).expect("written");
        } else {
            self.0.write_all(&head).expect("written");
            self.0.write_all(bytes).expect("written");
        }
        Ok(())
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).expect("read");
        assert_eq!(head[..4], (len as u32).to_le_bytes());
        let mut payload = Vec::with_capacity(len);
        (&self.0).take(len as u64).read_to_end(&mut payload).expect("read");
        Ok(payload)
    }
}

/// One end.
enum End {
    Plain(Plain),
    Link(Box<Link>),
}

impl End {
    fn channel(&mut self) -> &mut dyn Channel {
        match self {
            End::Plain(plain) => plain,
            End::Link(link) => link.as_mut(),
        }
    }
    fn send(&mut self, bytes: &[u8]) {
        self.channel().send(bytes).expect("sent");
    }
    fn recv(&mut self, len: usize) -> Vec<u8> {
        self.channel().recv(len).expect("received")
    }
    /// Sends and receives at once. A link's `send` does not wait for the peer; a plain socket's does.
    fn exchange(&mut self, bytes: &[u8]) {
        if let End::Plain(plain) = self {
            let mut twin = Plain(plain.0.try_clone().expect("a handle"));
            std::thread::scope(|scope| {
                scope.spawn(move || twin.send(bytes).expect("sent"));
                plain.recv(bytes.len()).expect("received");
            });
        } else {
            self.send(bytes);
            self.recv(bytes.len());
        }
    }
}

/// A connected pair, and what must outlive it.
fn pair(name: &str) -> ([End; 2], Vec<Endpoint>) {
    let via = match name {
        "quic" => Transport::Quic,
        "tcp" => Transport::Tcp,
        _ => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
            let zero = TcpStream::connect(listener.local_addr().expect("an address")).expect("a peer");
            let one = listener.accept().expect("a caller").0;
            for stream in [&zero, &one] {
                stream.set_nodelay(true).expect("no delay");
            }
            return ([End::Plain(Plain(zero)), End::Plain(Plain(one))], vec![]);
        }
    };
    let identity = || Arc::new(Identity::ephemeral().expect("a key"));
    let (mine, theirs) = (identity(), identity());
    let accept = Accept::these([mine.fingerprint()]);
    let listen = Some(([127, 0, 0, 1], 0).into());
    let listener = Endpoint::bind(theirs, Role::P1, listen, accept).expect("a listener");
    let caller = Endpoint::bind(mine, Role::P0, None, Accept::nobody()).expect("a caller");
    let dial = Dial::new(listener.address().to_string(), listener.fingerprint()).over(via);
    let zero = caller.connect(&dial).expect("a link");
    let one = listener.accept(Duration::from_secs(10)).expect("a link");
    ([End::Link(Box::new(zero)), End::Link(Box::new(one))], vec![caller, listener])
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Median seconds of `rounds` passes of `zero`'s and `one`'s part, and CPU seconds of one.
fn time(
    ends: &mut [End; 2],
    rounds: usize,
    zero: impl Fn(&mut End),
    one: impl Fn(&mut End) + Send,
) -> (f64, f64) {
    let [a, b] = ends;
    let mut times = Vec::with_capacity(rounds);
    let mut spent = Duration::ZERO;
    // The first pass warms up.
    let passes = rounds + rounds.div_ceil(10);
    std::thread::scope(|scope| {
        scope.spawn(move || (0..passes).for_each(|_| one(b)));
        for pass in 0..passes {
            let (start, before) = (Instant::now(), cpu());
            zero(a);
            if pass >= passes - rounds {
                times.push(start.elapsed().as_secs_f64());
                spent += cpu() - before;
            }
        }
    });
    times.sort_by(f64::total_cmp);
    (times[rounds / 2], spent.as_secs_f64() / rounds as f64)
}

/// One transport's row.
fn row(name: &str, rounds: usize) {
    let (mut ends, endpoints) = pair(name);
    let trip = |ends: &mut [End; 2], length: usize| {
        let bytes = vec![7; length];
        let ping = |end: &mut End| {
            end.send(&bytes);
            end.recv(length);
        };
        let pong = |end: &mut End| {
            let bytes = end.recv(length);
            end.send(&bytes);
        };
        let (seconds, spent) = time(ends, 50 * rounds, ping, pong);
        (seconds * 1e6, spent * 1e6)
    };
    let way = |ends: &mut [End; 2], whole: usize, piece: usize, rounds: usize| {
        let bytes = vec![7; piece];
        let send = |end: &mut End| {
            (0..whole / piece).for_each(|_| end.send(&bytes));
            end.recv(1);
        };
        let recv = |end: &mut End| {
            (0..whole / piece).for_each(|_| drop(end.recv(piece)));
            end.send(&[1]);
        };
        time(ends, rounds, send, recv)
    };
    let (byte, _) = trip(&mut ends, 1);
    let (kilo, kilo_cpu) = trip(&mut ends, 8 << 10);
    let (one, _) = way(&mut ends, MB, MB, 5 * rounds);
    let (pieces, pieces_cpu) = way(&mut ends, 32 * MB, PIECE, rounds.div_ceil(4));
    let (big, big_cpu) = way(&mut ends, 64 * MB, 64 * MB, rounds.div_ceil(4));
    let bytes = vec![7; 64 * MB];
    let swap = |end: &mut End| end.exchange(&bytes);
    let (both, both_cpu) = time(&mut ends, rounds.div_ceil(4), swap, swap);
    println!(
        "| {name} | {byte:.1} | {kilo:.1} | {kilo_cpu:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} |",
        one * 1e3,
        pieces * 1e3,
        big * 1e3,
        both * 1e3,
        pieces_cpu / (32.0 / 1024.0),
        big_cpu / (64.0 / 1024.0),
        both_cpu / (128.0 / 1024.0),
    );
    drop(ends);
    drop(endpoints);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let test = args.iter().any(|arg| arg == "--test");
    let given = args.iter().position(|arg| arg == "--rounds").and_then(|at| args.get(at + 1)?.parse().ok());
    let rounds = if test { 1 } else { given.unwrap_or(40) };
    let names = ["plain", "tcp", "quic"];
    let chosen = |name: &str| args.iter().any(|arg| arg == name);
    println!(
        "| over | 1 B there and back, us | 8 KB, us | CPU us | 1 MB one way, ms | 32 MB in 32 KB pieces, ms \
         | 64 MB one way, ms | 64 MB both ways, ms | CPU s/GB in pieces | one way | both ways |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for name in names {
        if chosen(name) || !names.iter().any(|name| chosen(name)) {
            row(name, rounds);
        }
    }
}
