//! What a run that has ended left at a party: the weights under their mask, for inference. Ledger and checkpoint say what they are of,
//! so no plan is needed, and nothing is locked but to note that they are used.

use super::checkpoint::{self, Wanted};
use super::record::{Entry, Expected, History, MISSING, STYLE};
use super::{Holder, Mark};
use crate::book::{Book, FileLog};
use crate::disk::open_private;
use crate::folder::{FileFolder, Folder};
use crate::store::LEDGER;
use crate::trained::Trained;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use twoply_primitives::PartyId;
use zeroize::Zeroizing;

/// The last checkpoint of a run that has ended, at a party, every byte verified.
#[derive(Debug)]
pub struct Ended {
    dir: PathBuf,
    party: PartyId,
    trained: Trained,
    mark: Mark,
}

/// A party's half of trained weights.
pub struct EndedWeights {
    /// Under their mask, packed, in order: both parties have the same.
    pub values: Vec<u8>,
    /// This party's share of that mask.
    pub share: Zeroizing<Vec<u8>>,
}

impl Ended {
    /// Finds these weights below `root`, a folder of runs.
    ///
    /// # Errors
    /// [`Error::NotTrained`] where the run is not there, has not ended, ended elsewhere, or lacks the checkpoint;
    /// [`Error::WrongHolder`] for a folder of another role.
    pub fn find(root: &Path, party: PartyId, trained: Trained) -> Result<Ended> {
        let dir = super::journal::dir(root, trained.run);
        let history = history(&dir, party, trained)?;
        let refuse = |why: String| Error::NotTrained { path: dir.clone(), trained, why };
        match history.end() {
            None => return Err(refuse("the run has not ended".into())),
            Some(end) if end != trained.at => return Err(refuse(format!("the run ended with {end}"))),
            Some(_) => {}
        }
        let recorded = history.checkpoints().find(|(id, _)| *id == trained.at).map(|(_, digest)| digest);
        let file = dir.join(checkpoint::name(trained.at));
        let digest =
            recorded.filter(|_| file.exists()).ok_or_else(|| refuse("that checkpoint is not here".into()))?;
        let ended = Ended { dir, party, trained, mark: Mark { id: trained.at, digest } };
        ended.read(&history, |_, _| {})?;
        Ok(ended)
    }

    /// The checkpoint with the digest of its public part, for the peer alone.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Reads the weights again; velocities and accumulators are passed over.
    pub fn weights(&self) -> Result<EndedWeights> {
        let len = self.trained.bytes as usize;
        // of full length at once: a buffer that grows leaves its old bytes behind
        let mut of = EndedWeights { values: vec![], share: Zeroizing::new(Vec::with_capacity(len)) };
        self.read(&history(&self.dir, self.party, self.trained)?, |part, bytes| match part {
            0 => of.values.extend_from_slice(bytes),
            // shares have the order of values: those of weights come first
            3 => {
                let wanted = bytes.len().min(len - of.share.len());
                of.share.extend_from_slice(&bytes[..wanted]);
            }
            _ => {}
        })?;
        Ok(of)
    }

    fn read(&self, history: &History, take: impl FnMut(usize, &[u8])) -> Result<()> {
        let path = self.dir.join(checkpoint::name(self.mark.id));
        let refuse = |why: String| Error::NotTrained { path: self.dir.clone(), trained: self.trained, why };
        let mut file = open_private(&path, false)?;
        let len = file.metadata().map_err(|e| Error::io(&path, "read", e))?.len();
        let header = checkpoint::header(&path, (len, &mut file))?;
        if header.lengths.words()[0] != self.trained.bytes {
            return Err(refuse(format!(
                "it has {} bytes of weights, not {}",
                header.lengths.words()[0],
                self.trained.bytes
            )));
        }
        let wanted = Wanted {
            holder: Holder::Party(self.party),
            run: self.trained.run,
            terms: history.terms().ok_or_else(|| refuse("its ledger is empty".into()))?,
            lengths: header.lengths,
            id: self.mark.id,
        };
        match checkpoint::body(&path, (len, &mut file), (&header, &wanted), take)? {
            digest if digest == self.mark.digest => Ok(()),
            _ => Err(refuse("that checkpoint is not the one that the ledger recorded".into())),
        }
    }

    /// Notes durably in the run's ledger that the weights are used under this name, unless that is noted already.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process works on the run.
    pub fn note(&self, what: &str) -> Result<()> {
        let entry = Entry::Provisioned { id: self.mark.id, what: super::what(what) };
        if history(&self.dir, self.party, self.trained)?.has(&entry) {
            return Ok(());
        }
        let folder = FileFolder::open(&self.dir, MISSING)?;
        let (name, mut all) = (folder.path(LEDGER), History::default());
        let expected = Expected { holder: Holder::Party(self.party), run: self.trained.run };
        let mut book = Book::open(folder, name.clone(), &STYLE, |r| all.accept(r, &name, Some(expected)))?;
        entry.write(|kind, parts| book.append(kind, parts))
    }
}

/// What the ledger of a party's run says.
fn history(dir: &Path, party: PartyId, trained: Trained) -> Result<History> {
    let path = dir.join(LEDGER);
    if !path.exists() {
        let (path, why) = (dir.to_path_buf(), "the run is not here".into());
        return Err(Error::NotTrained { path, trained, why });
    }
    let history = History::peek(&FileLog::peek(&path, MISSING)?, &path)?;
    let (run, holder) = history
        .info()
        .map(|info| (info.run, info.holder))
        .ok_or_else(|| Error::corrupt(&path, "the first record"))?;
    match (holder, run) {
        (found, _) if found != Holder::Party(party) => {
            Err(Error::WrongHolder { path, wanted: Holder::Party(party), found })
        }
        (_, found) if found != trained.run => Err(Error::WrongRun { path, wanted: trained.run, found }),
        _ => Ok(history),
    }
}
