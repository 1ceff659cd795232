//! Blocks of codes of four or eight bits a number, and of the query weights that meet them.

/// Bytes in a [`CodeBlock`].
pub(crate) const CODE_BYTES: usize = 64;
/// Weights in a [`WeightBlock`].
pub(crate) const WEIGHT_LANES: usize = 16;

/// One cache line of codes: 64 of eight bits, or 128 of four.
///
/// Of four-bit codes, the little-endian 16-bit word `t` of the block holds the codes `t`, `32 + t`,
/// `64 + t` and `96 + t` from its lowest bits up, so that one mask extracts 32 neighbouring codes
/// at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct CodeBlock(pub(crate) [u8; CODE_BYTES]);

impl CodeBlock {
    /// A block of zero codes.
    pub(crate) const ZERO: Self = Self([0; CODE_BYTES]);
}

/// 16 weights of a query, for 16 codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct WeightBlock(pub(crate) [i16; WEIGHT_LANES]);

impl WeightBlock {
    /// A block of zero weights.
    pub(crate) const ZERO: Self = Self([0; WEIGHT_LANES]);
}

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeBits {
    /// Four.
    Four,
    /// Eight.
    Eight,
}

impl CodeBits {
    /// The number of bits.
    pub(crate) fn count(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The variant with `count` bits.
    pub(crate) fn from_count(count: u32) -> Option<Self> {
        [Self::Four, Self::Eight]
            .into_iter()
            .find(|bits| bits.count() == count)
    }

    /// Codes in a [`CodeBlock`].
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Four => 2 * CODE_BYTES,
            Self::Eight => CODE_BYTES,
        }
    }

    /// Blocks needed for `dim` codes.
    pub(crate) const fn blocks(self, dim: usize) -> usize {
        dim.div_ceil(self.lanes())
    }

    /// The greatest code.
    pub(crate) fn max_code(self) -> u8 {
        match self {
            Self::Four => 15,
            Self::Eight => 255,
        }
    }

    /// Writes codes to blocks of zeros.
    pub(crate) fn pack(self, codes: &[u8], blocks: &mut [CodeBlock]) {
        for (codes, block) in codes.chunks(self.lanes()).zip(blocks) {
            match self {
                Self::Eight => block.0[..codes.len()].copy_from_slice(codes),
                Self::Four => {
                    for (quarter, codes) in codes.chunks(CODE_BYTES / 2).enumerate() {
                        let (byte, shift) = (quarter / 2, quarter % 2 * 4);
                        for (pair, code) in block.0.chunks_exact_mut(2).zip(codes) {
                            pair[byte] |= code << shift;
                        }
                    }
                }
            }
        }
    }
}

/// The codes of many items, as kernels read them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeRows<'a> {
    stride: usize,
    blocks: &'a [CodeBlock],
}

impl<'a> CodeRows<'a> {
    /// Rows of `stride` blocks each.
    pub(crate) fn new(stride: usize, blocks: &'a [CodeBlock]) -> Self {
        Self { stride, blocks }
    }

    /// The codes of item `i`, padded with zeros.
    #[inline]
    pub(crate) fn row(&self, i: u32) -> &'a [CodeBlock] {
        &self.blocks[i as usize * self.stride..(i as usize + 1) * self.stride]
    }
}
