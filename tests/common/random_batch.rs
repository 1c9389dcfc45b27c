//! Random batches for the learner's tests.

use impala::learner::losses::Targets;
use impala::network::NetworkSpec;
use impala::rollout::{Frames, StepKind};
use impala::space::{ActionBuffer, ActionSpace, Actions, ActionsMut, Obs};
use ndarray::Array2;

use crate::random_actions::random_actions;
use crate::uniform::Uniform;

/// Observations of (T+1)·B frames.
pub enum RandomObs {
    /// `[D, N]`.
    Numbers(Array2<f64>),
    /// `[N, C·H·W]`, each 0 or 1.
    Bits(Array2<u8>),
}

impl RandomObs {
    fn new(spec: &NetworkSpec, n_frames: usize, random: &mut Uniform) -> Self {
        match spec.pixels {
            None => RandomObs::Numbers(random.matrix(spec.n_inputs, n_frames)),
            Some(_) => {
                let mut bit = || u8::from(random.below(4) == 0);
                RandomObs::Bits(Array2::from_shape_simple_fn((n_frames, spec.n_inputs), &mut bit))
            }
        }
    }

    pub fn n_frames(&self) -> usize {
        match self {
            RandomObs::Numbers(obs) => obs.ncols(),
            RandomObs::Bits(obs) => obs.nrows(),
        }
    }

    /// Makes all of a frame's numbers equal, and other than they were.
    pub fn spoil(&mut self, frame: usize) {
        match self {
            RandomObs::Numbers(obs) => obs.column_mut(frame).fill(-3.0),
            RandomObs::Bits(obs) => obs.row_mut(frame).fill(1),
        }
    }
}

fn random_tasks(spec: &NetworkSpec, n_trajectories: usize, random: &mut Uniform) -> Vec<u32> {
    let n_told = if spec.n_values > 1 { n_trajectories } else { 0 };
    (0..n_told).map(|_| random.below(spec.n_values) as u32).collect()
}

/// T·B steps of random numbers with every kind of row in them.
pub struct RandomBatch {
    pub n_trajectories: usize,
    pub obs: RandomObs,
    /// `[R, B]`.
    pub state: Array2<f64>,
    /// `[L, (T+1)·B]`.
    pub last_steps: Array2<f64>,
    /// `[B]`; empty where there is one.
    pub tasks: Vec<u32>,
    pub actions: ActionBuffer,
    pub kinds: Vec<StepKind>,
    pub vs: Vec<f64>,
    pub rhos: Vec<f64>,
    pub pg_advantages: Vec<f64>,
    pub weights: Vec<f64>,
}

impl RandomBatch {
    /// A batch of T steps of B trajectories for a network of `spec`.
    pub fn new(
        (spec, actions): (&NetworkSpec, &ActionSpace),
        [n_steps, n_trajectories]: [usize; 2],
        seed: u64,
    ) -> Self {
        let mut random = Uniform::seeded(seed);
        let n = n_steps * n_trajectories;
        let kinds =
            [StepKind::ORDINARY, StepKind::TERMINATED, StepKind::TRUNCATED, StepKind::RESET];
        let kinds: Vec<StepKind> = (0..n).map(|_| kinds[random.below(4)]).collect();
        let weight = |kind: &StepKind| if kind.is_learned() { 1.0 } else { 0.0 };
        let weights: Vec<f64> = kinds.iter().map(weight).collect();
        let masked = |values: Vec<f64>| values.iter().zip(&weights).map(|(v, w)| v * w).collect();
        RandomBatch {
            n_trajectories,
            obs: RandomObs::new(spec, n + n_trajectories, &mut random),
            state: random.matrix(spec.n_state(), n_trajectories),
            last_steps: random.matrix(spec.n_last_step(), n + n_trajectories),
            tasks: random_tasks(spec, n_trajectories, &mut random),
            actions: random_actions(actions, n, &mut random),
            vs: random.vec(n, 2.0),
            pg_advantages: masked(random.vec(n, 2.0)),
            rhos: random.vec(n, 1.0).iter().map(|x| x.exp()).collect(),
            weights,
            kinds,
        }
    }

    pub fn frames(&self) -> Frames<'_, f64> {
        let (n_trajectories, kinds) = (self.n_trajectories, &*self.kinds);
        let obs = match &self.obs {
            RandomObs::Numbers(obs) => Obs::Numbers(obs.view()),
            RandomObs::Bits(obs) => Obs::Pixels(obs.view()),
        };
        let (state, last_steps) = (self.state.view(), self.last_steps.view());
        Frames { n_trajectories, obs, kinds, state, last_steps, tasks: &self.tasks }
    }

    pub fn actions(&self) -> Actions<'_> {
        self.actions.view()
    }

    /// T·B.
    pub fn n_steps(&self) -> usize {
        self.kinds.len()
    }

    /// Makes the action of a step another one of the space.
    pub fn spoil_action(&mut self, step: usize) {
        match self.actions.view_mut() {
            ActionsMut::Indices(mut rows) => {
                rows.column_mut(step).mapv_inplace(|index| 1 - index.min(1))
            }
            ActionsMut::Numbers(mut rows) => {
                rows.column_mut(step).mapv_inplace(|number| number + 3.0)
            }
        }
    }

    pub fn targets(&self) -> Targets<'_, f64> {
        let RandomBatch { vs, rhos, pg_advantages, weights, .. } = self;
        Targets { vs, rhos, pg_advantages, weights }
    }
}
