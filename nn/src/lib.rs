//! Networks: graphs as data, import, calibration, the engines that run them.

pub mod calibrate;
pub mod data;
pub mod engine;
mod error;
pub mod float;
pub mod graph;
pub mod import;
pub mod passes;
pub mod plan;
pub mod program;
pub mod roles;
pub mod weights;
pub mod zoo;

pub use calibrate::{Ranges, calibrate};
pub use data::{Floats, Images, Labels};
pub use error::{Error, Obstacle, Result};
pub use float::Evaluator;
pub use graph::{Graph, Input, Node, Normalise, Op, Param, Role, Source};
pub use import::Imported;
pub use plan::{Options, Plan, Reveal, Totals};
pub use program::Program;
pub use weights::Weights;
