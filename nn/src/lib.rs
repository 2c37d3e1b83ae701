//! Networks: graphs as data, import, calibration, the engines that run them.

pub mod accuracy;
pub mod calibrate;
pub mod data;
pub mod engine;
mod error;
pub mod fit;
pub mod float;
pub mod graph;
pub mod import;
pub mod inputs;
pub mod meaning;
pub mod passes;
pub mod plan;
pub mod program;
pub mod rehearsal;
pub mod roles;
mod scale;
pub mod train;
pub mod weights;
pub mod zoo;

pub use accuracy::Accuracy;
pub use calibrate::{Ranges, calibrate};
pub use data::{Floats, Images, Labels};
pub use error::{Error, Obstacle, Result};
pub use fit::{Fit, fit};
pub use float::Evaluator;
pub use graph::{Graph, Input, Layout, Node, Normalise, Op, Param, Role, Source};
pub use import::Imported;
pub use meaning::Meaning;
pub use plan::{Options, Plan, Reveal, Totals};
pub use program::Program;
pub use rehearsal::Rehearsal;
pub use scale::Scale;
pub use weights::Weights;
