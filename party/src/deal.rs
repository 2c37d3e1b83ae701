//! Making keys: into two folders, or straight to two parties. One segment at a time, so that memory is bounded by a
//! segment, and going on after any crash.
//!
//! A deal has a folder of its own:
//!
//! ```text
//! <folder>/deal.json   what is dealt: plan digest, images, segments; public
//! <folder>/p0  p1      the parties' halves (mode 0700): to be moved to them, or sent and erased
//! ```

mod folder;
mod note;
mod receive;
pub(crate) mod room;
mod send;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use wire::SET_KEY;

use crate::exit::Failure;
use std::sync::Arc;
use twoply_nn::{Plan, Program, roles, with_ring};
use twoply_preprocessing::{Cut, DealSpec, SeedSource, SetWriter, TrainedMasks};
use twoply_primitives::backend::Device;
use twoply_primitives::{Backend, Mask, with_device};

pub use folder::{Dealt, into_folder};
pub use note::cut_of;
pub use receive::{Received, receive};
pub use send::{Delivered, Peer, Route, to_parties};

/// What is to be dealt.
#[derive(Clone, Debug)]
pub struct Order {
    /// For which plan.
    pub plan: Plan,
    /// Images, and how they are cut into segments.
    pub cut: Cut,
    /// Where randomness comes from.
    pub seeds: SeedSource,
    /// The mask of trained weights, if the keys are for such.
    pub trained: Option<Arc<TrainedMasks>>,
    /// What computes them; any device makes the same keys of the same seeds.
    pub device: Device,
}

impl Order {
    fn spec(&self) -> Result<DealSpec, Failure> {
        let (plan, layout) = (self.plan.digest()?, self.plan.layout());
        Ok(DealSpec { plan, layout, cut: self.cut, seeds: self.seeds, trained: self.trained.clone() })
    }
}

/// How a deal goes on: called with the images that are done.
pub type Told<'a> = dyn FnMut(u64) + 'a;

/// What happens with each segment. Both are called with the segment's number, in order.
trait Steps {
    /// Whether the segment must be there when [`Steps::dealt`] is called; if not, it is passed over.
    fn wanted(&mut self, set: &SetWriter, segment: u32) -> Result<bool, Failure>;
    /// Both halves of the segment are complete in the folder; `new` says that they were dealt just now.
    fn dealt(&mut self, set: &SetWriter, segment: u32, new: bool) -> Result<(), Failure>;
}

/// Goes through all segments of a key set.
fn each_segment(
    order: &Order,
    set: &SetWriter,
    steps: &mut dyn Steps,
    told: &mut Told<'_>,
) -> Result<(), Failure> {
    with_ring!(order.plan.options.fixed.n, R => {
        with_device!(order.device, R, dev => each_segment_on(&dev, order, set, steps, told))
    })
}

/// The masks of all parameters: those that trained ones have, or the set's own.
fn weight_masks<B: Backend>(
    dev: &B,
    program: &Program,
    (order, set): (&Order, &SetWriter),
) -> Result<Vec<Mask<B>>, Failure> {
    match &order.trained {
        Some(trained) => {
            let [a, b] = &trained.shares;
            Ok(roles::trained_masks(dev, program, [a, b])?)
        }
        None => Ok(roles::weight_masks(dev, program, set.key_set(), set.weight_seeds())),
    }
}

fn each_segment_on<B: Backend>(
    dev: &B,
    order: &Order,
    set: &SetWriter,
    steps: &mut dyn Steps,
    told: &mut Told<'_>,
) -> Result<(), Failure> {
    let program = order.plan.program()?;
    let mut masks = None;
    for segment in 0..order.cut.segments() {
        if steps.wanted(set, segment)? {
            let writer = set.segment(segment)?;
            let new = writer.is_some();
            if let Some(writer) = writer {
                let masks = match &masks {
                    Some(masks) => masks,
                    None => masks.insert(weight_masks(dev, &program, (order, set))?),
                };
                roles::deal_segment(dev, &program, masks, set.key_set(), writer)?;
            }
            steps.dealt(set, segment, new)?;
        }
        told(order.cut.range(segment).map_or(0, |range| range.end));
    }
    Ok(())
}
