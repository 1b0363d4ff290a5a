//! The same scan compiled for what the processor has: AVX-512, AVX2, or anything.
//!
//! All that is unsafe about it stands here. Invariant: a block of an instruction set is made within a scan for that set alone, and
//! such a scan is begun only where the processor was asked for it.

use super::block::{Block, Portable};

/// Work over blocks. `run` must be inlined always, so that it is compiled for the set it is called for.
pub(super) trait Scan {
    type Answer;

    fn run<B: Block>(self) -> Self::Answer;
}

/// Runs a scan with the widest blocks there are.
#[inline]
pub(super) fn widest<S: Scan>(scan: S) -> S::Answer {
    #[cfg(target_arch = "x86_64")]
    match x86::widest_set() {
        // SAFETY: it has all of them.
        x86::AVX512 => return unsafe { x86::with_avx512(scan) },
        // SAFETY: it has all of them.
        x86::AVX2 => return unsafe { x86::with_avx2(scan) },
        _ => {}
    }
    scan.run::<Portable>()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected as has;
    use std::arch::x86_64::{
        __m256i, __m512i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8, _mm256_cmpeq_epi8,
        _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_xor_si256,
        _mm512_cmpeq_epi8_mask, _mm512_cmple_epu8_mask, _mm512_loadu_si512, _mm512_or_si512, _mm512_set1_epi8,
        _mm512_xor_si512,
    };
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::super::block::{BLOCK, Block, SIMPLE_ESCAPES};
    use super::Scan;

    const UNKNOWN: u8 = 0;
    const NONE: u8 = 1;
    pub(super) const AVX2: u8 = 2;
    pub(super) const AVX512: u8 = 3;

    /// Asked for with every string, so that it is one load.
    #[inline]
    pub(super) fn widest_set() -> u8 {
        static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
        let known = KNOWN.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known;
        }
        let found = if has_avx512() {
            AVX512
        } else if has_avx2() {
            AVX2
        } else {
            NONE
        };
        KNOWN.store(found, Ordering::Relaxed);
        found
    }

    fn has_avx512() -> bool {
        has!("avx512f") && has!("avx512bw") && has!("bmi1") && has!("bmi2") && has!("pclmulqdq")
    }

    pub(super) fn has_avx2() -> bool {
        has!("avx2") && has!("bmi1") && has!("bmi2") && has!("pclmulqdq")
    }

    #[target_feature(enable = "avx512f,avx512bw,bmi1,bmi2,pclmulqdq")]
    pub(super) fn with_avx512<S: Scan>(scan: S) -> S::Answer {
        scan.run::<Avx512>()
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,pclmulqdq")]
    pub(super) fn with_avx2<S: Scan>(scan: S) -> S::Answer {
        scan.run::<Avx2>()
    }

    /// By a multiplication without carries, by all ones.
    #[inline(always)]
    fn parity(bits: u64) -> u64 {
        // SAFETY: the scans of this module have the instruction.
        unsafe {
            let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), _mm_set1_epi8(-1));
            _mm_cvtsi128_si64(product) as u64
        }
    }

    struct Avx512(__m512i);

    impl Block for Avx512 {
        #[inline(always)]
        fn load(bytes: &[u8; BLOCK]) -> Self {
            // SAFETY: as many bytes are read as are there; the set is that of the scan.
            Self(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) })
        }

        #[inline(always)]
        fn is(&self, byte: u8) -> u64 {
            // SAFETY: the set is that of the scan.
            unsafe { _mm512_cmpeq_epi8_mask(self.0, _mm512_set1_epi8(byte as i8)) }
        }

        #[inline(always)]
        fn ends(&self) -> u64 {
            // SAFETY: the set is that of the scan.
            unsafe { _mm512_cmple_epu8_mask(_mm512_xor_si512(self.0, _mm512_set1_epi8(2)), _mm512_set1_epi8(0x20)) }
        }

        #[inline(always)]
        fn simple_escapes(&self) -> u64 {
            SIMPLE_ESCAPES.iter().fold(0, |found, &byte| found | self.is(byte))
        }

        #[inline(always)]
        fn brackets(&self) -> u64 {
            // SAFETY: the set is that of the scan.
            let folded = Self(unsafe { _mm512_or_si512(self.0, _mm512_set1_epi8(0x20)) });
            folded.is(b'{') | folded.is(b'}')
        }

        #[inline(always)]
        fn parity(bits: u64) -> u64 {
            parity(bits)
        }
    }

    struct Avx2([__m256i; 2]);

    impl Avx2 {
        /// The bytes for which `test` answers ones.
        ///
        /// # Safety
        /// Within a scan for AVX2.
        #[inline(always)]
        unsafe fn mask(&self, test: impl Fn(__m256i) -> __m256i) -> u64 {
            // SAFETY: the caller's.
            let bits = |half| unsafe { u64::from(_mm256_movemask_epi8(test(half)) as u32) };
            bits(self.0[0]) | bits(self.0[1]) << 32
        }
    }

    impl Block for Avx2 {
        #[inline(always)]
        fn load(bytes: &[u8; BLOCK]) -> Self {
            let (halves, _) = bytes.as_chunks::<32>();
            // SAFETY: as many bytes are read as are there; the set is that of the scan.
            let half = |at: usize| unsafe { _mm256_loadu_si256(halves[at].as_ptr().cast()) };
            Self([half(0), half(1)])
        }

        #[inline(always)]
        fn is(&self, byte: u8) -> u64 {
            // SAFETY: the set is that of the scan.
            unsafe { self.mask(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))) }
        }

        #[inline(always)]
        fn ends(&self) -> u64 {
            // SAFETY: the set is that of the scan.
            unsafe {
                self.mask(|half| {
                    let turned = _mm256_xor_si256(half, _mm256_set1_epi8(2));
                    _mm256_cmpeq_epi8(_mm256_min_epu8(turned, _mm256_set1_epi8(0x20)), turned)
                })
            }
        }

        #[inline(always)]
        fn simple_escapes(&self) -> u64 {
            // SAFETY: the set is that of the scan.
            unsafe {
                self.mask(|half| {
                    let is = |byte: u8| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8));
                    SIMPLE_ESCAPES.iter().fold(_mm256_set1_epi8(0), |found, &byte| _mm256_or_si256(found, is(byte)))
                })
            }
        }

        #[inline(always)]
        fn brackets(&self) -> u64 {
            // SAFETY: the set is that of the scan.
            unsafe {
                self.mask(|half| {
                    let folded = _mm256_or_si256(half, _mm256_set1_epi8(0x20));
                    let is = |byte: u8| _mm256_cmpeq_epi8(folded, _mm256_set1_epi8(byte as i8));
                    _mm256_or_si256(is(b'{'), is(b'}'))
                })
            }
        }

        #[inline(always)]
        fn parity(bits: u64) -> u64 {
            parity(bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::BLOCK;
    use super::*;

    struct Masks<'b>(&'b [u8; BLOCK]);

    impl Scan for Masks<'_> {
        type Answer = [u64; 5];

        #[inline(always)]
        fn run<B: Block>(self) -> [u64; 5] {
            let block = B::load(self.0);
            [block.is(b'"'), block.ends(), block.brackets(), B::parity(block.is(b'"')), block.simple_escapes()]
        }
    }

    fn plainly(bytes: &[u8; BLOCK]) -> [u64; 5] {
        let mask = |is: &dyn Fn(u8) -> bool| (0..BLOCK).map(|at| u64::from(is(bytes[at])) << at).sum::<u64>();
        let quotes = mask(&|byte| byte == b'"');
        let parity = (0..BLOCK).map(|at| u64::from((quotes << (63 - at)).count_ones() % 2 == 1) << at).sum();
        let ends = mask(&|byte| byte == b'"' || byte < 0x20);
        [quotes, ends, mask(&|byte| b"{}[]".contains(&byte)), parity, mask(&|byte| b"\"\\/bfnrt".contains(&byte))]
    }

    proptest! {
        #[test]
        fn every_set_sees_the_same(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[]/bfnrtu !#\x1f\x7f;=[]\x5b\xdb\xfb".to_vec())], BLOCK,
            ),
        ) {
            let bytes: [u8; BLOCK] = bytes.try_into().expect("as many");
            let expected = plainly(&bytes);
            prop_assert_eq!(Masks(&bytes).run::<Portable>(), expected);
            prop_assert_eq!(widest(Masks(&bytes)), expected);
            #[cfg(target_arch = "x86_64")]
            if x86::has_avx2() {
                // SAFETY: it has all of them.
                prop_assert_eq!(unsafe { x86::with_avx2(Masks(&bytes)) }, expected);
            }
        }
    }
}
