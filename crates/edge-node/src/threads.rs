//! The cores of this machine as a [`Backend`] for what the node calculates for itself.
//!
//! A pool of rayon's, whose threads take parts from each other: texts differ in length, so that equal
//! shares would leave some cores idle. Tasks of others do not run here but on the workers, whose share of
//! the CPU is bounded ([`crate::workers`]).

use std::{fmt, sync::OnceLock};

use edge_kernels::backend::{Backend, Serial};
use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _},
};

struct Cores(ThreadPool);

impl fmt::Debug for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cores").finish_non_exhaustive()
    }
}

impl Backend for Cores {
    fn width(&self) -> usize {
        self.0.current_num_threads()
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..parts).into_par_iter().with_max_len(1).for_each(part));
    }
}

/// All cores; the caller's thread alone where no thread can be started. Threads start with the first
/// use.
pub(crate) fn all_cores() -> &'static dyn Backend {
    static CORES: OnceLock<Option<Cores>> = OnceLock::new();
    let cores = CORES.get_or_init(|| {
        let named = ThreadPoolBuilder::new().thread_name(|n| format!("own-{n}"));
        named.build().ok().map(Cores)
    });
    match cores {
        Some(cores) => cores,
        None => &Serial,
    }
}

#[cfg(test)]
mod tests {
    use edge_kernels::backend::map;

    use super::*;

    #[test]
    fn parts_keep_their_places_and_panics_arrive() {
        for parts in [0, 1, 7, 1_000] {
            let ours = map(all_cores(), parts, |part| part * 3);
            assert_eq!(ours, map(&Serial, parts, |part| part * 3));
        }
        let panicked = std::panic::catch_unwind(|| all_cores().run(9, &|part| assert_ne!(part, 5)));
        assert!(panicked.is_err());
        assert_eq!(map(all_cores(), 3, |part| part), [0, 1, 2]);
    }
}
