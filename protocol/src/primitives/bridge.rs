//! Our randomness for crates that know an older version of its trait.

/// Hands our randomness to a crate that knows an older version of the trait.
pub(super) struct Bridge<'a, R>(pub(super) &'a mut R);

impl<R: rand_core::CryptoRng> rand_core_06::RngCore for Bridge<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl<R: rand_core::CryptoRng> rand_core_06::CryptoRng for Bridge<'_, R> {}
