//! A batch's gradient on its way from a lane to the hub, and which of its batch's updates it is for.
//!
//! Plain records. Made by a lane, applied by the hub.

use super::cluster::contribution::Contribution;
use super::pass::PassSums;
use super::popart::TargetSums;

/// A batch's gradient, and where it comes from.
pub struct Gradient<'a> {
    /// By every parameter; the hub sums it over all ranks, and clips it.
    pub contribution: &'a mut Contribution,
    /// Policy version of the weights that it is the gradient at.
    pub version: u64,
    /// Losses and importance ratios, summed over the batch; over those of all ranks once they are exchanged.
    pub sums: PassSums,
    /// Over the targets of each task, where tasks or their units are told apart.
    pub targets: Vec<TargetSums>,
    /// The loss that it is the gradient of.
    pub total_loss: f64,
    /// Weight of the entropy bonus in it.
    pub entropy_cost: f64,
    /// What rewards were multiplied with.
    pub reward_scale: f32,
    /// Which of its batch's updates it is for.
    pub epoch: Epoch,
    /// When the work on it began, ns.
    pub started_ns: u64,
}

/// One of the updates that are made from a batch. What is counted of a batch, frames and episodes before all, is
/// counted with the first: whoever goes on after a death learns from none of its slots again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// From 1 on.
    pub number: u64,
    /// Of so many.
    pub of: u64,
}

impl Epoch {
    /// All epochs of a batch, in order.
    pub fn all(n_epochs: u64) -> impl Iterator<Item = Epoch> {
        (1..=n_epochs).map(move |number| Epoch { number, of: n_epochs })
    }

    /// Whether nothing has been learned from the batch yet.
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Whether nothing more will be learned from the batch.
    pub fn is_last(self) -> bool {
        self.number == self.of
    }
}
