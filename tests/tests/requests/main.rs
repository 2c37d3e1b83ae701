//! Private inference in real processes, as its users call it, and everything that can go wrong on the way.

mod answers;
mod audit;
mod bad_input;
mod control;
mod crashes;
mod devices;
mod doctor;
mod emulated;
mod folders;
mod memory;
mod oracle;
mod outputs;
mod owners;
mod recipe;
mod soak;
mod words;
