//! What the doctor sees of this machine.

use super::{Args, Findings};
use crate::cli::keys::summaries;
use crate::cli::output::bytes;
use crate::cli::party::address;
use crate::deal::room;
use crate::exit::{ExitCode, Failure};
use crate::identity::Identity;
use crate::transport::{Accept, Endpoint, Role};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twoply_nn::Plan;
use twoply_preprocessing::{Cut, KeyDir};
use twoply_primitives::PartyId;
use twoply_primitives::backend::{Device, Isa};

/// The CUDA driver's library, and where systems keep it.
const CUDA: &str = "libcuda.so.1";
const LIBRARIES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/cuda/compat",
];

/// Processor, cores, CUDA devices.
pub(super) fn machine(here: &mut Findings) {
    let (can, does) = (Isa::detected(), Isa::current());
    if can == Isa::Portable {
        let remedy = "runs, but many times slower than with AES instructions and AVX2";
        here.warn("processor", "no instruction set that twoply has kernels for", remedy);
    } else if does < can {
        let found = format!("{}, kept below {} by TWOPLY_CPU", does.name(), can.name());
        here.warn("processor", found, "unset TWOPLY_CPU");
    } else {
        here.ok("processor", does.name());
    }
    match std::thread::available_parallelism() {
        Ok(cores) => here.ok("cores", cores.to_string()),
        Err(e) => here.fail("cores", &Failure::io("count", "the cores", &e)),
    }
    cuda(here);
}

/// The CUDA devices, if this program can compute on them.
fn cuda(here: &mut Findings) {
    let driver = driver().map(|folder| format!("driver library in {}", folder.display()));
    if !Device::CUDA {
        let driver = driver.unwrap_or("no driver library".into());
        return here.ok("cuda", format!("not built in: the CPU computes; {driver}"));
    }
    match Device::all_cuda().map_err(Failure::from) {
        Ok(all) if all.is_empty() => here.ok("cuda", "built in, 0 devices: the CPU computes"),
        Ok(all) => {
            for device in all {
                let name = device.describe();
                match device.check().map_err(Failure::from) {
                    Ok(()) => here.ok("cuda", format!("built in, {name}")),
                    Err(failure) => {
                        let (why, remedy) = (&failure.content().what, &failure.content().remedy);
                        here.warn(
                            "cuda",
                            format!("built in, {name}, {why}"),
                            format!("runs, on the CPU; {remedy}"),
                        );
                    }
                }
            }
        }
        Err(failure) => {
            let (why, remedy) = (&failure.content().what, &failure.content().remedy);
            match driver {
                // A machine that is not meant to have one.
                None => here.ok("cuda", format!("built in, {why}: the CPU computes")),
                Some(driver) => {
                    let found = format!("built in, {driver}, {why}");
                    here.warn("cuda", found, format!("runs, on the CPU; {remedy}"));
                }
            }
        }
    }
}

/// The folder of the driver's library.
fn driver() -> Option<PathBuf> {
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&named).chain(LIBRARIES.map(PathBuf::from));
    folders.find(|folder| folder.join(CUDA).exists())
}

/// Whether the address can be listened on, over UDP and TCP.
pub(super) fn listen(here: &mut Findings, text: &str) {
    let bound = address(text).and_then(|at| {
        // Whoever listens shows a key, but nobody is taken.
        let nobody = Arc::new(Identity::ephemeral()?);
        Ok(Endpoint::bind(nobody, Role::Probe, Some(at), Accept::nobody())?.address())
    });
    if let Some(address) = here.note("listen", bound) {
        here.ok("listen", format!("{address} is free"));
    }
}

/// Whether there are keys, and if not, room for them.
pub(super) fn keys_and_disk(here: &mut Findings, args: &Args, plan: Option<&Plan>) {
    let party = args.role.map(|role| PartyId::BOTH[usize::from(role.min(1))]);
    let mut ready = 0;
    if let (Some(folder), Some(party)) = (&args.keys, party) {
        let found = keys(here, (folder, party), plan, args.images);
        ready = here.note("keys", found).unwrap_or(0);
    }
    if let (Some(plan), Some(images)) = (plan, args.images)
        && images > ready
    {
        let room = disk(args.keys.as_deref(), party, plan, images - ready);
        if let Some(found) = here.note("disk", room) {
            here.ok("disk", found);
        }
    }
}

/// Images for which keys are here, of the plan if there is one.
fn keys(
    here: &mut Findings,
    (folder, party): (&Path, PartyId),
    plan: Option<&Plan>,
    images: Option<u64>,
) -> Result<u64, Failure> {
    let mut sets = summaries(&KeyDir::open(folder, party)?)?;
    if let Some(plan) = plan {
        let digest = plan.digest()?;
        sets.retain(|set| set.plan == digest);
    }
    sets.retain(|set| set.ready > 0);
    let wanted = images.unwrap_or(1);
    // A request goes on in the next key set where one ends.
    let ready = sets.iter().fold(0, |sum: u64, set| sum.saturating_add(set.ready));
    if ready < wanted {
        let of = if plan.is_some() { " for this plan" } else { "" };
        let what = format!(
            "{} holds keys for {ready} images{of}, {wanted} are wanted ({} key sets)",
            folder.display(),
            sets.len()
        );
        here.fail("keys", &Failure::new(ExitCode::KeysMissing, what));
        return Ok(ready);
    }
    here.ok("keys", format!("{} key sets, {ready} images left", sets.len()));
    for set in sets.iter().filter(|set| set.insecure) {
        let found = format!("key set {} is from a public test seed", set.key_set);
        here.warn("keys", found, "deal another one for anything private");
    }
    Ok(ready)
}

/// Whether keys for `images` fit on the disk of `folder`; what was found.
fn disk(folder: Option<&Path>, party: Option<PartyId>, plan: &Plan, images: u64) -> Result<String, Failure> {
    let cut = Cut::new(images, plan.segment_images());
    let cut = cut.map_err(|e| {
        Failure::new(ExitCode::Usage, e.to_string())
            .remedy("ask for fewer --images; no key set holds so many")
    })?;
    let halves = room::key_files(plan, cut)?;
    // A dealer makes both.
    let needed = party.map_or(halves[0].saturating_add(halves[1]), |party| halves[party.index()]);
    let free = room::enough(folder.unwrap_or(Path::new(".")), needed)?;
    Ok(format!("keys for {images} images need {}, {} are free", bytes(needed), bytes(free)))
}
