//! From a batch and what the head sees in it to V-trace targets, and what they say about off-policyness.
//!
//! Owns the mapping of rollout rows to V-trace's inputs (discount, weight, scaled reward) and the
//! statistics of the importance ratios and of each task's targets. Called once a pass.
//!
//! **Values in units of their own.** With PopArt a task's values are `n = (V − μ)/σ`. V-trace is linear in rewards and
//! values, so it need not know: with `r′ = (r − (1 − γ_t) μ)/σ` it makes of n what it would make of V, in the same
//! unit. `r′ + γ_t n_{t+1} − n_t` is `(r + γ_t V_{t+1} − V_t)/σ`. Then `vs`, the critic's loss and the advantages are in
//! units of σ, as PopArt wants them (arXiv 1809.04474, section "Multi-task PopArt").

use super::corrections::{one_step, uncorrected};
use super::losses::Targets;
use super::popart::{TargetSums, Unit};
use super::vtrace::{VtraceInput, VtraceParams, vtrace};
use crate::config::{Correction, LossSettings};
use crate::kernels::Kernels;
use crate::network::heads::Seen;
use crate::rollout::Batch;

/// Constants of the return: what a reward is worth, and V-trace's clipping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReturnSettings {
    /// γ.
    pub discount: f32,
    /// The largest reward either way; what is beyond is brought to it before it is scaled.
    pub reward_clip: f32,
    /// Multiplies every reward before learning.
    pub reward_scale: f32,
    /// Bound of a reward thus multiplied, on either side of 0.
    pub reward_bound: f32,
    /// ρ̄, c̄, the policy gradient's clip, λ.
    pub vtrace: VtraceParams<f32>,
    /// V-trace, or what stands in its place.
    pub correction: Correction,
}

impl ReturnSettings {
    /// Those that a run was set to.
    pub fn of(loss: &LossSettings) -> Self {
        let LossSettings { discount, reward_scale, rho_bar, c_bar, pg_rho_bar, lambda, .. } = *loss;
        let vtrace = VtraceParams { rho_bar, c_bar, pg_rho_bar, lambda };
        let reward_clip = if loss.reward_clip > 0.0 { loss.reward_clip } else { f32::INFINITY };
        let reward_bound = if loss.reward_norm { NORMAL_REWARD_BOUND } else { f32::INFINITY };
        let correction = loss.correction;
        ReturnSettings { discount, reward_clip, reward_scale, reward_bound, vtrace, correction }
    }
}

/// Bound of normalised rewards, as in Stable-Baselines3's `VecNormalize`: before much is known of the returns, one
/// rare reward could be a hundred times what it will count for later.
const NORMAL_REWARD_BOUND: f32 = 10.0;

/// A ratio counts as clipped from this far above ρ̄ on, as a share of it. An actor and the learner may compute one
/// policy by different arithmetic, and equal weights must count as equal: between our kernels and libtorch ratios
/// differed from 1 by up to 5e-6 in 300,000 frames at lag 0.
const CLIP_TOLERANCE: f32 = 1e-4;

/// What the importance ratios and targets of the learned rows looked like; sums, so that batches add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OffPolicyStats {
    /// Learned rows.
    pub n_learned: u64,
    /// Smallest unclipped ratio π(a|x)/μ(a|x).
    pub rho_min: f64,
    /// Largest unclipped ratio.
    pub rho_max: f64,
    /// Sum of unclipped ratios.
    pub rho_sum: f64,
    /// Ratios above ρ̄ by more than rounding.
    pub n_clipped: u64,
    /// Sum of the KL(μ‖π) estimates (ρ − 1) − log ρ of the actions taken: unbiased under μ. None is negative; what
    /// rounding makes so counts as 0.
    pub kl_sum: f64,
    /// Sum of vs.
    pub vs_sum: f64,
    /// Sum of vs².
    pub vs_square_sum: f64,
    /// Sum of vs − V.
    pub error_sum: f64,
    /// Sum of (vs − V)².
    pub error_square_sum: f64,
}

impl Default for OffPolicyStats {
    fn default() -> Self {
        OffPolicyStats {
            n_learned: 0,
            rho_min: f64::INFINITY,
            rho_max: f64::NEG_INFINITY,
            rho_sum: 0.0,
            n_clipped: 0,
            kl_sum: 0.0,
            vs_sum: 0.0,
            vs_square_sum: 0.0,
            error_sum: 0.0,
            error_square_sum: 0.0,
        }
    }
}

