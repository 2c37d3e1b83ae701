//! Every state that a model can reach, and whether the end can be reached from each without further crashes.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

pub trait Model {
    type State: Hash + Clone;
    fn start(&self) -> Self::State;
    /// All states one step later, and whether the step was a crash.
    fn next(&self, state: &Self::State) -> Vec<(Self::State, bool)>;
    fn done(&self, state: &Self::State) -> bool;
    /// What is wrong with a state.
    fn wrong(&self, state: &Self::State) -> Option<String>;
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many states, none wrong, and from each one the end can be reached.
    Sound(usize),
    Wrong(String),
    /// So many states from which it cannot.
    DeadEnds(usize),
}

#[allow(clippy::print_stdout)] // shown with --nocapture
pub fn explore<M: Model>(name: &str, model: &M) -> Verdict {
    let verdict = search(model);
    println!("{name}: {verdict:?}");
    verdict
}

fn search<M: Model>(model: &M) -> Verdict {
    let number = |state: &M::State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    let start = model.start();
    let mut ids = HashMap::from([(number(&start), 0)]);
    let mut back: Vec<Vec<u32>> = vec![vec![]];
    let mut todo = VecDeque::from([(start, 0)]);
    let mut good = vec![];
    while let Some((state, id)) = todo.pop_front() {
        if let Some(wrong) = model.wrong(&state) {
            return Verdict::Wrong(wrong);
        }
        if model.done(&state) {
            good.push(id);
        }
        for (next, crashed) in model.next(&state) {
            let fresh = back.len() as u32;
            let to = *ids.entry(number(&next)).or_insert(fresh);
            if to == fresh {
                back.push(vec![]);
                todo.push_back((next, fresh));
            }
            if !crashed {
                back[to as usize].push(id);
            }
        }
    }
    let mut ends = vec![false; back.len()];
    good.iter().for_each(|id| ends[*id as usize] = true);
    while let Some(id) = good.pop() {
        for &before in &back[id as usize] {
            if !std::mem::replace(&mut ends[before as usize], true) {
                good.push(before);
            }
        }
    }
    match ends.iter().filter(|reaches| !**reaches).count() {
        0 => Verdict::Sound(back.len()),
        dead => Verdict::DeadEnds(dead),
    }
}
