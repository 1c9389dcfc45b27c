//! Every setting of a run: its default, its meaning, its limits, its check.
//!
//! A setting is declared once, in this file: what stands there becomes the field and its documentation,
//! its default, its check and its comment in the TOML that [`Config::to_toml`] writes. A configuration
//! is built from [`Layers`] and is checked as a whole by [`Config::check`] before anything starts. The
//! resolved copy lies in every run folder as `config.toml` and reproduces the run's settings. Knows
//! nothing of processes or memory.

mod advice;
mod clip;
mod dotted;
mod error;
mod layers;
mod presets;
mod schedule;
mod setting;

use std::path::Path;

use crate::env::outside::{Launch, names_code};
use crate::env::{EnvArgs, EnvError, Registry, VecEnv, task_ids};
use crate::kernels::Simd;
use crate::network::heads::last_step;
use crate::network::params::{MAX_LAYERS, MAX_WIDTH};
use crate::network::{Arithmetic, Backend, NetworkSpec, TorchOptions, Torso, native};
use crate::os::launcher::Rank;
use crate::os::process;
use crate::space::{ActionSpace, ObsSpace, Spec};

pub use advice::meant_setting;
pub use clip::Clip;
pub use dotted::dotted;
pub use error::ConfigError;
pub use layers::Layers;
pub use presets::{PRESETS, preset};
pub use schedule::{Schedule, Shape};

use setting::Allowed::{Flag, Integers, List, RealList, Reals, Table, Text, Words};
use setting::{Setting, Visited, settings, words};

/// The most learner threads: far more than have been seen to help.
const MAX_LEARNER_THREADS: u64 = 64;

/// The longest name of a run, and of a tag.
const MAX_NAME_BYTES: usize = 64;

/// TOML's integers are signed: a larger value could not be written to the run's config.toml.
const MAX_INTEGER: u64 = i64::MAX as u64;

settings! {
    /// All settings of a training run. The defaults learn CartPole-v1.
    pub struct Config {
        /// Id of the environment: one of the engine's own; or one in a process of its own, such as
        /// gym:LunarLander-v3, vec:ALE/Pong-v5, my_module:make_env, exec:./my_simulator. Its preset, where it
        /// has one, changes the defaults below. Several ids between commas are tasks that one network learns.
        env: String = "CartPole-v1".into(), Text("the id of an environment, or several between commas");
        /// Arguments of the environment, such as { size = 9 }; which there are, it says itself. Each of several
        /// tasks has them.
        env_args: EnvArgs = EnvArgs::default(), Text("a table of arguments that the environment takes");
        /// Wrappers of an environment of Python, the innermost first; what a wrapper takes follows it as JSON:
        /// module:Class={"size": 7}.
        env_wrappers: Vec<String> = Vec::new(), Text("a list of MODULE:CLASS or MODULE:CLASS={...}");
        /// The Python of such environments; empty for that of IMPALA_PYTHON, VIRTUAL_ENV, .venv, or the system.
        python: String = String::new(), Text("the path of a Python, or nothing");
        /// Time that the process of such environments may take until they can be stepped.
        env_start_timeout_s: f64 = Launch::default().start_timeout_s, Reals(0.1, 1e6, "seconds");
        /// What becomes of the numbers that a policy draws for a Box action: false clips those beyond -1 and 1,
        /// true squashes all by tanh. Either way -1 to 1 span the bounds of the action.
        squash_actions: bool = false, Flag;
        /// Pictures that the network sees at once: the newest, and those of the steps before it in the episode.
        /// Slots hold each picture once.
        frame_stack: usize = 1, Integers(1, 16, "pictures");
        /// A name of the run, with which that of its folder begins; empty for the environment's.
        name: String = String::new(), Text("letters, digits, dots, dashes and underscores");
        /// Words by which the run is found again.
        tags: Vec<String> = Vec::new(), Text("a list of words");
        /// Seed of everything random: weights, environments, actions.
        seed: u64 = 1, Integers(0, MAX_INTEGER, "");
        /// Budget: environment steps to learn from.
        frames: u64 = 2_000_000, Integers(1, MAX_INTEGER, "frames");
        /// End as soon as the mean of the last 100 training episodes reaches the environment's threshold.
        stop_when_solved: bool = false, Flag;
        /// Which implementation of the learner.
        learner: LearnerKind = LearnerKind::Auto, Words(LearnerKind::WORDS);
        /// Threads of the learner, each computing the gradient of a batch of its own; they share the cores
        /// with the actors. 0 stands for two, and for one where two cannot be had or used: on one core, with
        /// rings that hold fewer than four batches, in a deterministic run.
        learner_threads: usize = 0, Integers(0, MAX_LEARNER_THREADS, "threads");
        /// Two runs of one seed learn the same weights, to the last bit: slots are handed back all
        /// together, when each has been learned from, so that nothing depends on who was faster. Actors
        /// and learner then take turns, which costs throughput.
        deterministic: bool = false, Flag;
        /// Log to slots.csv which slots each update learned from; `impala replay` learns the same weights
        /// from that.
        log_slots: bool = false, Flag;
        /// Matrix kernels; for an mlp that chooses among actions auto takes amx where the processor has it, and bf16 on
        /// an AMD that has it; else the widest in f32. bf16 and amx multiply numbers rounded to bf16 in an mlp and in
        /// the dense layer of minatar, in actors and learner; weights, sums, steps and the evaluation stay f32.
        kernels: String = "auto".into(), Text("auto, portable, or what the processor has of avx2, avx512, bf16, amx");
        /// The actor processes and their rollouts.
        actors: ActorSettings = ActorSettings::default(), Table;
        /// The policy and baseline network: a torso that both share, an LSTM if wanted, and two linear heads.
        network: NetworkSettings = NetworkSettings::default(), Table;
        /// What libtorch may do, where it computes the network.
        torch: TorchSettings = TorchSettings::default(), Table;
        /// The loss, summed over a batch: policy gradient + baseline_cost · critic − entropy_cost · entropy.
        loss: LossSettings = LossSettings::default(), Table;
        /// The optimiser.
        optimizer: OptimizerConfig = OptimizerConfig::default(), Table;
        /// What is reported, and how the result is evaluated.
        report: ReportSettings = ReportSettings::default(), Table;
        /// Evaluations while training goes on.
        eval: EvalSettings = EvalSettings::default(), Table;
        /// When training is saved, and how much of that is kept.
        checkpoint: CheckpointSettings = CheckpointSettings::default(), Table;
        /// What is done about workers that die or hang, and about numbers that are none.
        supervision: SupervisionSettings = SupervisionSettings::default(), Table;
        /// Learning together with other machines: one engine a node, started by a launcher such as mpirun.
        distributed: DistributedSettings = DistributedSettings::default(), Table;
        besides {
            /// The environments that `env` may name: the engine's own, and those that a program adds.
            environments: Registry;
            /// Which of the job's learners this one is; the launcher says it.
            rank: Rank;
        }
    }
}

