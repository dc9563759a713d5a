//! SHA-256 over chunks on their way through, on this thread or on one beside it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle, available_parallelism};

use super::layout::PARALLEL_BYTES_MIN;
use crate::primitives::hash::Running;

/// Chunks that pass together: waking the other thread costs microseconds, a chunk tens of them.
pub(super) const BATCH_CHUNKS: usize = 8;
/// Batches that may be with the other thread: 2 × 8 × 64 KiB = 1 MiB, whatever the file's size.
const IN_FLIGHT_MAX: usize = 2;

/// Chunks in order, passed by ownership so that nothing is copied.
pub(super) type Batch = Vec<Vec<u8>>;

/// The other thread is gone; it never ends by itself before it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that computes the digest has ended early")]
pub(super) struct LostError;

/// Takes batches in order, gives them back in order once they are hashed.
pub(super) enum Digest {
    Here(Running),
    Beside {
        to: SyncSender<Batch>,
        from: Receiver<Batch>,
        thread: JoinHandle<[u8; 32]>,
        in_flight: usize,
    },
}

impl Digest {
    /// For a file of `stored` bytes: beside this thread when that pays and there is a core for it.
    pub(super) fn for_size(stored: u64) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        if stored >= PARALLEL_BYTES_MIN && cores > 1 {
            Self::beside()
        } else {
            Self::here()
        }
    }

    pub(super) fn here() -> Self {
        Self::Here(Running::default())
    }

    pub(super) fn beside() -> Self {
        let (to, batches) = sync_channel::<Batch>(IN_FLIGHT_MAX);
        let (back, from) = sync_channel::<Batch>(IN_FLIGHT_MAX);
        let work = move || {
            let mut running = Running::default();
            for batch in batches {
                for chunk in &batch {
                    running.update(chunk);
                }
                if back.send(batch).is_err() {
                    break;
                }
            }
            running.finish()
        };
        match Builder::new().name("kinline-digest".into()).spawn(work) {
            Ok(thread) => Self::Beside {
                to,
                from,
                thread,
                in_flight: 0,
            },
            Err(_) => Self::here(),
        }
    }

    /// Hashes `batch`, or has it hashed; gives back the oldest one that is through, if any.
    pub(super) fn pass(&mut self, batch: Batch) -> Result<Option<Batch>, LostError> {
        match self {
            Self::Here(running) => {
                for chunk in &batch {
                    running.update(chunk);
                }
                Ok(Some(batch))
            }
            Self::Beside {
                to,
                from,
                in_flight,
                ..
            } => {
                to.send(batch).map_err(|_| LostError)?;
                *in_flight += 1;
                if *in_flight < IN_FLIGHT_MAX {
                    return Ok(None);
                }
                *in_flight -= 1;
                from.recv().map(Some).map_err(|_| LostError)
            }
        }
    }

    /// Everything that has not yet come back, and the digest of all that passed.
    pub(super) fn finish(self) -> Result<(Vec<Batch>, [u8; 32]), LostError> {
        match self {
            Self::Here(running) => Ok((Vec::new(), running.finish())),
            Self::Beside {
                to, from, thread, ..
            } => {
                drop(to);
                let rest = from.iter().collect();
                Ok((rest, thread.join().map_err(|_| LostError)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use super::{Batch, Digest};
    use crate::primitives::hash;

    fn passed(mut digest: Digest, batches: &[Batch]) -> (Vec<Batch>, [u8; 32]) {
        let mut out: Vec<Batch> = batches
            .iter()
            .filter_map(|batch| digest.pass(batch.clone()).unwrap())
            .collect();
        let (rest, hash) = digest.finish().unwrap();
        out.extend(rest);
        (out, hash)
    }

    #[test]
    fn both_ways_give_every_batch_back_in_order_and_the_same_digest() {
        for count in [0, 1, 2, 3, 9] {
            let batches: Vec<Batch> = (0..count)
                .map(|n: u8| vec![vec![n; 1_000], vec![n; usize::from(n)]])
                .collect();
            let expected = hash::sha256(&batches.concat().concat());
            for digest in [Digest::here(), Digest::beside()] {
                let (out, hash) = passed(digest, &batches);
                assert_eq!(out, batches);
                assert_eq!(hash, expected);
            }
        }
    }

    #[test]
    fn a_digest_dropped_half_way_ends_its_thread() {
        let mut digest = Digest::beside();
        digest.pass(vec![vec![1]]).unwrap();
        let Digest::Beside {
            to, from, thread, ..
        } = digest
        else {
            return;
        };
        drop((to, from));
        assert!(thread.join().is_ok());
    }
}
