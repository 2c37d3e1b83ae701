//! Flags that name the two parties.

use crate::client::{Call, Place};
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Fingerprint;
use crate::transport::{Shape, Transport};
use std::time::Duration;

/// Where both parties are and who they are.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// Address of P0
    #[arg(long, value_name = "HOST:PORT")]
    p0: String,
    /// Fingerprint of P0's key
    #[arg(long, value_name = "FINGERPRINT")]
    p0_key: String,
    /// Address of P1
    #[arg(long, value_name = "HOST:PORT")]
    p1: String,
    /// Fingerprint of P1's key
    #[arg(long, value_name = "FINGERPRINT")]
    p1_key: String,
    /// How long the parties may take to answer a call
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    patience: u64,
    /// What to call the parties over; they take both
    #[arg(long, value_name = "TRANSPORT", env = "TWOPLY_TRANSPORT", default_value = "auto")]
    transport: Transport,
    /// Emulate a link: dc, lan, wan, slow, or rtt=40ms,rate=400mbit; the parties must do the same
    #[arg(long, value_name = "LINK", env = "TWOPLY_LINK", default_value = "loopback")]
    link: Shape,
}

impl Places {
    /// Both places, and how to call them.
    ///
    /// # Errors
    /// 3 when a fingerprint is none.
    pub fn read(&self) -> Result<([Place; 2], Call), Failure> {
        let place = |address: &str, key: Fingerprint| Place {
            address: address.into(),
            key,
            transport: self.transport,
        };
        let keys = [fingerprint("--p0-key", &self.p0_key)?, fingerprint("--p1-key", &self.p1_key)?];
        let both = [place(&self.p0, keys[0]), place(&self.p1, keys[1])];
        Ok((both, Call { within: Duration::from_secs(self.patience), link: self.link }))
    }
}

/// A fingerprint that `name` (a flag, a variable, a setting of a file) gives.
///
/// # Errors
/// 3 naming it, its value and what is wrong with that.
pub(super) fn fingerprint(name: &str, text: &str) -> Result<Fingerprint, Failure> {
    text.parse().map_err(|error| {
        // A value of any length may have been pasted.
        let mut shown: String = text.chars().take(SHOWN).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push_str("...");
        }
        // nor is a private key to be read in a log, if that is what was pasted
        if text.contains("-----BEGIN") || text.contains('\n') {
            shown = "no fingerprint, but lines of text".into();
        }
        let failure = Failure::from(error);
        let (why, remedy) = (&failure.content().what, failure.content().remedy.clone());
        Failure::new(ExitCode::Config, format!("{name} is {shown:?}: {why}"))
            .during(Phase::Start)
            .remedy(remedy)
    })
}

/// Most characters of a value that an error shows: some more than a fingerprint has.
const SHOWN: usize = 72;
