//! The device that computes, as a flag.

use crate::exit::{Failure, Phase};
use twoply_primitives::backend::{Choice, Device};

/// What to compute on.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct On {
    /// What to compute on: auto, cpu, or cuda:N; auto takes cuda:0 if this program can compute on it, else the CPU
    #[arg(long, value_name = "DEVICE", env = "TWOPLY_DEVICE", default_value = "auto")]
    pub device: Choice,
}

/// The device that `choice` stands for here; the log names it.
///
/// # Errors
/// 13 when a device is named that is not there.
pub(super) fn resolve(choice: Choice) -> Result<Device, Failure> {
    let device = choice.resolve().map_err(|e| Failure::from(e).during(Phase::Start))?;
    let refused = match (choice, device) {
        (Choice::Auto, Device::Cpu) => Device::Cuda(0).check().err(),
        _ => None,
    };
    match refused {
        // one that is there and of no use is worth a word
        Some(why) if Device::all_cuda().is_ok_and(|all| !all.is_empty()) => {
            tracing::warn!("the CPU computes: {why}");
        }
        Some(why) => tracing::info!("the CPU computes: {why}"),
        None => tracing::info!("{} computes", device.describe()),
    }
    Ok(device)
}