impl OffPolicyStats {
    /// Adds the rows of another batch.
    pub fn merge(&mut self, other: &OffPolicyStats) {
        self.n_learned += other.n_learned;
        self.rho_min = self.rho_min.min(other.rho_min);
        self.rho_max = self.rho_max.max(other.rho_max);
        self.rho_sum += other.rho_sum;
        self.n_clipped += other.n_clipped;
        self.kl_sum += other.kl_sum;
        self.vs_sum += other.vs_sum;
        self.vs_square_sum += other.vs_square_sum;
        self.error_sum += other.error_sum;
        self.error_square_sum += other.error_square_sum;
    }

    /// 1 − Var(vs − V) / Var(vs); 0 where the targets do not vary.
    pub fn explained_variance(&self) -> f64 {
        let variance = |sum: f64, square_sum: f64| {
            let n = self.n_learned.max(1) as f64;
            square_sum / n - (sum / n) * (sum / n)
        };
        let of_targets = variance(self.vs_sum, self.vs_square_sum);
        if of_targets <= f64::EPSILON {
            return 0.0;
        }
        1.0 - variance(self.error_sum, self.error_square_sum) / of_targets
    }
}

/// What is one task's own.
#[derive(Clone, Copy, Debug, PartialEq)]
struct TaskTerms {
    /// Multiplies its rewards besides the scale of all.
    reward_scale: f64,
    /// In what its values are counted.
    unit: Unit,
    /// Over its targets so far.
    sums: TargetSums,
}

/// Computes targets batch by batch, in buffers of one size.
#[derive(Debug)]
pub struct TargetBuilder<K> {
    settings: ReturnSettings,
    kernels: K,
    /// One a task; none where rewards and values of all are taken as they are.
    tasks: Vec<TaskTerms>,
    discounts: Vec<f32>,
    rewards: Vec<f32>,
    weights: Vec<f32>,
    log_rhos: Vec<f32>,
    rhos: Vec<f32>,
    vs: Vec<f32>,
    pg_advantages: Vec<f32>,
}

impl<K: Kernels<f32>> TargetBuilder<K> {
    /// Buffers for batches of `n_steps` = T·B steps.
    pub fn new(settings: ReturnSettings, kernels: K, n_steps: usize) -> Self {
        let buffer = || vec![0.0; n_steps];
        TargetBuilder {
            settings,
            kernels,
            tasks: Vec::new(),
            discounts: buffer(),
            rewards: buffer(),
            weights: buffer(),
            log_rhos: buffer(),
            rhos: buffer(),
            vs: buffer(),
            pg_advantages: buffer(),
        }
    }

    /// What rewards are multiplied with from the next batch on.
    pub fn set_reward_scale(&mut self, reward_scale: f32) {
        self.settings.reward_scale = reward_scale;
    }

    /// The same with rewards of each task multiplied with these besides.
    pub fn with_task_scales(mut self, scales: impl Iterator<Item = f32>) -> Self {
        let terms = |scale| TaskTerms {
            reward_scale: f64::from(scale),
            unit: Unit::ONE,
            sums: TargetSums::default(),
        };
        self.tasks = scales.map(terms).collect();
        self
    }

    /// Counts each task's values in these units from the next batch on.
    pub fn set_units(&mut self, units: impl Iterator<Item = Unit>) {
        self.tasks.iter_mut().zip(units).for_each(|(task, unit)| task.unit = unit);
    }

    /// Forgets what was added up of the targets.
    pub fn clear_sums(&mut self) {
        self.tasks.iter_mut().for_each(|task| task.sums = TargetSums::default());
    }

    /// Sums over the targets of each task, as returns.
    pub fn sums(&self) -> impl Iterator<Item = TargetSums> {
        self.tasks.iter().map(|task| task.sums)
    }

