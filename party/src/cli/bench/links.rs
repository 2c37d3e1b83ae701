//! `twoply bench --table links`: are emulated links what they are set to?
//!
//! For each link two pairs of endpoints are connected over loopback, one emulated and one not, and measured in turns.
//! A link is as set if its round trip is the setting's within 0.1 ms or 5 %, and its bandwidth the setting's, or the
//! transport's own where that is lower, within 5 %. The transport's own round trip is in the emulated one: it is shown
//! and not subtracted.

use crate::cli::output::{Output, table};
use crate::exit::Failure;
use crate::identity::Identity;
use crate::transport::{Accept, Dial, Endpoint, Limits, Link, Role, Shape, Transport};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use twoply_primitives::Channel;

/// Passes over each pair; the median counts.
const PASSES: usize = 5;
/// Time for the round trips, and for the bytes each way, of a pass over an emulated link.
const PASS: Duration = Duration::from_millis(300);
/// Bytes of a message of a stream.
const MESSAGE: usize = 128 << 10;
/// Most and fewest messages of a stream.
const STREAM: [usize; 2] = [16, 512];
/// Most and fewest round trips of a pass.
const TRIPS: [usize; 2] = [5, 300];
/// How far a round trip may be off: the larger of both.
const OFF: (f64, f64) = (1e-4, 0.05);

/// Options of this table.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// What carries the links; auto measures both
    #[arg(long, value_name = "TRANSPORT", default_value = "auto")]
    transport: Transport,
    /// Only this link; repeat for more [default: all that have a name]
    #[arg(long = "link", value_name = "LINK")]
    pub(super) links: Vec<Shape>,
}

/// One link over one transport. Bandwidths are there and back.
#[derive(Debug, Serialize)]
struct Row {
    transport: &'static str,
    link: String,
    /// The setting.
    rtt_seconds: f64,
    /// The setting; null if there is no limit.
    bits_per_second: Option<u64>,
    /// Measured without emulation.
    own: Measured,
    /// Measured with it.
    emulated: Measured,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Null where nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Verdict {
    rtt_as_set: Option<bool>,
    bandwidth_as_set: Option<bool>,
}

/// Medians.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Measured {
    rtt_seconds: f64,
    /// To the listening side, and from it.
    bits_per_second: [f64; 2],
}

pub(super) fn run(options: &Options, out: &Output) -> Result<(), Failure> {
    let named = || Shape::PRESETS.map(|(_, shape)| shape).to_vec();
    let links = if options.links.is_empty() { named() } else { options.links.clone() };
    let carriers = match options.transport {
        Transport::Auto => vec![Transport::Tcp, Transport::Quic],
        one => vec![one],
    };
    let mut progress = out.progress("links", (links.len() * carriers.len()) as u64);
    let mut rows = vec![];
    for carrier in carriers {
        for &shape in &links {
            rows.push(measure(carrier, shape)?);
            progress.at(rows.len() as u64);
        }
    }
    drop(progress);
    let head = [
        "link",
        "over",
        "rtt set",
        "own",
        "emulated",
        "rate set",
        "own there",
        "own back",
        "emulated there",
        "emulated back",
        "rtt",
        "rate",
    ];
    let lines: Vec<_> =
        std::iter::once(head.map(String::from).to_vec()).chain(rows.iter().map(cells)).collect();
    out.line(table(&lines))?;
    out.line(format_args!(
        "round trips in ms, rates in Mbit/s, medians of {PASSES} passes; both ends are threads of this process"
    ))?;
    #[derive(Serialize)]
    struct Shown {
        links: Vec<Row>,
    }
    out.result_json(&Shown { links: rows })
}

