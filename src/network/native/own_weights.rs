//! The weights of a network that acts, and whether it works with the newest ones yet.

/// A flat vector of weights, some of which a network keeps packed in its own way.
pub(super) struct OwnWeights {
    params: Vec<f32>,
    /// They were changed since they were packed.
    is_stale: bool,
}

impl OwnWeights {
    /// Zeros, which any fresh network has packed.
    pub(super) fn zeros(n_params: usize) -> Self {
        OwnWeights { params: vec![0.0; n_params], is_stale: false }
    }

    /// The weights.
    pub(super) fn get(&self) -> &[f32] {
        &self.params
    }

    /// The weights, to be overwritten.
    pub(super) fn get_mut(&mut self) -> &mut [f32] {
        self.is_stale = true;
        &mut self.params
    }

    /// The weights, which `pack` sees first where they are newer than what it saw last.
    pub(super) fn packed(&mut self, pack: impl FnOnce(&[f32])) -> &[f32] {
        if std::mem::take(&mut self.is_stale) {
            pack(&self.params);
        }
        &self.params
    }
}
