//! Requests one after the other: answers are shown as they come, a lost party is called again, and what was answered is
//! kept whatever happens.

use super::super::output::{Output, Progress};
use super::super::stop::Stop;
use super::answer;
use crate::client::{Client, Parties};
use crate::exit::{ExitCode, Failure, Phase};
use crate::report::Report;
use crate::seen::Seen;
use crate::transport::Error;
use serde::Serialize;
use std::time::{Duration, Instant};
use twoply_nn::program::RangeAudit;
use twoply_nn::roles::Answer;
use twoply_nn::{Meaning, Plan};
use twoply_primitives::Ring;

/// Pause before a request is sent again; doubled each time, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(16);

/// How long the parties may take to tell each other of new keys or weights.
const NEWS: Duration = Duration::from_secs(5);

/// How often they are asked meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// How to ask.
pub(super) struct Batches<'a> {
    pub plan: &'a Plan,
    /// Images per request.
    pub batch: usize,
    /// How often a request is sent again.
    pub retry: u32,
    /// Calls both parties.
    pub connect: &'a dyn Fn() -> Result<Parties, Failure>,
    /// What ends it.
    pub stop: &'a Stop,
}

/// What came of it.
pub(super) struct Done {
    pub answer: Answer,
    pub audit: RangeAudit,
    /// Seconds of every request that was answered, and of these from the masked input's departure on.
    pub requests: Vec<f64>,
    pub answers: Vec<f64>,
    /// Why it broke off, if it did.
    pub failure: Option<Failure>,
}

impl Done {
    /// Images answered.
    pub fn images(&self) -> usize {
        match &self.answer {
            Answer::Logits(rows) => rows.len(),
            Answer::Labels(labels) => labels.len(),
        }
    }
    fn add(&mut self, more: Answer) {
        match (&mut self.answer, more) {
            (Answer::Logits(all), Answer::Logits(more)) => all.extend(more),
            (Answer::Labels(all), Answer::Labels(more)) => all.extend(more),
            (all, more) => *all = more, // the first one says which it is
        }
    }
}

impl Batches<'_> {
    /// Asks for all images.
    ///
    /// # Errors
    /// What keeps it from asking at all: 8 when there are not keys enough for all of them.
    pub fn run<R: Ring>(
        &self,
        (parties, seen): (Parties, Seen),
        values: &[f32],
        sink: &mut Sink<'_>,
    ) -> Result<Done, Failure> {
        let row = self.plan.graph.input.row();
        let images = values.len() / row;
        let mut client = Client::<R>::new(self.plan.clone(), parties, seen)?;
        if images > self.batch {
            self.persist(&mut client, sink.out, |client| enough(client, images as u64))?;
        }
        let (answer, audit) = (Answer::Logits(vec![]), RangeAudit::default());
        let mut done = Done { answer, audit, requests: vec![], answers: vec![], failure: None };
        sink.begin(images);
        for part in values.chunks(row * self.batch) {
            match self.persist(&mut client, sink.out, |client| client.infer(part)) {
                Ok((answer, audit)) => {
                    done.requests.extend(client.online.pop());
                    done.answers.extend(client.answered.pop());
                    sink.show(done.images(), &answer)?;
                    done.audit.extend(audit);
                    done.add(answer);
                }
                Err(failure) => {
                    done.failure = Some(failure);
                    return Ok(done);
                }
            }
        }
        client.close();
        Ok(done)
    }

    /// One request, sent again as often as allowed.
    fn persist<R: Ring, T>(
        &self,
        client: &mut Client<R>,
        out: &Output,
        mut ask: impl FnMut(&mut Client<R>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // why the parties could not be called again; the old links are dead
        let (mut pause, mut away) = (PAUSE, None);
        for left in (0..=self.retry).rev() {
            let failure = match away.take().map_or_else(|| ask(client), Err) {
                Ok(answered) => return Ok(answered),
                Err(failure) if left == 0 || self.stop.asked() || !passing(&failure) => return Err(failure),
                Err(failure) => failure,
            };
            out.note(format_args!(
                "{}; trying again in {} s, {left} more times",
                failure.content().what,
                pause.as_secs()
            ));
            self.stop.pause(pause);
            if self.stop.asked() {
                return Err(Error::Stopped.into());
            }
            pause = (2 * pause).min(LONGEST);
            match (self.connect)() {
                Ok(parties) => client.reconnected(parties),
                Err(failure) => away = Some(failure),
            }
        }
        Err(Failure::new(ExitCode::Internal, "no request was sent"))
    }
}

