//! Blocks of codes of four or eight bits a number, and of the query weights that meet them.

/// Bytes in a [`CodeBlock`].
pub(crate) const CODE_BYTES: usize = 64;
/// Weights in a [`WeightBlock`].
pub(crate) const WEIGHT_LANES: usize = 16;
/// Codes of four bits between two that share a byte or a 16-bit word.
const QUARTER: usize = CODE_BYTES / 2;

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

/// The place of code `i` in a block of codes of four bits: its byte, and whether it is in the upper
/// half of that.
const fn nibble(i: usize) -> (usize, bool) {
    let (quarter, t) = (i / QUARTER, i % QUARTER);
    (2 * t + quarter / 2, quarter % 2 == 1)
}

/// 128 weights of a query, for a block of codes of four bits: each stands where the code stands that
/// it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct NibbleWeights {
    /// Those of the codes in the lower halves of bytes.
    pub(crate) lower: [i8; CODE_BYTES],
    /// Those of the codes in the upper halves.
    pub(crate) upper: [i8; CODE_BYTES],
}

impl NibbleWeights {
    /// Zero weights.
    const ZERO: Self = Self {
        lower: [0; CODE_BYTES],
        upper: [0; CODE_BYTES],
    };

    /// The weights of all codes of a row, in their order, in as many blocks as the row has.
    pub(crate) fn pack(weights: &[i8], blocks: usize) -> Vec<Self> {
        let mut packed = vec![Self::ZERO; blocks];
        for (block, weights) in packed
            .iter_mut()
            .zip(weights.chunks(CodeBits::Four.lanes()))
        {
            let mut padded = [0; CodeBits::Four.lanes()];
            padded[..weights.len()].copy_from_slice(weights);
            // As `nibble` says, but in loops of known bounds.
            let [first, second, third, fourth]: &[[i8; QUARTER]; 4] = bytemuck::cast_ref(&padded);
            let pairs = first.iter().zip(third);
            for ((first, third), to) in pairs.zip(block.lower.as_chunks_mut::<2>().0) {
                *to = [*first, *third];
            }
            let pairs = second.iter().zip(fourth);
            for ((second, fourth), to) in pairs.zip(block.upper.as_chunks_mut::<2>().0) {
                *to = [*second, *fourth];
            }
        }
        packed
    }
}

/// 16 weights of a query, for 16 codes of eight bits.
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
                    for (i, code) in codes.iter().enumerate() {
                        let (byte, is_upper) = nibble(i);
                        block.0[byte] |= code << (4 * u32::from(is_upper));
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