words! {
    /// Which implementation computes the learner's gradient.
    pub enum LearnerKind {
        /// native for every network it supports (mlp, and minatar on planes of bits), else torch
        Auto = "auto",
        /// hand-derived gradients on the built-in kernels
        Native = "native",
        /// libtorch's autograd; needs a build with the cargo feature torch
        Torch = "torch",
    }
}

settings! {
    /// The actor processes and their rollouts.
    pub struct ActorSettings {
        /// N, actor processes. Several tasks have as many each; where nobody sets N, it is rounded up to that.
        count: usize = 4, Integers(1, 256, "processes");
        /// E, environments each actor steps side by side.
        envs_per_actor: usize = 32, Integers(1, 65_536, "environments");
        /// T, steps of each environment in a rollout.
        unroll_length: usize = 20, Integers(1, 65_536, "steps");
        /// Slots in each actor's ring. One keeps the policy lag lowest and costs no throughput while
        /// there are several actors: the others collect while the learner holds one's slot.
        slots_per_actor: usize = 1, Integers(1, 1_024, "slots");
    }
}

settings! {
    /// The policy and baseline network: a torso that both share, an LSTM if wanted, and two linear heads.
    pub struct NetworkSettings {
        /// What makes features of an observation.
        torso: TorsoKind = TorsoKind::Auto, Words(TorsoKind::WORDS);
        /// Units of each hidden layer of an mlp.
        hidden: Vec<usize> = vec![64, 64], List((1, MAX_LAYERS as u64), (1, MAX_WIDTH as u64), "units");
        /// Units of an LSTM between torso and heads, for what an observation alone does not show; 0 for none. It
        /// learns from what lies up to actors.unroll_length steps back.
        lstm: usize = 0, Integers(0, MAX_WIDTH as u64, "units");
        /// What the LSTM takes.
        lstm_inputs: LstmInputs = LstmInputs::Features, Words(LstmInputs::WORDS);
        /// It sees the numbers of observations with mean 0 and variance 1, clipped to -10 and 10. Means and
        /// variances are those of all that was learned from so far.
        normalize_observations: bool = false, Flag;
    }
}

words! {
    /// What the LSTM takes.
    pub enum LstmInputs {
        /// what the torso makes of the observation
        Features = "features",
        /// besides, the last action and the last reward, clipped to -1 to 1, as in the IMPALA paper
        LastStep = "last_step",
    }
}

