//! What can go wrong with keys on disk. Every message names the file, the cause and the remedy.

mod blame;

pub use blame::Blame;

use crate::run::{CheckpointId, Holder, RunId};
use crate::set::PlanDigest;
use crate::trained::Trained;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use twoply_primitives::{KeySetId, PartyId};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What to do about keys that are damaged or cut short, wherever that is noticed: nobody keeps them to make them again.
pub const DAMAGED: &str = "these keys are lost: deal a new key set and start both parties with it";

/// Errors of key files, ledgers and their folders.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation.
    #[error("{path}: cannot {op}: {source}; check that the folder exists and that this user owns it")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The device has no room for a key file.
    #[error("{path}: no space left; this file needs {need} bytes; free space or choose another folder")]
    DiskFull {
        /// File being written.
        path: PathBuf,
        /// Its full length in bytes.
        need: u64,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}; nothing was dealt")]
    Randomness(String),
    /// A secret file that others may read.
    #[error("{path}: mode {mode:04o} lets others read these keys; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key file at all.
    #[error("{path}: not a twoply key file; {}", DAMAGED)]
    NotKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// A format this program does not know.
    #[error(
        "{path}: format version {found}, this program reads {known}; use the twoply release that dealt it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// The other party's half.
    #[error("{path}: holds the keys of {found}, this is {wanted}; were the two halves swapped?")]
    WrongParty {
        /// The file.
        path: PathBuf,
        /// Party that reads.
        wanted: PartyId,
        /// Party of the file.
        found: PartyId,
    },
    /// A file of another key set.
    #[error("{path}: belongs to key set {found}, not {wanted}; move it back to its own folder")]
    WrongKeySet {
        /// The file.
        path: PathBuf,
        /// Key set of the folder.
        wanted: KeySetId,
        /// Key set of the file.
        found: KeySetId,
    },
    /// Keys dealt for another network, shape or setting.
    #[error("{path}: dealt for plan {found}, this run needs plan {wanted}; deal keys for this plan")]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// Plan of the run.
        wanted: PlanDigest,
        /// Plan of the file.
        found: PlanDigest,
    },
    /// A file under the name of another segment.
    #[error("{path}: holds segment {found}, not {wanted}; give the file its own name back")]
    WrongSegment {
        /// The file.
        path: PathBuf,
        /// Segment of the name.
        wanted: u32,
        /// Segment of the file.
        found: u32,
    },
    /// A file that is shorter or longer than the plan says.
    #[error("{path}: {found} bytes, the plan says {wanted}; {}", DAMAGED)]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that follow from the plan.
        wanted: u64,
        /// Bytes found.
        found: u64,
    },
    /// Bytes that do not match their digest.
    #[error("{path}: {what} is corrupt; {}", DAMAGED)]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The damaged part.
        what: String,
    },
    /// Keys from a fixed seed, in a program that was not told to accept them.
    #[error("{path}: dealt from --insecure-test-seed and worth nothing as a secret; deal without it")]
    InsecureSeed {
        /// The file.
        path: PathBuf,
    },
    /// A file or key set that is not there.
    #[error("{path}: {what} is missing; {remedy}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What it is.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file or folder that is in the way.
    #[error("{path}: exists already; choose another folder, or resume the deal that made it")]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A plan whose key files cannot exist.
    #[error("the layout of {images} images is impossible: {why}")]
    Layout {
        /// Images asked for.
        images: u64,
        /// What overflows or is empty.
        why: &'static str,
    },
    /// A dealer that puts tiles in another order, or of another length, than its own plan says.
    #[error("{path}: the dealer left its plan: wanted {wanted}, got {found}")]
    Order {
        /// File being written.
        path: PathBuf,
        /// What the plan says.
        wanted: String,
        /// What came.
        found: String,
    },
    /// Images that are spent.
    #[error("images from {from} are spent (next unspent: {next}); a key is used once")]
    Spent {
        /// First image asked for.
        from: u64,
        /// First unspent image.
        next: u64,
    },
    /// Too few images.
    #[error("{wanted} images asked for, {left} left; deal more keys")]
    Short {
        /// Images asked for.
        wanted: u64,
        /// Images left.
        left: u64,
    },
    /// Another process works on the same file.
    #[error("{path}: in use by another process; stop it, or give each party a folder of its own")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A ledger that cannot be trusted.
    #[error("{path}: ledger record {record} {why}; {remedy}")]
    LedgerCorrupt {
        /// The ledger.
        path: PathBuf,
        /// Record number, from 0.
        record: u64,
        /// What is wrong with it.
        why: &'static str,
        /// What is lost, and what to do.
        remedy: &'static str,
    },
    /// A ledger after a failed write: what is durable is not known until it is opened again.
    #[error("{path}: an earlier write failed; restart this party (what is in doubt will be skipped)")]
    LedgerFailed {
        /// The ledger.
        path: PathBuf,
    },
    /// An owner's record that cannot be trusted.
    #[error(
        "{path}: {why}; restore the file: without it something might be masked twice. With a new deal it may be moved away"
    )]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The mask already covers other weights.
    #[error("{path}: the weight mask is already bound to other weights; deal a new key set")]
    WeightsBound {
        /// The ledger.
        path: PathBuf,
    },
    /// Keys for other weights than those that are meant.
    #[error("{path}: dealt for {found}, not for {wanted}; name what it was dealt for, or deal a new key set")]
    OtherWeights {
        /// The file.
        path: PathBuf,
        /// What is meant.
        wanted: String,
        /// What the file says.
        found: String,
    },
    /// Trained weights that are not in the folder of runs.
    #[error(
        "{path}: {why}; these keys are for the weights of {trained}: name the folder that this machine trained in, or deal keys for \
         a run that has ended there"
    )]
    NotTrained {
        /// The folder of the run.
        path: PathBuf,
        /// The weights.
        trained: Trained,
        /// What is wrong.
        why: String,
    },
    /// The peer reserved something else.
    #[error(
        "reserved images {ours:?} of {set}, the peer reserved {theirs:?}; reconnect to agree on a cursor"
    )]
    PeerDiffers {
        /// Our key set.
        set: KeySetId,
        /// Our range.
        ours: Range<u64>,
        /// The peer's range.
        theirs: Range<u64>,
    },
    /// A half that was to be erased or begun anew, of which a party has spent images or bound the weight mask.
    #[error("{path}: a party has used these keys, so they stay as they are; deal into another folder")]
    Used {
        /// The folder of the half.
        path: PathBuf,
    },
    /// Erasing something that is still needed.
    #[error("{path}: not erased: {why}")]
    StillNeeded {
        /// The file.
        path: PathBuf,
        /// Who needs it.
        why: &'static str,
    },
    /// A ledger or checkpoint of another role.
    #[error("{path}: kept by {found}, this is {wanted}; give each of them a folder of its own")]
    WrongHolder {
        /// The file.
        path: PathBuf,
        /// Who reads.
        wanted: Holder,
        /// Who wrote it.
        found: Holder,
    },
    /// A ledger or checkpoint of another run.
    #[error("{path}: belongs to run {found}, not {wanted}; move it back to its own folder")]
    WrongRun {
        /// The file.
        path: PathBuf,
        /// Run of the folder.
        wanted: RunId,
        /// Run of the file.
        found: RunId,
    },
    /// A run about something else than this configuration says.
    #[error("{path}: begun with another plan, order, start or data; restore them, or begin a new run")]
    OtherTerms {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint that cannot be used.
    #[error(
        "{path}: {why}; this checkpoint is lost: training goes on from another one that both parties hold"
    )]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint that is not here, or not whole.
    #[error("{path}: the checkpoint of {id} is not here; go on from one that all hold, or begin a new run")]
    NotHeld {
        /// The run's ledger.
        path: PathBuf,
        /// The checkpoint.
        id: CheckpointId,
    },
    /// Parties and dealer who do not speak of the same.
    #[error("run {run}: {what} of the other side differs; compare the configurations and begin again")]
    RunsDiffer {
        /// Our run.
        run: RunId,
        /// What differs.
        what: &'static str,
    },
    /// Two states of one checkpoint.
    #[error(
        "run {run}: the parties computed different states at {id}; it was dropped: go on from the one before"
    )]
    CheckpointsDiffer {
        /// The run.
        run: RunId,
        /// The checkpoint.
        id: CheckpointId,
    },
    /// An attempt that is over, or keys that had another one.
    #[error("attempt {attempt} is over or not this one (highest: {highest}); an attempt is made once")]
    OldAttempt {
        /// Attempt that was named.
        attempt: u32,
        /// Highest attempt known here.
        highest: u32,
    },
    /// Bytes of another attempt or segment.
    #[error("segment {number} of {found} came, segment {segment} of {set} is running; it was dropped")]
    OtherFrame {
        /// Keys of the attempt.
        set: KeySetId,
        /// Segment that runs.
        segment: u32,
        /// Keys that the frame names.
        found: KeySetId,
        /// Segment that the frame names.
        number: u32,
    },
    /// A run that has ended.
    #[error("{path}: the run has ended; begin a new one")]
    RunEnded {
        /// Its ledger.
        path: PathBuf,
    },
    /// A listed reveal beyond its count.
    #[error("{reveal} was delivered {at_most} times, in all attempts; the policy allows no more")]
    RevealSpent {
        /// The reveal.
        reveal: String,
        /// How often it may be delivered.
        at_most: u64,
    },
    /// A step out of its order.
    #[error("out of order: {wanted} comes first")]
    Sequence {
        /// What must come first.
        wanted: &'static str,
    },
    /// Numbers of which there are only so many.
    #[error("{what} are used up: {remedy}")]
    UsedUp {
        /// What they count.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Rows other than those that the mask is bound to.
    #[error("{path}: chunk {chunk} is bound to other rows; these need a new data key set")]
    RowsBound {
        /// The ledger.
        path: PathBuf,
        /// The chunk.
        chunk: u32,
    },
    /// Parties who hold different rows.
    #[error("data set {set}: the parties hold different rows; deal a new data key set")]
    RowsDiffer {
        /// The data key set.
        set: KeySetId,
    },
    /// A data key set that was retired.
    #[error("{path}: the data key set is retired, for ever; deal a new one")]
    Retired {
        /// Its ledger.
        path: PathBuf,
    },
    /// A gate, part or tile that the plan does not have.
    #[error(transparent)]
    Gate(#[from] twoply_primitives::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, op: &'static str, source: io::Error) -> Self {
        Error::Io { path: path.into(), op, source }
    }

    /// An error of writing a file that will have `need` bytes.
    pub(crate) fn writing(path: &Path, need: u64, source: io::Error) -> Self {
        match source.kind() {
            // a file too large is one beyond a limit of this user or this file system
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::DiskFull { path: path.into(), need }
            }
            _ => Error::io(path, "write", source),
        }
    }

    pub(crate) fn other_weights(path: &Path, wanted: Option<Trained>, found: Option<Trained>) -> Self {
        let name = |of: Option<Trained>| {
            of.map_or("weights that are provisioned".into(), |t| format!("the weights of {t}"))
        };
        Error::OtherWeights { path: path.into(), wanted: name(wanted), found: name(found) }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Error::Corrupt { path: path.into(), what: what.into() }
    }
}
