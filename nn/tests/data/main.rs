//! Files of every format, made here: pictures in JPEG, and thousands of damaged files that must do no harm.

mod jpeg;
mod mutations;
