//! Files of models and images: as others write them, against what their own tools give; and damaged ones, which do no harm.

mod cases;
mod import;
mod inputs;
mod jpeg;
mod mutations;
mod readers;