    /// The V-trace targets of a batch under the target policy, or those of another correction, and their
    /// statistics.
    #[inline(always)]
    pub fn solve(
        &mut self,
        batch: &Batch<f32>,
        seen: &Seen<f32>,
    ) -> (Targets<'_, f32>, OffPolicyStats) {
        self.map_rows(batch);
        self.take_units(batch.frames.tasks);
        self.importance_ratios(batch, seen);
        let input = VtraceInput {
            n_trajectories: batch.frames.n_trajectories,
            rhos: &self.rhos,
            discounts: &self.discounts,
            rewards: &self.rewards,
            weights: &self.weights,
            values: seen.values,
        };
        let ReturnSettings { vtrace: ref params, correction, .. } = self.settings;
        let (vs, advantages) = (&mut self.vs, &mut self.pg_advantages);
        match correction {
            Correction::Vtrace => vtrace(&input, params, vs, advantages),
            Correction::OneStep => one_step(&input, params, vs, advantages),
            Correction::Epsilon | Correction::None => {
                uncorrected(&input, params.lambda, vs, advantages);
            }
        }
        self.add_targets(batch.frames.tasks);
        let stats = self.stats(seen);
        let TargetBuilder { vs, rhos, pg_advantages, weights, .. } = self;
        let targets = Targets { vs, rhos, pg_advantages, weights };
        (targets, stats)
    }

    /// Discount, weight, clipped and scaled reward of each row; see the table in [`super::vtrace`].
    #[inline(always)]
    fn map_rows(&mut self, batch: &Batch<f32>) {
        let ReturnSettings {
            discount, reward_clip: clip, reward_scale, reward_bound: bound, ..
        } = self.settings;
        let rows = batch.frames.kinds.iter().zip(batch.rewards);
        let mapped = self.discounts.iter_mut().zip(&mut self.weights).zip(&mut self.rewards);
        for (((discounted, weight), reward), (&kind, &raw)) in mapped.zip(rows) {
            let learned = kind.is_learned();
            let bootstraps = learned & !kind.ends_value();
            *discounted = if bootstraps { discount } else { 0.0 };
            *weight = if learned { 1.0 } else { 0.0 };
            *reward = within(reward_scale * within(raw, clip), bound);
        }
    }

    /// Each reward in the unit of its task's values. Rows go round the trajectories' tasks; without any all are of the
    /// first.
    fn take_units(&mut self, tasks: &[u32]) {
        if self.tasks.is_empty() {
            return;
        }
        let rows = self.rewards.iter_mut().zip(&self.discounts).zip(round(tasks));
        for ((reward, discount), task) in rows {
            let TaskTerms { reward_scale, unit, .. } = self.tasks[task];
            let offset = (1.0 - f64::from(*discount)) * unit.mean;
            *reward = ((reward_scale * f64::from(*reward) - offset) / unit.std) as f32;
        }
    }

    /// Adds the targets of learned rows up, as returns.
    fn add_targets(&mut self, tasks: &[u32]) {
        if self.tasks.is_empty() {
            return;
        }
        for ((vs, weight), task) in self.vs.iter().zip(&self.weights).zip(round(tasks)) {
            let TaskTerms { unit, sums, .. } = &mut self.tasks[task];
            if *weight != 0.0 {
                sums.add(unit.std * f64::from(*vs) + unit.mean);
            }
        }
    }

    /// log ρ = log π(a|x) − log μ(a|x) of the taken actions, and ρ.
    #[inline(always)]
    fn importance_ratios(&mut self, batch: &Batch<f32>, seen: &Seen<f32>) {
        let logs = seen.log_pi.iter().zip(batch.log_mu);
        for (log_rho, (&log_pi, &log_mu)) in self.log_rhos.iter_mut().zip(logs) {
            *log_rho = log_pi - log_mu;
        }
        self.kernels.exp(&self.log_rhos, &mut self.rhos);
    }

    #[inline(always)]
    fn stats(&self, seen: &Seen<f32>) -> OffPolicyStats {
        let clipped_from = self.settings.vtrace.rho_bar * (1.0 + CLIP_TOLERANCE);
        let TargetBuilder { weights, rhos, log_rhos, vs, .. } = self;
        let fields: [&[f32]; 5] = [weights, rhos, log_rhos, vs, &seen.values[..rhos.len()]];
        let split = fields.map(|field| field.as_chunks::<LANES>());
        let (whole, rests) = (split.map(|(whole, _)| whole), split.map(|(_, rest)| rest));
        let mut lanes = StatsLanes::default();
        for chunk in 0..whole[0].len() {
            lanes.add(whole.map(|chunks| chunks[chunk]), clipped_from);
        }
        // Where there is no row, the weight is 0.
        lanes.add(rests.map(padded), clipped_from);
        lanes.sum()
    }
}

