//! Networks as tensor operations, differentiated by libtorch's autograd.
//!
//! Independent of [`super::native`] down to the arithmetic, so that each checks the other, and all there is for
//! networks that have no hand-derived gradient. Built with the cargo feature `torch`; called by learner and
//! actors after the fork, never by the supervisor (a process forked after libtorch has started threads would
//! hang).

mod acting;
mod learning;
mod lstm;
mod tensors;
mod walk;

pub use acting::TorchActing;
pub use learning::TorchLearning;

/// What such a network is called in settings and reports.
pub(super) const NAME: &str = "torch";