words! {
    /// What makes features of an observation.
    pub enum TorsoKind {
        /// mlp for numbers, minatar for planes of bits, impala-shallow for other pictures
        Auto = "auto",
        /// dense layers with tanh; pixels are taken as numbers
        Mlp = "mlp",
        /// one convolution, 3 × 3 × 16, and 128 units (Young and Tian 2019)
        Minatar = "minatar",
        /// three convolutions and 512 units (Mnih et al. 2015)
        Nature = "nature",
        /// two convolutions and 256 units (IMPALA, Figure 3 left)
        ImpalaShallow = "impala-shallow",
        /// fifteen convolutions with residual blocks and 256 units (IMPALA, Figure 3 right)
        ImpalaDeep = "impala-deep",
    }
}

settings! {
    /// What libtorch may do, where it computes the network.
    pub struct TorchSettings {
        /// Pictures lie in memory with their channels innermost, which most convolutions compute faster with.
        channels_last: bool = true, Flag;
        /// The torso computes in bfloat16. Parameters, heads and gradients stay f32. Faster where the processor
        /// has instructions for it; slower elsewhere.
        bf16: bool = false, Flag;
    }
}

settings! {
    /// The loss, summed over a batch: policy gradient + baseline_cost · critic − entropy_cost · entropy.
    pub struct LossSettings {
        /// S, slots a batch: at most the slots of all rings together.
        batch_slots: usize = 1, Integers(1, 262_144, "slots");
        /// γ.
        discount: f32 = 0.99, Reals(0.0, 1.0, "");
        /// Every reward is brought to between this and minus this before it is scaled (scores are reported
        /// unclipped); 0 leaves all as they are.
        reward_clip: f32 = 0.0, Reals(0.0, 1e9, "");
        /// K, updates made from each batch, one after the other, with V-trace's targets computed anew in each.
        /// More learn from fewer frames, and cost the learner as many times its work.
        epochs: u64 = 1, Integers(1, 1_000, "updates a batch");
        /// PPO's clip ε on top of V-trace: a step whose ratio π(a|x)/μ(a|x) has gone beyond 1 ± ε, and would go
        /// further, gives the policy no gradient. auto is 0.2 for several epochs, which break without it, and
        /// none for one epoch, which is IMPALA.
        clip: Clip = Clip::Auto, Clip::ALLOWED;
        /// Multiplies every reward before learning (scores are reported unscaled).
        reward_scale: f32 = 0.1, Reals(1e-9, 1e9, "");
        /// What the rewards of each of several tasks are multiplied with besides, in the order of env; empty for 1.
        task_reward_scales: Vec<f32> = Vec::new(), RealList(1e-9, 1e9);
        /// In the place of reward_scale: divide every reward by the running standard deviation of the discounted
        /// return, and clip it at ±10.
        reward_norm: bool = false, Flag;
        /// PopArt (van Hasselt et al. 2016): the critic predicts each task's returns in units of their own mean and
        /// deviation, and advantages are divided by that deviation. How far each update moves mean and second moment
        /// towards those of its targets, such as 0.001; 0 for no PopArt.
        popart: f64 = 0.0, Reals(0.0, 1.0, "");
        /// Weight of the critic loss ½ (vs − V)².
        baseline_cost: f32 = 0.5, Reals(0.0, 1e9, "");
        /// What is done about the age of the policy that acted.
        correction: Correction = Correction::Vtrace, Words(Correction::WORDS);
        /// ρ̄ of V-trace.
        rho_bar: f32 = 1.0, Reals(1e-9, 1e9, "");
        /// c̄ of V-trace.
        c_bar: f32 = 1.0, Reals(0.0, 1e9, "");
        /// Clip of the policy gradient's importance ratio.
        pg_rho_bar: f32 = 1.0, Reals(1e-9, 1e9, "");
        /// λ of V-trace.
        lambda: f32 = 1.0, Reals(0.0, 1.0, "");
        /// Rollouts of older policies are dropped and counted, never learned: those from before more batches than
        /// this. Each batch makes loss.epochs updates.
        max_policy_lag: u64 = 64, Integers(0, MAX_INTEGER, "batches");
        /// Weight of the entropy bonus.
        entropy_cost: Schedule = Schedule::constant(0.001), Table;
    }
}

words! {
    /// What is done about the age of the policy that acted: V-trace, or one of those that the paper compares it with.
    pub enum Correction {
        /// V-trace (IMPALA, section 4.1)
        Vtrace = "vtrace",
        /// the policy gradient alone is weighted by the importance ratio
        OneStep = "one_step",
        /// nothing, but log π(a|x) is taken as log(π(a|x) + 1e-6) so that it cannot explode
        Epsilon = "epsilon",
        /// nothing
        None = "none",
    }
}

