//! Every setting of a run: its default, its meaning, its limits.
//!
//! A setting is declared once, in this file: what stands there becomes the field and its documentation,
//! its default, its check and its comment in the TOML that [`Config::to_toml`] writes. A configuration
//! is built from [`Layers`] and is checked as a whole by [`Config::check`] before anything starts. The
//! resolved copy lies in every run folder as `config.toml` and reproduces the run's settings. Knows
//! nothing of processes or memory.

mod advice;
mod check;
mod choices;
mod clip;
mod dotted;
mod error;
mod layers;
mod presets;
mod schedule;
mod setting;
mod whole;

use std::path::Path;

use crate::env::outside::Launch;
use crate::env::{EnvArgs, Registry};
use crate::network::params::{MAX_LAYERS, MAX_WIDTH};
use crate::os::launcher::Rank;

pub use advice::meant_setting;
pub use clip::Clip;
pub use dotted::dotted;
pub use error::ConfigError;
pub use layers::Layers;
pub use presets::{PRESETS, preset};
pub use schedule::{Schedule, Shape};
pub use whole::{NotWhole, whole_number, whole_setting};

use setting::Allowed::{Flag, Integers, List, RealList, Reals, Table, Text, Words};
use setting::{Setting, Visited, settings, words};

/// The most learner threads: far more than have been seen to help.
const MAX_LEARNER_THREADS: u64 = 64;

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
        /// Time that the process of an actor's environments may take until they can be stepped. The final
        /// evaluation has one of each episode, and may take longer in proportion.
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
        /// Threads that compute the gradient of one batch together, for MinAtar's network of our own; the same weights
        /// come out, to the last bit. 0 stands for two, and for one with several learner threads or on one core.
        batch_threads: usize = 0, Integers(0, MAX_LEARNER_THREADS, "threads");
        /// Two runs of one seed learn the same weights, to the last bit: slots are handed back all
        /// together, when each has been learned from, so that nothing depends on who was faster. Actors
        /// and learner then take turns, which costs throughput.
        deterministic: bool = false, Flag;
        /// Log to slots.csv which slots each update learned from; `impala replay` learns the same weights
        /// from that.
        log_slots: bool = false, Flag;
        /// Matrix kernels; for a network of our own that chooses among actions auto takes amx where the processor has it,
        /// and bf16 on an AMD that has it; else the widest in f32. bf16 and amx multiply numbers rounded to bf16 in an
        /// mlp and in the dense layer of minatar, in actors and learner; weights, sums, steps and the evaluation stay
        /// f32.
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
        /// Slots in each actor's ring. One keeps the policy lag lowest. More are up to a fifth faster, at an
        /// age that grows with them.
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
        /// best.safetensors is the policy that did best in one, else the one with the best training score; of
        /// several tasks, whose scores have no common scale, the newest.
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
        /// Deaths of one worker within the window that are mended; one more and it is given up. So it is after as many
        /// in a row, at any time, that left no rollout or update.
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

    /// Every setting and table, in the order of declaration.
    fn visited(&self) -> Vec<Visited<'_>> {
        let mut items = Vec::new();
        setting::Table::visit_settings(self, "", &mut |item| items.push(item));
        items
    }
}

fn value(field: &str, value: impl ToString, remedy: String) -> ConfigError {
    let value = error::quoted(&value.to_string());
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