/// Whether it may be better next time: a party that is away, or was lost.
fn passing(failure: &Failure) -> bool {
    matches!(failure.code(), ExitCode::Unreachable | ExitCode::PeerFailed)
}

/// Whether the parties have keys for so many images; what they have may still be on its way between them.
fn enough<R: Ring>(client: &mut Client<R>, images: u64) -> Result<(), Failure> {
    let until = Instant::now() + NEWS;
    loop {
        let left = client.stock()?;
        if left >= images {
            return Ok(());
        }
        if Instant::now() >= until {
            let what = format!("{images} images are asked for, the parties have keys and weights for {left}");
            return Err(Failure::new(ExitCode::KeysMissing, what).during(Phase::Reserve).remedy(format!(
                "ask for at most {left} (--limit), or have more keys dealt and provisioned (`twoply provision`)"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

/// Where answers go, and in which form.
pub(super) struct Sink<'a> {
    out: &'a Output,
    output: &'a Meaning,
    /// A line of JSON for each image.
    stream: bool,
    /// Number of the first image.
    first: usize,
    /// Files of the images of a folder.
    names: Option<&'a [String]>,
    progress: Option<Progress>,
}

/// One image of a stream.
#[derive(Serialize)]
struct Line<'a> {
    image: usize,
    name: Option<&'a str>,
    label: Option<usize>,
    logits: Option<&'a [f64]>,
}

/// The end of a stream.
#[derive(Serialize)]
struct Last<'a> {
    report: &'a Report,
}

impl<'a> Sink<'a> {
    pub fn new(
        out: &'a Output,
        output: &'a Meaning,
        (stream, first): (bool, usize),
        names: Option<&'a [String]>,
    ) -> Self {
        Sink { out, output, stream, first, names, progress: None }
    }
    /// The names of images behind `before` others.
    fn names(&self, before: usize, count: usize) -> Option<&'a [String]> {
        self.names.and_then(|names| names.get(before..before + count))
    }
    fn begin(&mut self, images: usize) {
        self.progress = Some(self.out.progress("images", images as u64));
    }
    /// Some images that follow on `before` others.
    fn show(&mut self, before: usize, answer: &Answer) -> Result<(), Failure> {
        if before == 0
            && let Some(words) = answer::words(self.output, answer)
        {
            self.out.note(words);
        }
        let mut lines = answer::lines(self.output, answer);
        let names = self.names(before, lines.len());
        answer::name(&mut lines, names);
        if let Some(progress) = &mut self.progress {
            progress.at((before + lines.len()) as u64);
        }
        lines.iter().try_for_each(|line| self.out.line(line))?;
        if !self.stream {
            return Ok(());
        }
        let labels = self.output.labels(answer);
        for i in 0..lines.len() {
            let logits = match answer {
                Answer::Logits(rows) => Some(&rows[i][..]),
                Answer::Labels(_) => None,
            };
            let label = labels.as_ref().map(|l| l[i]);
            let name = names.map(|names| names[i].as_str());
            self.out.json_line(&Line { image: self.first + before + i, name, label, logits })?;
        }
        Ok(())
    }
    /// All that was answered: one object, or the last line of a stream.
    pub fn end(&mut self, report: &Report, answer: &Answer) -> Result<(), Failure> {
        self.progress = None;
        match self.stream {
            true => self.out.json_line(&Last { report }),
            false => {
                let names = self.names(0, report.images as usize);
                self.out.result_json(&answer::Shown { names, ..answer::shown(report, self.output, answer) })
            }
        }
    }
}