settings! {
    /// The optimiser.
    pub struct OptimizerConfig {
        /// Which optimiser.
        kind: OptimizerKind = OptimizerKind::RmsProp, Words(OptimizerKind::WORDS);
        /// Largest norm of the gradient of the summed loss.
        max_grad_norm: f32 = 40.0, Reals(1e-9, 1e9, "");
        /// RMSProp: smoothing of the squared gradient.
        alpha: f32 = 0.99, Reals(0.0, 0.999_999, "");
        /// Adam: smoothing of the gradient and of its square.
        betas: [f32; 2] = [0.9, 0.999], Reals(0.0, 0.999_999, "");
        /// Added to the denominator.
        epsilon: f32 = 0.01, Reals(1e-12, 1e3, "");
        /// Learning rate. At a constant rate every seed falls below its score again and again; an end
        /// above zero keeps learning possible for ever.
        learning_rate: Schedule = Schedule::linear(2e-3, 0.05, 600_000), Table;
    }
}

words! {
    /// The optimiser's update rule.
    pub enum OptimizerKind {
        /// RMSProp as in PyTorch, without momentum
        RmsProp = "rms_prop",
        /// Adam as in PyTorch
        Adam = "adam",
    }
}

settings! {
    /// What is reported, and how the result is evaluated.
    pub struct ReportSettings {
        /// Rows of metrics.csv over the frame budget, evenly spaced in frames.
        rows: u64 = 200, Integers(1, 1_000_000, "rows");
        /// Episodes of the greedy evaluation at the end; 0 for none.
        eval_episodes: u64 = 100, Integers(0, 1_000_000, "episodes");
        /// Steps after which an episode of that evaluation is cut that does not end by itself. It counts with
        /// its return so far.
        eval_max_steps: u64 = 100_000, Integers(1, 1_000_000_000, "steps");
        /// Time after which that evaluation ends. Episodes that have not ended by then do not count.
        eval_max_s: f64 = 600.0, Reals(0.1, 1e6, "seconds");
    }
}

settings! {
    /// Evaluations while training goes on.
    pub struct EvalSettings {
        /// Time from the begin of one to that of the next, each in a process of its own; 0 for none. With them
        /// best.safetensors is the policy that did best in one, else the one with the best training score.
        interval_s: f64 = 0.0, Reals(0.0, 1e6, "seconds");
        /// Episodes of each, played greedily, always the same ones. They are cut as those of the evaluation at
        /// the end.
        episodes: u64 = 20, Integers(1, 1_000_000, "episodes");
    }
}

settings! {
    /// When training is saved, and how much of that is kept.
    pub struct CheckpointSettings {
        /// Time between checkpoints; there is always one at the end.
        interval_s: f64 = 60.0, Reals(0.1, 1e6, "seconds");
        /// How many of the newest are kept, besides the best one.
        keep: usize = 3, Integers(2, 10_000, "checkpoints");
    }
}

settings! {
    /// What is done about workers that die or hang, and about numbers that are none.
    pub struct SupervisionSettings {
        /// Time without a sign of life after which a worker is replaced. Longer than the longest rollout
        /// and the longest update.
        hang_timeout_s: f64 = 10.0, Reals(0.5, 1e6, "seconds");
        /// Time that workers may take to end once they were told to stop; who has not is killed.
        stop_grace_s: f64 = 3.0, Reals(0.0, 1e6, "seconds");
        /// Deaths of one worker within the window that are mended; one more and it is given up.
        max_restarts: usize = 5, Integers(0, 1_000_000, "deaths");
        /// Length of that window.
        restart_window_s: f64 = 30.0, Reals(0.0, 1e6, "seconds");
        /// Longest pause before a replacement: the first comes at once, later ones after 0.1 to 5 s.
        max_pause_s: f64 = 5.0, Reals(0.0, 60.0, "seconds");
        /// Rollouts in a row with a NaN or infinite observation or reward after which their actor ends.
        /// Each is dropped, and the environment that made it reset.
        max_bad_rollouts: u64 = 10, Integers(1, 1_000_000, "rollouts");
        /// Updates in a row with a NaN or infinite loss or gradient after which training goes back to a
        /// checkpoint; if that does not help, the run ends. Each is skipped. Those of rollouts from before
        /// the learner at work do not count.
        max_bad_updates: u64 = 10, Integers(1, 1_000_000, "updates");
    }
}