fn cells(row: &Row) -> Vec<String> {
    let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
    let rate = |bits: f64| format!("{:.0}", bits / 1e6);
    let verdict =
        |good: Option<bool>| good.map_or("-", |good| if good { "as set" } else { "OFF" }).to_owned();
    let (own, emulated) = (row.own, row.emulated);
    vec![
        row.link.clone(),
        row.transport.into(),
        ms(row.rtt_seconds),
        ms(own.rtt_seconds),
        ms(emulated.rtt_seconds),
        row.bits_per_second.map_or("-".into(), |bits| rate(bits as f64)),
        rate(own.bits_per_second[0]),
        rate(own.bits_per_second[1]),
        rate(emulated.bits_per_second[0]),
        rate(emulated.bits_per_second[1]),
        verdict(row.verdict.rtt_as_set),
        verdict(row.verdict.bandwidth_as_set),
    ]
}

fn measure(carrier: Transport, shape: Shape) -> Result<Row, Failure> {
    let (mut plain, mut emulated) =
        (Ends::connect(carrier, Shape::default())?, Ends::connect(carrier, shape)?);
    let (mut own, mut with) = (vec![], vec![]);
    for _ in 0..PASSES {
        own.push(plain.pass(Shape::default())?);
        with.push(emulated.pass(shape)?);
    }
    let (own, emulated) = (median(&own), median(&with));
    Ok(Row {
        transport: if carrier == Transport::Quic { "quic" } else { "tcp" },
        link: shape.name().map_or_else(|| shape.to_string(), str::to_owned),
        rtt_seconds: shape.rtt.as_secs_f64(),
        bits_per_second: shape.bits_per_second,
        own,
        emulated,
        verdict: verdict(shape, own, emulated),
    })
}

/// Whether round trip and bandwidth are what was set.
fn verdict(shape: Shape, own: Measured, emulated: Measured) -> Verdict {
    if shape.is_nothing() {
        return Verdict { rtt_as_set: None, bandwidth_as_set: None };
    }
    let set = shape.rtt.as_secs_f64();
    let rtt = (emulated.rtt_seconds - set).abs() <= OFF.0.max(OFF.1 * set);
    let near = |way: usize| {
        let possible = own.bits_per_second[way];
        let wanted = shape.bits_per_second.map_or(possible, |set| possible.min(set as f64));
        (emulated.bits_per_second[way] - wanted).abs() <= OFF.1 * wanted
    };
    Verdict { rtt_as_set: Some(rtt), bandwidth_as_set: Some(near(0) && near(1)) }
}

/// The median of each figure.
fn median(passes: &[Measured]) -> Measured {
    let middle = |figure: &dyn Fn(&Measured) -> f64| {
        let mut all: Vec<f64> = passes.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Measured {
        rtt_seconds: middle(&|pass| pass.rtt_seconds),
        bits_per_second: [0, 1].map(|way| middle(&|pass| pass.bits_per_second[way])),
    }
}

/// Both ends of a link, and what must outlive them.
struct Ends {
    links: [Link; 2],
    _endpoints: [Endpoint; 2],
}

impl Ends {
    fn connect(carrier: Transport, link: Shape) -> Result<Self, Failure> {
        let (mine, theirs) = (Arc::new(Identity::ephemeral()?), Arc::new(Identity::ephemeral()?));
        let limits = Limits { link, ..Limits::default() };
        let accept = Accept::these([mine.fingerprint()]);
        let here = Some(([127, 0, 0, 1], 0).into());
        let listener = Endpoint::bind_with(theirs, Role::P1, here, accept, limits.clone())?;
        let caller = Endpoint::bind_with(mine, Role::P0, None, Accept::nobody(), limits)?;
        let dial = Dial::new(listener.address().to_string(), listener.fingerprint()).over(carrier);
        let zero = caller.connect(&dial)?;
        let one = listener.accept(dial.within)?;
        Ok(Self { links: [zero, one], _endpoints: [caller, listener] })
    }

    fn pass(&mut self, shape: Shape) -> Result<Measured, Failure> {
        let [zero, one] = &mut self.links;
        let trips = (PASS.as_secs_f64() / shape.rtt.as_secs_f64().max(1e-6)) as usize;
        let rtt = round_trip(zero, one, trips.clamp(TRIPS[0], TRIPS[1]))?;
        let rate = shape.bits_per_second.unwrap_or(u64::MAX) as f64;
        let messages = (PASS.as_secs_f64() * rate / 8.0) as usize / MESSAGE;
        let messages = messages.clamp(STREAM[0], STREAM[1]);
        let there = bandwidth(zero, one, messages)?;
        Ok(Measured { rtt_seconds: rtt, bits_per_second: [there, bandwidth(one, zero, messages)?] })
    }
}

/// Median seconds of a byte's way there and back.
fn round_trip(zero: &mut Link, one: &mut Link, trips: usize) -> Result<f64, Failure> {
    let echo = |link: &mut Link| -> Result<(), Failure> {
        for _ in 0..trips {
            let byte = link.recv(1)?;
            link.send(&byte)?;
        }
        Ok(())
    };
    let mut times = Vec::with_capacity(trips);
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || echo(one));
        for _ in 0..trips {
            let start = Instant::now();
            zero.send(&[1])?;
            zero.recv(1)?;
            times.push(start.elapsed().as_secs_f64());
        }
        join(echo)
    })?;
    times.sort_by(f64::total_cmp);
    Ok(times[trips / 2])
}

