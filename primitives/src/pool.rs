//! Work on the threads of the pool. Its machinery is compiled here once, and not again for the closures of every gate.

use crate::Result;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// What `work` makes of each item, in their order. After a failure no further item is begun.
pub(crate) fn each<I: Send, T: Send>(items: Vec<I>, work: impl Fn(I) -> Result<T> + Sync) -> Result<Vec<T>> {
    let places: Vec<_> = items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
    numbers(places.len(), &|at| {
        // nobody else comes for this place
        let mut place = places[at].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(item) = place.0.take() {
            place.1 = Some(work(item)?);
        }
        Ok(())
    })?;
    let done =
        places.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner).1);
    Ok(done.collect())
}

fn numbers(count: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    (0..count).into_par_iter().try_for_each(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn what_comes_back_is_in_the_order_of_the_items() {
        let items: Vec<String> = (0..1000).map(|n: u32| n.to_string()).collect();
        let wanted: Vec<usize> = items.iter().map(String::len).collect();
        assert_eq!(each(items, |item| Ok(item.len())).unwrap(), wanted);
        assert!(each(Vec::<u8>::new(), Ok).unwrap().is_empty());
    }

    #[test]
    fn a_failure_is_told_and_ends_the_work() {
        let begun = AtomicUsize::new(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let one = |item: u32| match begun.fetch_add(1, Ordering::SeqCst) {
            10 => Err(Error::Keys(format!("item {item}"))),
            _ => Ok(item),
        };
        let told = pool.install(|| each((0..1000).collect(), one));
        assert!(matches!(told, Err(Error::Keys(_))), "{told:?}");
        assert_eq!(begun.into_inner(), 11);
    }
}