/// Not beyond the bound, on either side of 0; what is not a number stays so.
#[inline(always)]
fn within(number: f32, bound: f32) -> f32 {
    let number = if number < -bound { -bound } else { number };
    if number > bound { bound } else { number }
}

/// Rows that are added up side by side: f64 in an AVX2 register.
const LANES: usize = 4;

/// The statistics of every fourth row each.
#[derive(Clone, Copy)]
struct StatsLanes {
    rho_min: [f64; LANES],
    rho_max: [f64; LANES],
    /// Rows, clipped ones, and what is summed, in the order of [`OffPolicyStats`].
    sums: [[f64; LANES]; 8],
}

fn padded(rest: &[f32]) -> [f32; LANES] {
    std::array::from_fn(|lane| rest.get(lane).copied().unwrap_or(0.0))
}

impl Default for StatsLanes {
    fn default() -> Self {
        StatsLanes {
            rho_min: [f64::INFINITY; LANES],
            rho_max: [f64::NEG_INFINITY; LANES],
            sums: [[0.0; LANES]; 8],
        }
    }
}

impl StatsLanes {
    /// Adds weight, ρ, log ρ, target and value of a row a lane, unless it is masked, without a branch.
    #[inline(always)]
    fn add(&mut self, [weights, rhos, log_rhos, vs, values]: [[f32; LANES]; 5], clipped_from: f32) {
        for lane in 0..LANES {
            let is_learned = weights[lane] != 0.0;
            let [rho, log_rho, vs, error] =
                [rhos[lane], log_rhos[lane], vs[lane], vs[lane] - values[lane]].map(f64::from);
            let is_clipped = f64::from(u8::from(rhos[lane] > clipped_from));
            let kl = (rho - 1.0 - log_rho).max(0.0);
            let terms = [1.0, is_clipped, rho, kl, vs, vs * vs, error, error * error];
            for (sums, term) in self.sums.iter_mut().zip(terms) {
                sums[lane] += if is_learned { term } else { 0.0 };
            }
            let (least, most) = (&mut self.rho_min[lane], &mut self.rho_max[lane]);
            *least = if is_learned & (rho < *least) { rho } else { *least };
            *most = if is_learned & (rho > *most) { rho } else { *most };
        }
    }

    fn sum(&self) -> OffPolicyStats {
        let sums = self.sums.map(|lanes| lanes.iter().sum());
        let [
            n_learned,
            n_clipped,
            rho_sum,
            kl_sum,
            vs_sum,
            vs_square_sum,
            error_sum,
            error_square_sum,
        ] = sums;
        OffPolicyStats {
            n_learned: n_learned as u64,
            rho_min: self.rho_min.into_iter().fold(f64::INFINITY, f64::min),
            rho_max: self.rho_max.into_iter().fold(f64::NEG_INFINITY, f64::max),
            rho_sum,
            n_clipped: n_clipped as u64,
            kl_sum,
            vs_sum,
            vs_square_sum,
            error_sum,
            error_square_sum,
        }
    }
}

