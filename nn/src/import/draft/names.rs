//! Names of nodes and parameters: fit to be shown, and each used once.

use std::collections::{HashMap, HashSet};

/// Longest name taken over from a file, in characters.
const NAME: usize = 60;

/// A name fit for terminals and files: no control characters, not too long, not empty.
pub(crate) fn clean(name: &str, default: &str) -> String {
    let fine = |c: char| if c.is_control() { '_' } else { c };
    match name {
        "" => default.into(),
        // safetensors keeps this key for itself.
        "__metadata__" => "metadata".into(),
        name => name.chars().take(NAME).map(fine).collect(),
    }
}

/// Names in use, and the next number to try for each; counting on keeps many equal names cheap.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Names {
    /// `name`, or `name_2`, `name_3` and so on if it is taken.
    pub(super) fn take(&mut self, name: String) -> String {
        if self.taken.insert(name.clone()) { name } else { self.count(&format!("{name}_"), 2) }
    }
    /// `conv1`, `conv2` and so on.
    pub(super) fn number(&mut self, stem: &str) -> String {
        self.count(stem, 1)
    }
    fn count(&mut self, stem: &str, from: usize) -> String {
        let next = self.next.entry(stem.to_string()).or_insert(from);
        loop {
            let candidate = format!("{stem}{next}");
            *next += 1;
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}
