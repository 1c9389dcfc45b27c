//! What the settings come to: the environment, the network, whose arithmetic, how many threads. What `auto` stands for
//! is known here.

use super::{
    Config, ConfigError, ExchangeKind, LearnerKind, LstmInputs, SumKind, TorchSettings, TorsoKind,
    value,
};
use crate::env::outside::{Launch, names_code};
use crate::env::{EnvError, Registry, VecEnv, task_ids};
use crate::kernels::Simd;
use crate::network::heads::last_step;
use crate::network::{Arithmetic, Backend, NetworkSpec, TorchOptions, Torso, native};
use crate::os::launcher::Rank;
use crate::os::process;
use crate::space::{ActionSpace, ObsSpace, Spec};

impl Config {
    /// The environment's specification.
    ///
    /// # Errors
    /// If the environment is not known, or does not take its arguments or wrappers.
    pub fn spec(&self) -> Result<Spec, ConfigError> {
        self.check_wrappers()?;
        let spec = self.registry().spec(&self.env, &self.env_args);
        spec.map_err(|error| self.no_env(&error))
    }

    /// The ids of the run's tasks; most often one.
    pub fn tasks(&self) -> Vec<&str> {
        task_ids(&self.env)
    }

    /// How many tasks the run has.
    pub fn n_tasks(&self) -> usize {
        self.tasks().len()
    }

    /// Which task the actor in this place has. They take turns, so that each has as many actors.
    pub fn task_of(&self, actor: usize) -> usize {
        actor % self.n_tasks()
    }

    /// What the rewards of each task are multiplied with besides; none of a run of one task without PopArt, which takes
    /// them as they are.
    pub fn task_scales(&self) -> impl Iterator<Item = f32> {
        let n_tasks = self.n_tasks();
        let n_scales = if n_tasks > 1 || self.loss.popart > 0.0 { n_tasks } else { 0 };
        (0..n_scales).map(|task| self.loss.task_reward_scales.get(task).copied().unwrap_or(1.0))
    }

    /// The environments that may be named, with those in processes of their own started, and actions brought
    /// within their bounds, as the settings say.
    pub fn registry(&self) -> Registry {
        let launch = Launch {
            python: self.python.clone(),
            wrappers: self.env_wrappers.clone(),
            start_timeout_s: self.env_start_timeout_s,
            n_envs: self.actors.envs_per_actor,
        };
        self.environments.clone().launching(launch).squashing_actions(self.squash_actions)
    }

    /// What of these settings names code to be run; `None` where nothing does. Who has not written them may not
    /// want that.
    pub fn named_code(&self) -> Option<String> {
        let mut tasks = self.tasks().into_iter();
        let env = tasks.any(names_code).then(|| format!("env = {}", self.env));
        let wrappers = self.env_wrappers.join(", ");
        let wrappers = (!wrappers.is_empty()).then(|| format!("env_wrappers = {wrappers}"));
        let python = (!self.python.is_empty()).then(|| format!("python = {}", self.python));
        let named: Vec<String> = [env, wrappers, python].into_iter().flatten().collect();
        (!named.is_empty()).then(|| named.join("; "))
    }

    /// The network for an environment.
    ///
    /// # Errors
    /// If it cannot take what the environment shows, or be that large.
    pub fn network(&self, spec: &Spec) -> Result<NetworkSpec, ConfigError> {
        let spec = &Spec { obs: self.seen(&spec.obs)?, ..spec.clone() };
        let torso = self.torso(&spec.obs);
        let normalizes = self.normalizes(&spec.obs)?;
        let (n_values, scales_values) = (self.n_tasks(), self.loss.popart > 0.0);
        let network =
            NetworkSpec { normalizes, n_values, scales_values, ..NetworkSpec::of(spec, torso) };
        let hidden = || format!("{:?}", self.network.hidden);
        match (network.fault(), &network.torso) {
            (None, _) => self.with_memory(network, spec),
            (Some(fault), Torso::Mlp { .. }) => Err(value("network.hidden", hidden(), fault)),
            (Some(fault), torso) => {
                let remedy = format!("{} shows {fault}; choose auto or another torso", self.env);
                Err(value("network.torso", torso.name(), remedy))
            }
        }
    }

