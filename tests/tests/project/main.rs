//! What the project says of itself: its recipe, its dependencies.

mod dependencies;
mod readme;
