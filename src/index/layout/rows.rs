//! Vectors as kernels read them: rows padded with zeros to whole 64-byte blocks of sixteen `f32`.
//!
//! The alignment is part of the type [`Block`], so a row needs no run-time check; zero padding
//! changes no dot product.

use rayon::prelude::*;

/// Numbers in a [`Block`].
pub(crate) const LANES: usize = 16;

/// Sixteen numbers in one cache line.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block(pub(crate) [f32; LANES]);

impl Block {
    /// Sixteen zeros.
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}

/// Blocks needed for `dim` numbers.
pub(crate) const fn blocks_for(dim: usize) -> usize {
    dim.div_ceil(LANES)
}

/// Writes `vector` to `out`, which has [`blocks_for`] its length blocks, and fills the last block
/// up with zeros.
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

/// An encoding of rows in segment files that takes less than four bytes a number.
pub(crate) trait RowFormat: Send + Sync + std::fmt::Debug {
    /// Bytes of a row of `dim` numbers.
    fn bytes(&self, dim: usize) -> usize;

    /// The bytes of a row, from which [`Self::decode`] restores the same numbers to the bit; `None`
    /// if the encoding cannot represent them.
    fn encode(&self, row: &[f32]) -> Option<Vec<u8>>;

    /// Decodes a row of `out.len()` numbers from [`Self::bytes`] bytes.
    fn decode(&self, bytes: &[u8], out: &mut [f32]);
}

/// Memory into which a row is decoded that is not stored as blocks. Reused from row to row.
pub(crate) type RowBuffer = Vec<Block>;

/// Rows that are read by their number.
pub(crate) trait RowSource {
    /// The padded row of item `local`, decoded into `buffer` unless it is stored as blocks.
    fn row<'a>(&'a self, local: u32, buffer: &'a mut RowBuffer) -> &'a [Block];
    /// Asks the processor to load a row that is read soon.
    fn prefetch(&self, local: u32);
    /// Numbers in a row.
    fn dim(&self) -> usize;
}

/// Decodes a row of `dim` numbers into `buffer` and returns it padded.
pub(crate) fn decode_into<'a>(
    format: &dyn RowFormat,
    bytes: &[u8],
    dim: usize,
    buffer: &'a mut RowBuffer,
) -> &'a [Block] {
    // The padding stays zero, since only the numbers before it are written.
    buffer.resize(blocks_for(dim), Block::ZERO);
    format.decode(bytes, &mut bytemuck::cast_slice_mut(buffer)[..dim]);
    buffer
}

/// A contiguous matrix of padded rows.
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

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len() / self.stride
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// The blocks of all rows, row after row.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Row `i`.
    #[inline]
    pub(crate) fn row(&self, i: usize) -> &[Block] {
        &self.blocks[i * self.stride..(i + 1) * self.stride]
    }

    /// Row `i`, writable.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [Block] {
        &mut self.blocks[i * self.stride..(i + 1) * self.stride]
    }

    /// Appends a padded row.
    pub(crate) fn push(&mut self, row: &[Block]) {
        debug_assert_eq!(row.len(), self.stride);
        self.blocks.extend_from_slice(row);
    }

    /// Selects and reorders rows: row `i` of the result is row `order[i]`.
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

    /// The numbers of the rows in `range`, row after row without padding.
    pub(crate) fn unpadded(&self, range: std::ops::Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; range.len() * self.dim];
        for (numbers, i) in out.chunks_mut(self.dim).zip(range) {
            unpack_into(self.row(i), numbers);
        }
        out
    }
}