settings! {
    /// Learning together with other machines: one engine a node, started by a launcher such as mpirun.
    pub struct DistributedSettings {
        /// Who learns together. All ranks of the job need the same settings.
        exchange: ExchangeKind = ExchangeKind::Auto, Words(ExchangeKind::WORDS);
        /// In which order the ranks' gradients are summed.
        sum: SumKind = SumKind::Allreduce, Words(SumKind::WORDS);
        /// Time that a rank waits for the others, in an update and at the start. Then it ends, and with it the
        /// job. Longer than the slowest rank takes for an update.
        round_timeout_s: f64 = 60.0, Reals(0.5, 1e6, "seconds");
        /// Updates between two looks at whether all ranks have equal weights.
        check_interval: u64 = 1_000, Integers(1, MAX_INTEGER, "updates");
    }
}

words! {
    /// Who learns together.
    pub enum ExchangeKind {
        /// all ranks that the launcher started, by MPI where they are more than one
        Auto = "auto",
        /// nobody: each rank is a run of its own
        None = "none",
        /// all ranks, by MPI also where there is one
        Mpi = "mpi",
    }
}

words! {
    /// The order of a sum, on which its last bits depend.
    pub enum SumKind {
        /// as MPI likes: the fastest
        Allreduce = "allreduce",
        /// slot by slot in the order of the ranks, as a deterministic run does: takes memory for all of them
        RankOrder = "rank_order",
    }
}

impl EvalSettings {
    /// Whether there are any.
    pub fn is_on(&self) -> bool {
        self.interval_s > 0.0
    }
}

impl OptimizerKind {
    /// Numbers that it remembers for each parameter.
    pub fn n_moments(self) -> usize {
        match self {
            OptimizerKind::RmsProp => 1,
            OptimizerKind::Adam => 2,
        }
    }
}

impl LossSettings {
    /// ε of the clip: what `auto` stands for is known; `None` where nothing is clipped.
    pub fn epsilon(&self) -> Option<f32> {
        self.clip.epsilon(self.epochs)
    }

    /// The largest policy lag of a rollout that is learned from, in updates.
    pub fn max_policy_lag_updates(&self) -> u64 {
        self.max_policy_lag.saturating_mul(self.epochs)
    }
}

impl Config {
    /// Reads a TOML file over the defaults and the environment's preset. Unknown keys and wrong types
    /// are errors.
    ///
    /// # Errors
    /// If the file cannot be read or is not a configuration.
    pub fn from_file(path: &Path) -> Result<Config, ConfigError> {
        Layers { file: Some(path), ..Layers::default() }.resolve()
    }

    /// Every setting with its meaning, limits and default as comments; [`Layers`] reads it back to the
    /// same configuration.
    pub fn to_toml(&self) -> String {
        let defaults = Config::default();
        let default_values: Vec<_> =
            defaults.visited().into_iter().map(|item| item.value).collect();
        let items = self.visited().into_iter().zip(default_values);
        let paragraphs: Vec<String> = items
            .map(|(item, default)| match (item.value, default) {
                (Some(value), Some(default)) => {
                    setting_toml(item.setting, &value.to_toml(), &default.to_toml())
                }
                _ => format!("{}[{}]\n", comment(item.setting), item.path),
            })
            .collect();
        paragraphs.join("\n")
    }