/// Bits per second from the end of the first message to the end of the last, by the receiver's clock.
fn bandwidth(from: &mut Link, to: &mut Link, messages: usize) -> Result<f64, Failure> {
    let bytes = vec![7; MESSAGE];
    let seconds = std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<(), Failure> {
            for _ in 0..messages {
                from.send(&bytes)?;
            }
            // Queues of one direction must be empty before the other one is measured.
            from.recv(1)?;
            Ok(())
        });
        to.recv(MESSAGE)?;
        let start = Instant::now();
        for _ in 1..messages {
            to.recv(MESSAGE)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        to.send(&[1])?;
        join(sending)?;
        Ok::<_, Failure>(seconds)
    })?;
    Ok(((messages - 1) * MESSAGE * 8) as f64 / seconds)
}

/// The other end's result.
fn join(thread: std::thread::ScopedJoinHandle<'_, Result<(), Failure>>) -> Result<(), Failure> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_as_set_within_its_tolerance_and_up_to_the_transport_s_own_bandwidth() {
        let own = Measured { rtt_seconds: 3e-5, bits_per_second: [8e9, 9e9] };
        let found = |rtt_seconds, there, back| Measured { rtt_seconds, bits_per_second: [there, back] };
        let cases = [
            ("dc", found(2.9e-4, 8e9, 9e9), (true, true)),
            ("dc", found(3.1e-4, 8e9, 8.5e9), (false, false)),
            ("dc", found(0.9e-4, 7.5e9, 9e9), (false, false)),
            ("lan", found(3.9e-4, 3.1e9, 2.9e9), (true, true)),
            ("lan", found(3.9e-4, 3.2e9, 3e9), (true, false)),
            ("wan", found(0.0419, 4e8, 4e8), (true, true)),
            ("wan", found(0.0421, 4e8, 3.7e8), (false, false)),
        ];
        for (link, emulated, (rtt, bandwidth)) in cases {
            let wanted = Verdict { rtt_as_set: Some(rtt), bandwidth_as_set: Some(bandwidth) };
            assert_eq!(verdict(link.parse().unwrap(), own, emulated), wanted, "{link} {emulated:?}");
        }
        let nothing = Verdict { rtt_as_set: None, bandwidth_as_set: None };
        assert_eq!(verdict(Shape::default(), own, own), nothing);
    }

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let pass = |rtt_seconds, there, back| Measured { rtt_seconds, bits_per_second: [there, back] };
        let all = [pass(3.0, 1.0, 9.0), pass(1.0, 2.0, 7.0), pass(2.0, 3.0, 8.0)];
        assert_eq!(median(&all), pass(2.0, 2.0, 8.0));
    }
}
