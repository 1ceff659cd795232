//! Vectors as the kernels like them: rows padded with zeros to whole 64-byte blocks of sixteen
//! `f32`.
//!
//! The alignment is in the type ([`Block`]), so a row needs no run-time check, and zero padding
//! changes no dot product.

use rayon::prelude::*;

/// Numbers in a [`Block`].
pub(crate) const LANES: usize = 16;

/// Sixteen numbers on one cache line.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block(pub(crate) [f32; LANES]);

impl Block {
    /// The padding.
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}

/// Blocks needed for `dim` numbers.
pub(crate) const fn blocks_for(dim: usize) -> usize {
    dim.div_ceil(LANES)
}

/// Writes `vector` to `out`, which must have [`blocks_for`] its length blocks; the rest of the last
/// block is zero.
pub(crate) fn pack_into(vector: &[f32], out: &mut [Block]) {
    for (block, numbers) in out.iter_mut().zip(vector.chunks(LANES)) {
        block.0[..numbers.len()].copy_from_slice(numbers);
        block.0[numbers.len()..].fill(0.0);
    }
}

/// A padded copy of `vector`.
pub(crate) fn pack(vector: &[f32]) -> Box<[Block]> {
    let mut out = vec![Block::ZERO; blocks_for(vector.len())];
    pack_into(vector, &mut out);
    out.into_boxed_slice()
}

/// The first `out.len()` numbers of a row.
pub(crate) fn unpack_into(row: &[Block], out: &mut [f32]) {
    for (numbers, block) in out.chunks_mut(LANES).zip(row) {
        numbers.copy_from_slice(&block.0[..numbers.len()]);
    }
}

/// How images keep rows in fewer bytes, where vectors have no more to keep.
pub(crate) trait RowFormat: Send + Sync + std::fmt::Debug {
    /// Bytes of a row of `dim` numbers.
    fn bytes(&self, dim: usize) -> usize;

    /// A row's bytes, from which [`Self::decode`] makes the same numbers again, to the bit; `None`
    /// where there are none such.
    fn encode(&self, row: &[f32]) -> Option<Vec<u8>>;

    /// Makes a row of its bytes, which are as many as [`Self::bytes`] says.
    fn decode(&self, bytes: &[u8], out: &mut [f32]);
}

/// Where a row is made that is not kept padded.
pub(crate) type Room = Vec<Block>;

/// Makes a padded row in `room`.
pub(crate) fn decode_into<'a>(
    format: &dyn RowFormat,
    bytes: &[u8],
    dim: usize,
    room: &'a mut Room,
) -> &'a [Block] {
    // The padding stays zero: only the numbers before it are written.
    room.resize(blocks_for(dim), Block::ZERO);
    format.decode(bytes, &mut bytemuck::cast_slice_mut(room)[..dim]);
    room
}

/// A matrix of padded rows, contiguous.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    dim: usize,
    stride: usize,
    blocks: Vec<Block>,
}

impl Rows {
    /// `len` rows of zeros.
    pub(crate) fn zeros(dim: usize, len: usize) -> Self {
        let stride = blocks_for(dim);
        Self {
            dim,
            stride,
            blocks: vec![Block::ZERO; stride * len],
        }
    }

    /// An empty matrix with room for `capacity` rows.
    pub(crate) fn with_capacity(dim: usize, capacity: usize) -> Self {
        let stride = blocks_for(dim);
        Self {
            dim,
            stride,
            blocks: Vec::with_capacity(stride * capacity),
        }
    }

    /// Numbers in a row.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Rows.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len() / self.stride
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// All rows, one after the other.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Row `i`.
    #[inline]
    pub(crate) fn row(&self, i: usize) -> &[Block] {
        &self.blocks[i * self.stride..(i + 1) * self.stride]
    }

    /// Row `i`, to write.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [Block] {
        &mut self.blocks[i * self.stride..(i + 1) * self.stride]
    }

    /// Appends a padded row.
    pub(crate) fn push(&mut self, row: &[Block]) {
        debug_assert_eq!(row.len(), self.stride);
        self.blocks.extend_from_slice(row);
    }

    /// The rows in another order: row `i` of the result is row `order[i]`.
    pub(crate) fn permuted(&self, order: &[u32]) -> Self {
        let mut out = Self::zeros(self.dim, order.len());
        out.blocks
            .par_chunks_mut(self.stride)
            .zip(order)
            .for_each(|(to, &from)| {
                to.copy_from_slice(self.row(from as usize));
            });
        out
    }

    /// The numbers of rows `range`, without padding, row after row.
    pub(crate) fn unpadded(&self, range: std::ops::Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; range.len() * self.dim];
        for (numbers, i) in out.chunks_mut(self.dim).zip(range) {
            unpack_into(self.row(i), numbers);
        }
        out
    }
}