/// These tasks again and again; the first one where none are named.
fn round(tasks: &[u32]) -> impl Iterator<Item = usize> {
    let tasks = if tasks.is_empty() { &[0] } else { tasks };
    tasks.iter().cycle().map(|task| *task as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Simd;
    use crate::network::params::unit_f32;
    use crate::rollout::{Frames, StepKind};
    use crate::space::{Actions, Obs};
    use ndarray::Array2;
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    const T: usize = 12;
    const B: usize = 7;
    const TASKS: [u32; B] = [2, 0, 1, 1, 2, 0, 2];
    const SCALES: [f32; 3] = [1.0, 0.25, 4.0];
    const UNITS: [Unit; 3] =
        [Unit { mean: 3.0, std: 0.5 }, Unit { mean: -40.0, std: 20.0 }, Unit::ONE];

    /// A batch with every kind of row in it.
    struct Random {
        rewards: Vec<f32>,
        log_mu: Vec<f32>,
        kinds: Vec<StepKind>,
        log_pi: Vec<f32>,
        values: Vec<f32>,
    }

    impl Random {
        fn new() -> Self {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
            let mut row = |n: usize, scale: f32| -> Vec<f32> {
                (0..n).map(|_| scale * (2.0 * unit_f32(&mut rng) - 1.0)).collect()
            };
            let kinds = [
                StepKind::ORDINARY,
                StepKind::ORDINARY,
                StepKind::TERMINATED,
                StepKind::TRUNCATED,
                StepKind::RESET,
            ];
            Random {
                rewards: row(T * B, 3.0),
                log_mu: row(T * B, 1.0),
                kinds: (0..T * B).map(|n| kinds[n % 5]).collect(),
                log_pi: row(T * B, 1.0),
                values: row((T + 1) * B, 5.0),
            }
        }

        /// Targets, advantages and sums with these values.
        fn solve(
            &self,
            builder: &mut TargetBuilder<Simd>,
            (values, tasks): (&[f32], &[u32]),
        ) -> (Vec<f32>, Vec<f32>) {
            let (obs, actions) = (Array2::zeros((1, (T + 1) * B)), Array2::zeros((1, T * B)));
            let frames =
                Frames { tasks, ..Frames::memoryless(B, Obs::Numbers(obs.view()), &self.kinds) };
            let batch = Batch {
                frames,
                actions: Actions::Indices(actions.view()),
                rewards: &self.rewards,
                log_mu: &self.log_mu,
            };
            let seen = Seen { log_pi: &self.log_pi, entropies: &self.log_pi, values };
            let (targets, _) = builder.solve(&batch, &seen);
            (targets.vs.to_vec(), targets.pg_advantages.to_vec())
        }
    }

    fn builder() -> TargetBuilder<Simd> {
        let loss = LossSettings { reward_scale: 0.5, reward_clip: 2.0, ..LossSettings::default() };
        TargetBuilder::new(ReturnSettings::of(&loss), Simd::detect(), T * B)
    }

    fn task(n: usize) -> usize {
        TASKS[n % B] as usize
    }

    /// What V-trace makes of values in units of their own is what it makes of the returns, in those units.
    #[test]
    fn values_in_units_have_the_targets_of_returns() {
        let mut random = Random::new();
        let in_units = |n: usize, value: f32| {
            let Unit { mean, std } = UNITS[task(n)];
            ((f64::from(value) - mean) / std) as f32
        };
        let values: Vec<f32> =
            random.values.iter().enumerate().map(|(n, value)| in_units(n, *value)).collect();
        let mut scaled = builder().with_task_scales(SCALES.into_iter());
        scaled.set_units(UNITS.into_iter());
        let (vs, advantages) = random.solve(&mut scaled, (&values, &TASKS));
        // The same without units: each reward is clipped, and multiplied with its task's scale.
        let rewards = random.rewards.iter_mut().enumerate();
        rewards.for_each(|(n, reward)| *reward = reward.clamp(-2.0, 2.0) * SCALES[task(n)]);
        let unclipped = LossSettings { reward_scale: 0.5, ..LossSettings::default() };
        let mut plain = TargetBuilder::new(ReturnSettings::of(&unclipped), Simd::detect(), T * B);
        let (expected, plain_advantages) = random.solve(&mut plain, (&random.values, &[]));
        let mut sums = [TargetSums::default(); 3];
        for n in 0..T * B {
            let Unit { mean, std } = UNITS[task(n)];
            let found = std * f64::from(vs[n]) + mean;
            approx::assert_relative_eq!(found, f64::from(expected[n]), epsilon = 1e-3);
            let found = std * f64::from(advantages[n]);
            approx::assert_relative_eq!(found, f64::from(plain_advantages[n]), epsilon = 1e-3);
            if random.kinds[n].is_learned() {
                sums[task(n)].add(f64::from(expected[n]));
            }
        }
        for (found, expected) in scaled.sums().zip(sums) {
            assert_eq!(found.n, expected.n);
            approx::assert_relative_eq!(found.sum, expected.sum, epsilon = 1e-2);
            let (found, expected) = (found.square_sum, expected.square_sum);
            approx::assert_relative_eq!(found, expected, max_relative = 1e-4);
        }
        scaled.clear_sums();
        assert!(scaled.sums().all(|sums| sums == TargetSums::default()));
    }

    #[test]
    fn a_task_of_scale_one_without_a_unit_is_as_if_it_were_alone() {
        let random = Random::new();
        let mut tasks = builder().with_task_scales([1.0; 3].into_iter());
        let found = random.solve(&mut tasks, (&random.values, &TASKS));
        assert_eq!(found, random.solve(&mut builder(), (&random.values, &[])));
        let mut one = builder().with_task_scales([1.0].into_iter());
        assert_eq!(found, random.solve(&mut one, (&random.values, &[])));
    }
}
