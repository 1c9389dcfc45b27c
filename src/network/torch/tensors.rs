//! Numbers on their way to libtorch and back.

use ndarray::ArrayView2;
use tch::{Device, Kind, Tensor};

/// Values of the block that [`prepare`] gives back: 28 MB, below glibc's limit of 32.
const FREED_BLOCK_LEN: i64 = 7 << 20;

/// Sets libtorch to one thread, and makes the allocator keep the memory of one call for the next.
///
/// The batches are too small to be worth handing parts to other threads. What several cores do at a time is
/// several batches, each by a network of its own.
///
/// Every call allocates its tensors anew, and glibc would give their pages back to the kernel after each and
/// fault them in again: half the time of an update of 2,688 columns. glibc's threshold for that is twice the
/// largest block ever freed, so one large block, never touched, raises it for good.
pub(super) fn prepare() {
    tch::set_num_threads(1);
    drop(Tensor::empty([FREED_BLOCK_LEN], (Kind::Float, Device::Cpu)));
}

/// A copy of a matrix, `[rows, columns]`.
pub(super) fn matrix(values: ArrayView2<f32>) -> Tensor {
    let size = [values.nrows() as i64, values.ncols() as i64];
    let standard = values.as_standard_layout();
    Tensor::from_slice(standard.as_slice().expect("just brought into standard layout")).view(size)
}

/// A copy of pixels, `[N, C·H·W]`.
pub(super) fn pixels(values: ArrayView2<u8>) -> Tensor {
    let size = [values.nrows() as i64, values.ncols() as i64];
    let standard = values.as_standard_layout();
    Tensor::from_slice(standard.as_slice().expect("just brought into standard layout")).view(size)
}

/// Copies all values of a tensor out.
pub(super) fn copy(tensor: &Tensor, values: &mut [f32]) {
    tensor.copy_data(values, values.len());
}