    /// Checks every setting on its own and against the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_limits()?;
        self.check_names()?;
        let spec = self.spec()?;
        self.simd()?;
        self.backend(&self.network(&spec)?)?;
        self.check_threshold(&spec)?;
        self.check_tasks()?;
        self.check_batch(self.n_slots())?;
        self.check_budget()?;
        self.check_threads()?;
        self.check_distributed()?;
        self.check_deterministic()
    }

    /// The environment's specification.
    ///
    /// # Errors
    /// If the environment is not known, or does not take its arguments.
    pub fn spec(&self) -> Result<Spec, ConfigError> {
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

    /// An mlp that chooses among actions does. With real numbers as actions Pendulum-v1 failed on two seeds of five
    /// that f32 learned. Of MinAtar's games one alone was tried.
    fn learns_in_bf16(&self) -> Result<bool, ConfigError> {
        let spec = self.spec()?;
        let is_choice = !matches!(spec.actions, ActionSpace::Box { .. });
        Ok(is_choice && matches!(self.torso(&spec.obs), Torso::Mlp { .. }))
    }

    /// Name of the kernels that run: what `auto` stands for is known.
    pub fn kernels_name(&self) -> String {
        self.simd().map_or_else(|_| self.kernels.clone(), |simd| simd.name().to_owned())
    }

    /// Frames between two rows of `metrics.csv`.
    pub fn row_interval_frames(&self) -> u64 {
        (self.frames / self.report.rows).max(1)
    }

    /// Each setting within its own limits.
    fn check_limits(&self) -> Result<(), ConfigError> {
        for Visited { path, setting, value: given } in self.visited() {
            if let Some(given) = given.filter(|given| !given.is_within(&setting.allowed)) {
                let remedy = format!("must be {}", setting.allowed);
                return Err(value(&path, given.to_toml(), remedy));
            }
        }
        Ok(())
    }

    /// A name becomes part of a folder's, and a tag stands among others between commas.
    fn check_names(&self) -> Result<(), ConfigError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let is_word = |word: &str| word.chars().all(is_plain) && word.len() <= MAX_NAME_BYTES;
        let remedy = |first: &str| {
            let letters = "letters, digits, dots, dashes and underscores";
            format!("must be up to {MAX_NAME_BYTES} {letters}{first}")
        };
        if !is_word(&self.name) || self.name.starts_with(['.', '-']) {
            return Err(value("name", &self.name, remedy(", the first no dot and no dash")));
        }
        match self.tags.iter().find(|tag| !is_word(tag) || tag.is_empty()) {
            Some(tag) => Err(value("tags", tag, remedy(""))),
            None => Ok(()),
        }
    }

    /// Each task needs an actor, and what a run of several does not do is refused by name.
    fn check_tasks(&self) -> Result<(), ConfigError> {
        let (n_tasks, n_actors) = (self.n_tasks(), self.actors.count);
        let n_scales = self.loss.task_reward_scales.len();
        if !n_actors.is_multiple_of(n_tasks) {
            let (less, more) = (n_actors / n_tasks * n_tasks, n_actors.next_multiple_of(n_tasks));
            let which = if less == 0 { more.to_string() } else { format!("{less} or {more}") };
            let remedy = format!("must be a multiple of {n_tasks}, the tasks of env: take {which}");
            return Err(value("actors.count", n_actors, remedy));
        }
        if n_scales > 0 && (n_scales != n_tasks || n_tasks == 1) {
            let remedy = match n_tasks {
                1 => "must be empty where env is one task; set loss.reward_scale".into(),
                _ => format!("must be {n_tasks} numbers, one for each task of env, or none"),
            };
            let scales = format!("{:?}", self.loss.task_reward_scales);
            return Err(value("loss.task_reward_scales", scales, remedy));
        }
        if n_tasks > 1 && self.eval.is_on() {
            let remedy = "must be 0 where env is several tasks: each is evaluated at the end";
            return Err(value("eval.interval_s", self.eval.interval_s, remedy.into()));
        }
        Ok(())
    }

    /// A thread for which there is never a batch would only wait.
    fn check_threads(&self) -> Result<(), ConfigError> {
        let n_batches = self.ring_batches();
        if self.learner_threads <= n_batches {
            return Ok(());
        }
        let remedy = format!(
            "must be at most {n_batches}: each thread needs a batch of its own, and all rings together hold \
             {n_batches}; raise actors.count or actors.slots_per_actor, or lower loss.batch_slots"
        );
        Err(value("learner_threads", self.learner_threads, remedy))
    }

    /// Threads that the learner runs: what 0 stands for is known.
    pub fn n_learner_threads(&self) -> usize {
        let is_single = self.deterministic || process::n_cores() == 1;
        match self.learner_threads {
            0 if is_single => 1,
            // Half of the slots stay with the actors, which else would wait for the learner.
            0 => (self.ring_batches() / 2).clamp(1, 2),
            n_threads => n_threads,
        }
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

    /// A log of slots has all of a run, and so have statistics of what was observed.
    fn check_distributed(&self) -> Result<(), ConfigError> {
        if self.log_slots && !self.rank.is_alone() {
            let remedy = "must be false where several ranks learn: each has a part of the slots";
            return Err(value("log_slots", true, remedy.into()));
        }
        if self.network.normalize_observations && !self.rank.is_alone() {
            let remedy =
                "must be false where several ranks learn: each would have statistics of its own";
            return Err(value("network.normalize_observations", true, remedy.into()));
        }
        if self.loss.reward_norm && !self.rank.is_alone() {
            let remedy =
                "must be false where several ranks learn: each would have statistics of its own";
            return Err(value("loss.reward_norm", true, remedy.into()));
        }
        if self.n_tasks() > 1 && !self.rank.is_alone() {
            let remedy = "must be one task where several ranks learn: what they exchange is of one";
            return Err(value("env", &self.env, remedy.into()));
        }
        if self.loss.popart > 0.0 && !self.rank.is_alone() {
            let remedy =
                "must be 0 where several ranks learn: each would have statistics of its own";
            return Err(value("loss.popart", self.loss.popart, remedy.into()));
        }
        if self.loss.epochs > 1 && !self.rank.is_alone() {
            let remedy = "must be 1 where several ranks learn: a batch has one round";
            return Err(value("loss.epochs", self.loss.epochs, remedy.into()));
        }
        Ok(())
    }

    /// A deterministic run learns from all slots of all rings, in order, before it hands one back.
    fn check_deterministic(&self) -> Result<(), ConfigError> {
        let (n_slots, n_batches) = (self.n_slots(), self.ring_batches());
        let LossSettings { batch_slots, max_policy_lag, .. } = self.loss;
        // Slots are all acted with the weights from before the first batch.
        let lag = n_batches as u64 - 1;
        if !self.deterministic {
            Ok(())
        } else if self.learner_threads > 1 {
            let remedy = "a deterministic run learns with one thread: take 1".into();
            Err(value("learner_threads", self.learner_threads, remedy))
        } else if !n_slots.is_multiple_of(batch_slots) {
            let remedy =
                format!("must divide {n_slots}, the slots of all rings, in a deterministic run");
            Err(value("loss.batch_slots", batch_slots, remedy))
        } else if max_policy_lag < lag {
            let remedy =
                format!("must be {lag} or more: a deterministic run would drop every slot beyond");
            Err(value("loss.max_policy_lag", max_policy_lag, remedy))
        } else {
            Ok(())
        }
    }

    /// Nothing is solved where nobody has said from which score on.
    fn check_threshold(&self, spec: &Spec) -> Result<(), ConfigError> {
        if !self.stop_when_solved || spec.reward_threshold.is_some() {
            return Ok(());
        }
        let remedy =
            format!("must be false: {} has no score from which it counts as solved", self.env);
        Err(value("stop_when_solved", true, remedy))
    }

    /// A batch can never hold more slots than all rings have: the learner would wait for ever.
    fn check_batch(&self, n_slots: usize) -> Result<(), ConfigError> {
        let slots = self.loss.batch_slots;
        if slots <= n_slots {
            return Ok(());
        }
        let remedy = format!(
            "must be 1 to {n_slots}, the slots of all rings; \
             raise actors.count or actors.slots_per_actor for larger batches"
        );
        Err(value("loss.batch_slots", slots, remedy))
    }

    /// One update learns from a whole batch: a budget that is smaller would be overdrawn by it.
    fn check_budget(&self) -> Result<(), ConfigError> {
        let (slots, steps) = (self.loss.batch_slots as u64, self.actors.unroll_length as u64);
        let (envs, ranks) = (self.actors.envs_per_actor as u64, self.rank.of as u64);
        let batch_frames = slots * steps * envs * ranks;
        if batch_frames <= self.frames {
            return Ok(());
        }
        let of_ranks = if ranks > 1 { format!(", × {ranks} ranks") } else { String::new() };
        let remedy = format!(
            "must be {batch_frames} or more, the frames of one batch: loss.batch_slots {slots} × \
             actors.envs_per_actor {envs} × actors.unroll_length {steps}{of_ranks}; lower one of these for a smaller \
             budget"
        );
        Err(value("frames", self.frames, remedy))
    }

    fn no_env(&self, error: &EnvError) -> ConfigError {
        match error {
            EnvError::Args { .. } => value("env_args", &self.env_args, error.to_string()),
            EnvError::Outside { source, .. } => value("env", &self.env, source.to_string()),
            _ => value("env", &self.env, error.to_string()),
        }
    }

    /// Every setting and table, in the order of declaration.
    fn visited(&self) -> Vec<Visited<'_>> {
        let mut items = Vec::new();
        setting::Table::visit_settings(self, "", &mut |item| items.push(item));
        items
    }
}