    /// The network with the LSTM of the settings, if they have one.
    fn with_memory(&self, network: NetworkSpec, spec: &Spec) -> Result<NetworkSpec, ConfigError> {
        let (units, inputs) = (self.network.lstm, self.network.lstm_inputs);
        let n_last_step = match inputs {
            LstmInputs::LastStep => last_step::n_numbers(&spec.actions),
            LstmInputs::Features => 0,
        };
        if units == 0 && n_last_step > 0 {
            let remedy = "nothing takes it without an LSTM; set network.lstm, such as 64".into();
            return Err(value("network.lstm_inputs", "last_step", remedy));
        }
        let network = if units == 0 { network } else { network.with_lstm(units, n_last_step) };
        match network.fault() {
            None => Ok(network),
            Some(fault) => Err(value("network.lstm", units, fault)),
        }
    }

    /// What the network sees of such observations.
    fn seen(&self, obs: &ObsSpace) -> Result<ObsSpace, ConfigError> {
        obs.stacked(self.frame_stack).ok_or_else(|| {
            let remedy = format!("must be 1: {} shows numbers, and pictures are stacked", self.env);
            value("frame_stack", self.frame_stack, remedy)
        })
    }

    /// Whether the network sees such observations normalised.
    fn normalizes(&self, obs: &ObsSpace) -> Result<bool, ConfigError> {
        match (self.network.normalize_observations, obs) {
            (true, ObsSpace::Image { .. }) => {
                let remedy = format!(
                    "must be false: {} shows pictures, which a network sees as 0 to 1",
                    self.env
                );
                Err(value("network.normalize_observations", true, remedy))
            }
            (true, ObsSpace::Vector { .. }) if self.is_distributed() => {
                let remedy = "must be false where several ranks learn together: each has statistics of its own";
                Err(value("network.normalize_observations", true, remedy.into()))
            }
            (normalizes, _) => Ok(normalizes),
        }
    }

    /// The torso for such observations: what `auto` stands for is known.
    fn torso(&self, obs: &ObsSpace) -> Torso {
        match (self.network.torso, obs) {
            (TorsoKind::Mlp, _) | (TorsoKind::Auto, ObsSpace::Vector { .. }) => {
                Torso::Mlp { hidden: self.network.hidden.clone() }
            }
            (TorsoKind::Auto, ObsSpace::Image { high: 1, .. }) | (TorsoKind::Minatar, _) => {
                Torso::Minatar
            }
            (TorsoKind::Nature, _) => Torso::Nature,
            (TorsoKind::Auto | TorsoKind::ImpalaShallow, _) => Torso::ImpalaShallow,
            (TorsoKind::ImpalaDeep, _) => Torso::ImpalaDeep,
        }
    }

    /// Whose arithmetic the learner runs on: what `auto` stands for is known.
    ///
    /// # Errors
    /// If this build lacks it, or it lacks the network.
    pub fn backend(&self, network: &NetworkSpec) -> Result<Backend, ConfigError> {
        let backend = match self.learner {
            LearnerKind::Auto => Backend::of(network),
            LearnerKind::Native => Backend::Native,
            LearnerKind::Torch => Backend::Torch,
        };
        if backend == Backend::Native && !native::supports(network) {
            let name = network.name();
            let remedy =
                format!("{name} has no gradient of our own for such pictures; choose torch");
            return Err(value("learner", "native", remedy));
        }
        match backend.is_built() {
            true => Ok(backend),
            false if self.learner == LearnerKind::Torch => Err(ConfigError::NoTorch),
            false => Err(ConfigError::NetworkNeedsTorch { network: network.name() }),
        }
    }