fn value(field: &str, value: impl ToString, remedy: String) -> ConfigError {
    let value = value.to_string().escape_debug().to_string();
    ConfigError::Value { field: field.into(), value, remedy }
}

/// A setting under its comment: its meaning, what may be given, what it is by default.
fn setting_toml(setting: &Setting, value: &str, default: &str) -> String {
    let Setting { name, allowed, .. } = setting;
    let meaning = comment(setting);
    let allowed = match allowed {
        Words(words) => words.iter().map(|(word, is)| format!("# - {word}:{is}\n")).collect(),
        _ => format!("# {allowed} {}", allowed.unit()).trim_end().to_owned() + "; ",
    };
    let default_lead = if allowed.ends_with('\n') { "# " } else { "" };
    format!("{meaning}{allowed}{default_lead}default {default}\n{name} = {value}\n")
}

/// The meaning of a setting or table. Each line of it begins with a space.
fn comment(setting: &Setting) -> String {
    setting.meaning.iter().map(|line| format!("#{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::setting::{Allowed, Value};
    use super::*;

    /// The paths and values of a table's leaves.
    fn leaves(prefix: &str, table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(table) => leaves(&format!("{prefix}{key}."), table, found),
                _ => found.push(format!("{prefix}{key}")),
            }
        }
    }

    #[test]
    fn auto_keeps_f32_where_bf16_was_not_seen_to_learn_as_well() {
        let kernels = |env: &str, kernels: &str| {
            let (env, kernels) = (env.to_owned(), kernels.to_owned());
            Config { env, kernels, ..Config::default() }.kernels_name()
        };
        assert_eq!(kernels("CartPole-v1", "auto"), Simd::auto().name());
        for env in ["Pendulum-v1", "MinAtar/Breakout-v1"] {
            assert_eq!(kernels(env, "auto"), Simd::detect().name(), "{env}");
            for asked in Simd::supported_bf16() {
                assert_eq!(kernels(env, asked.name()), asked.name(), "{env}: what was asked for");
            }
        }
    }

    #[test]
    fn every_setting_is_printed_below_its_meaning_and_limits() {
        let config = Config::default();
        let text = config.to_toml();
        let mut names = Vec::new();
        leaves("", &toml::Table::try_from(&config).unwrap(), &mut names);
        assert!(names.len() > 30, "{names:?}");
        let mut table = String::new();
        let mut comments = Vec::new();
        for line in text.lines() {
            if line.starts_with('#') {
                comments.push(line);
            } else if let Some(header) = line.strip_prefix('[') {
                assert!(!comments.is_empty(), "{line}: no meaning");
                (table, comments) = (header.trim_end_matches(']').to_owned() + ".", vec![]);
            } else if let Some((key, _)) = line.split_once(" = ") {
                let name = format!("{table}{key}");
                assert!(comments.len() >= 2, "{name}: meaning and limits, not {comments:?}");
                assert!(comments[0].len() > 3 && comments.last().unwrap().contains("default "));
                names.retain(|expected| *expected != name);
                comments.clear();
            }
        }
        assert_eq!(names, [""; 0], "never printed");
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same() {
        let mut config =
            Config { seed: i64::MAX as u64, kernels: "\"\\".into(), ..Config::default() };
        config.optimizer.learning_rate = Schedule::constant(0.1 + 0.2);
        config.loss.lambda = 0.95;
        config.loss.clip = Clip::Epsilon(0.1);
        config.network.hidden = vec![1, 2, 3];
        config.learner = LearnerKind::Torch;
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn limits_themselves_are_allowed_and_what_is_beyond_is_not() {
        for item in Config::default().visited() {
            let Allowed::Reals(low, high, _) = item.setting.allowed else { continue };
            let within = |number: f64| number.is_within(&item.setting.allowed);
            assert!(within(low) && within(high), "{}", item.path);
            assert!((low as f32).is_within(&item.setting.allowed), "{}", item.path);
            assert!((high as f32).is_within(&item.setting.allowed), "{}", item.path);
            assert!(![f64::NAN, low - 1.0, high * 1.1, f64::INFINITY].into_iter().any(within));
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
    fn names_and_tags_are_words() {
        let with = |name: &str, tags: &[&str]| {
            let tags = tags.iter().map(|tag| (*tag).into()).collect();
            Config { name: name.into(), tags, ..Config::default() }.check()
        };
        with("pong.lr-3e_4", &["first", "2026"]).unwrap();
        for (name, tags, field) in [
            ("a/b", &[][..], "name"),
            ("..", &[], "name"),
            ("-x", &[], "name"),
            (&"n".repeat(65), &[], "name"),
            ("", &["a,b"], "tags"),
            ("", &["a", ""], "tags"),
        ] {
            let refused = with(name, tags).unwrap_err().to_string();
            assert!(refused.starts_with(field), "{refused}");
        }
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

    /// The numbers that CartPole's figures were measured with, whatever the shape of the settings.
    #[test]
    fn the_default_schedules_are_what_the_committed_figures_were_measured_with() {
        let config = Config::default();
        let rate = |frames| config.optimizer.learning_rate.at(frames, config.frames);
        assert_eq!([rate(0), rate(600_000), rate(u64::MAX)], [2e-3, 2e-3 * 0.05, 2e-3 * 0.05]);
        assert_eq!(rate(123_456), 2e-3 + (2e-3 * 0.05 - 2e-3) * (123_456.0 / 600_000.0));
        assert_eq!(config.loss.entropy_cost.at(1_000_000, config.frames) as f32, 0.001_f32);
    }
}