    /// Name of the learner that runs: what `auto` stands for is known.
    pub fn learner_name(&self) -> &'static str {
        let network = self.spec().and_then(|spec| self.network(&spec));
        network.and_then(|network| self.backend(&network)).unwrap_or(Backend::Native).name()
    }

    /// How numbers are computed.
    ///
    /// # Errors
    /// As [`Config::simd`].
    pub fn arithmetic(&self) -> Result<Arithmetic, ConfigError> {
        let TorchSettings { channels_last, bf16 } = self.torch;
        Ok(Arithmetic { kernels: self.simd()?, torch: TorchOptions { channels_last, bf16 } })
    }

    /// `n_envs` environments of the task with this number, seeded from `seed` on, with observations as the network
    /// takes them and actions as the policy draws them.
    ///
    /// # Errors
    /// As [`Config::spec`].
    pub fn make_vec(
        &self,
        task: usize,
        n_envs: usize,
        seed: u64,
    ) -> Result<Box<dyn VecEnv>, ConfigError> {
        let envs = self.registry().make_inputs(&self.env, task, &self.env_args, n_envs, seed);
        envs.map_err(|error| self.no_env(&error))
    }

    /// The kernels chosen. Those of `auto` multiply in bf16 only where seeds have shown that it learns as f32 does.
    ///
    /// # Errors
    /// If the name is not known or the processor lacks them, or there is no such environment.
    pub fn simd(&self) -> Result<Simd, ConfigError> {
        let simd = Simd::named(&self.kernels)
            .map_err(|error| value("kernels", &self.kernels, error.to_string()))?;
        let keeps_f32 = self.kernels == "auto" && !self.learns_in_bf16()?;
        Ok(if keeps_f32 { simd.in_f32() } else { simd })
    }

    /// A network of our own that chooses among actions does. With real numbers as actions Pendulum-v1 failed on two
    /// seeds of five that f32 learned.
    fn learns_in_bf16(&self) -> Result<bool, ConfigError> {
        let spec = self.spec()?;
        let is_choice = !matches!(spec.actions, ActionSpace::Box { .. });
        Ok(is_choice && native::supports(&self.network(&spec)?))
    }

    /// Name of the kernels that run: what `auto` stands for is known.
    pub fn kernels_name(&self) -> String {
        self.simd().map_or_else(|_| self.kernels.clone(), |simd| simd.name().to_owned())
    }

    /// Frames between two rows of `metrics.csv`.
    pub fn row_interval_frames(&self) -> u64 {
        (self.frames / self.report.rows).max(1)
    }

    /// Threads that the learner runs: what 0 stands for is known.
    pub fn n_learner_threads(&self) -> usize {
        let is_single = self.deterministic || self.batch_threads > 1 || process::n_cores() == 1;
        match self.learner_threads {
            0 if is_single => 1,
            // Half of the slots stay with the actors, which else would wait for the learner.
            0 => (self.ring_batches() / 2).clamp(1, 2),
            n_threads => n_threads,
        }
    }

    /// Threads that compute a batch's gradient together: what 0 stands for is known.
    pub fn n_batch_threads(&self) -> usize {
        let network = || self.spec().and_then(|spec| self.network(&spec));
        let gains = || network().is_ok_and(|network| self.can_share(&network));
        match self.batch_threads {
            0 if self.n_learner_threads() == 1 && gains() => process::n_cores().min(2),
            n_threads => n_threads.max(1),
        }
    }

    /// Whether several threads can compute a batch's gradient together.
    pub(super) fn can_share(&self, network: &NetworkSpec) -> bool {
        matches!(self.backend(network), Ok(Backend::Native)) && native::can_share(network)
    }

    /// Slots of all rings together.
    pub fn n_slots(&self) -> usize {
        self.actors.count * self.actors.slots_per_actor
    }

    /// The most threads that the learner may run: each needs a batch of its own, and a deterministic run one
    /// order of its updates.
    pub fn max_learner_threads(&self) -> usize {
        if self.deterministic { 1 } else { self.ring_batches() }
    }

    /// Whole batches that all rings together hold.
    pub fn ring_batches(&self) -> usize {
        self.n_slots() / self.loss.batch_slots
    }

    /// Whether the learner takes part in a job of several, or of one that uses their means.
    pub fn is_distributed(&self) -> bool {
        match self.distributed.exchange {
            ExchangeKind::Auto => !self.rank.is_alone(),
            ExchangeKind::None => false,
            ExchangeKind::Mpi => true,
        }
    }

    /// Whether each slot's gradient is kept apart until all are summed in one order, so that the sum's bits do not
    /// depend on which rank had which slot.
    pub fn sums_in_order(&self) -> bool {
        self.deterministic || self.is_distributed() && self.distributed.sum == SumKind::RankOrder
    }

    /// The place of an actor among those of all ranks, from which its seeds follow: such that R ranks that take S
    /// slots each an update take the slots, in the same order, of one learner that takes R·S.
    pub fn place_of(&self, actor: usize) -> u64 {
        let (slots, Rank { number, of }) = (self.loss.batch_slots, self.rank);
        ((actor / slots * of + number) * slots + actor % slots) as u64
    }

    fn no_env(&self, error: &EnvError) -> ConfigError {
        match error {
            EnvError::Args { .. } => value("env_args", &self.env_args, error.to_string()),
            EnvError::Outside { source, .. } => value("env", &self.env, source.to_string()),
            _ => value("env", &self.env, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_keeps_f32_where_bf16_was_not_seen_to_learn_as_well() {
        let kernels = |env: &str, kernels: &str| {
            let (env, kernels) = (env.to_owned(), kernels.to_owned());
            Config { env, kernels, ..Config::default() }.kernels_name()
        };
        for env in ["CartPole-v1", "MinAtar/Breakout-v1"] {
            assert_eq!(kernels(env, "auto"), Simd::auto().name(), "{env}");
        }
        for env in ["Pendulum-v1", "PixelCatch-v0"] {
            assert_eq!(kernels(env, "auto"), Simd::detect().name(), "{env}");
            for asked in Simd::supported_bf16() {
                assert_eq!(kernels(env, asked.name()), asked.name(), "{env}: what was asked for");
            }
        }
    }

    #[test]
    fn the_learner_takes_two_threads_where_they_can_be_used() {
        let with = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.n_learner_threads()
        };
        assert_eq!(with(&|_| ()), process::n_cores().min(2));
        assert_eq!(with(&|config| config.learner_threads = 3), 3);
        assert_eq!(with(&|config| config.deterministic = true), 1);
        assert_eq!(with(&|config| config.actors.count = 3), 1);
        assert_eq!(with(&|config| config.loss.batch_slots = 4), 1);
    }

    #[test]
    fn threads_share_the_batches_of_one_learner_thread_of_minatars_network() {
        let with = |env: &str, change: &dyn Fn(&mut Config)| {
            let mut config = Config { env: env.to_owned(), ..Config::default() };
            config.learner_threads = 1;
            change(&mut config);
            [config.n_learner_threads(), config.n_batch_threads()]
        };
        let breakout = |change: &dyn Fn(&mut Config)| with("MinAtar/Breakout-v1", change);
        assert_eq!(breakout(&|_| ()), [1, process::n_cores().min(2)]);
        assert_eq!(breakout(&|config| config.deterministic = true)[1], process::n_cores().min(2));
        assert_eq!(breakout(&|config| config.learner_threads = 2), [2, 1]);
        assert_eq!(breakout(&|config| config.batch_threads = 1), [1, 1]);
        let both = |config: &mut Config| (config.learner_threads, config.batch_threads) = (0, 3);
        assert_eq!(breakout(&both), [1, 3], "who asks for these gets no second learner thread");
        assert_eq!(with("CartPole-v1", &|_| ()), [1, 1]);
    }

    /// Two ranks of four actors and two slots a batch: the batches of one learner of eight actors and four.
    #[test]
    fn actors_of_all_ranks_have_the_places_of_one_learners() {
        let places = |number, of| {
            let mut config = Config { rank: Rank { number, of }, ..Config::default() };
            config.loss.batch_slots = 2;
            [0, 1, 2, 3].map(|actor| config.place_of(actor))
        };
        assert_eq!(places(0, 1), [0, 1, 2, 3]);
        assert_eq!([places(0, 2), places(1, 2)], [[0, 1, 4, 5], [2, 3, 6, 7]]);
    }

    #[test]
    fn numbers_are_normalised_and_pictures_are_not() {
        let mut config = Config::default();
        config.network.normalize_observations = true;
        assert!(config.network(&config.spec().unwrap()).unwrap().normalizes);
        let config = Config { env: "MinAtar/Breakout-v1".into(), ..config };
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("network.normalize_observations"), "{refused}");
    }

    #[test]
    fn pictures_are_stacked_and_numbers_are_not() {
        let config = Config { frame_stack: 4, ..Config::default() };
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("frame_stack") && refused.contains("CartPole-v1"), "{refused}");
        let config = Config { env: "MinAtar/Breakout-v1".into(), ..config };
        let network = config.network(&config.spec().unwrap()).unwrap();
        assert_eq!(network.pixels.unwrap().shape, [16, 10, 10]);
    }
}
