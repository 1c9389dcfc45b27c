//! Training as a safetensors file: the weights under PyTorch's names and shapes, the optimiser's memory
//! and the score's window as further tensors; counters, settings and a checksum as metadata.
//!
//! Written whole or not at all: into a temporary file, synced, renamed, the folder synced. Read with
//! every name, shape and number checked, and refused if one bit of it is not as written. Used by the
//! supervisor (write), by evaluation and by whoever resumes a run (read). `docs/checkpoints.md` shows
//! the format to people.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::{Counters, LearnerState, OptimizerState, ReturnStats, SCORE_WINDOW};
use crate::base::faults::{self, Point};
use crate::base::input::{open_regular, read_at_most};
use crate::env::task_ids;
use crate::network::NetworkSpec;
use crate::network::params::ParamLayout;
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Version of the names and metadata in a checkpoint file.
const FORMAT: &str = "impala-3";

/// The version before, which named neither spaces nor network: both follow from the shapes of its tensors.
const FORMAT_WITHOUT_SPEC: &str = "impala-2";

/// A header names some forty tensors at most; this is a hundred times what those need.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Nothing that a run counts comes so far.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// How the checksum stands in the header; its digits follow.
const CHECKSUM_KEY: &[u8] = b"\"checksum\":\"";

/// Stands for the checksum's digits while it is computed.
const NO_CHECKSUM: &[u8; 16] = b"0000000000000000";

/// Prefixes of the optimiser's tensors; a parameter's name follows.
const SQUARE: &str = "optimizer.square.";
const MEAN: &str = "optimizer.mean.";

/// Name of the tensor that holds the returns of the last episodes.
const RECENT_RETURNS: &str = "recent_returns";

/// Name of the tensor by which rewards are normalised: frames, mean and squared distances of the discounted
/// return. A run that does not normalise them has none.
const RETURN_STATS: &str = "return_stats";

/// A point of training from which it can be used or continued.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The environment it was trained in.
    pub spec: Spec,
    /// Sizes of the network.
    pub network: NetworkSpec,
    /// Weights, optimiser, counters. Flat vectors are as [`ParamLayout`] of `network` lays them out.
    pub state: LearnerState,
    /// Every setting of the run, as its `config.toml`.
    pub settings: String,
    /// How long the run had lasted, ns.
    pub elapsed_ns: u64,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{}: {source}; check the path, its permissions and the free space", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a safetensors file.
    #[error("{}: not a safetensors file ({source}); give a checkpoint.safetensors of a run", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SafeTensorError,
    },
    /// Some bit of the file is not as it was written.
    #[error("{}: damaged: its checksum is {found}, its content's {expected}; use an earlier checkpoint", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What stands in the file.
        found: String,
        /// What should.
        expected: String,
    },
    /// The file holds something else than a checkpoint of this engine.
    #[error("{}: {problem}; give a checkpoint.safetensors that this version wrote", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
}

impl Checkpoint {
    /// Leaves nothing in it that differs between two runs that learned the same.
    pub fn forget_times(&mut self) {
        self.elapsed_ns = 0;
        self.state.counters.solved_ns = 0;
    }

    /// Writes the file; one that existed before is replaced at once and whole.
    ///
    /// # Errors
    /// If the file system refuses; then whatever was there before still is.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        put(path, |file| {
            file.write_all(&self.to_bytes())?;
            file.sync_all()?;
            faults::reach(Point::MidCheckpoint);
            Ok(())
        })
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is no checkpoint of this engine.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let file = open_regular(path)
            .map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        Checkpoint::read(path, file)
    }

    /// Reads of a file what was trained in and what was trained, without the weights: of a file that is damaged
    /// behind its header too.
    ///
    /// # Errors
    /// If its header cannot be read, or is none of this engine.
    pub fn load_specs(path: &Path) -> Result<(Spec, NetworkSpec), CheckpointError> {
        let file = open_regular(path)
            .map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        let Header { spec, network, .. } = Header::read(path, file)?;
        Ok((spec, network))
    }

    /// Reads a file's content, which errors call `path`. Nobody need have written it in good faith: the
    /// header is judged before anything that it announces is allocated.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn read(path: &Path, mut reader: impl Read) -> Result<Checkpoint, CheckpointError> {
        let refuse_io = |source| CheckpointError::Io { path: path.into(), source };
        let refuse_format = |source| CheckpointError::Format { path: path.into(), source };
        let refuse = |problem| CheckpointError::Content { path: path.into(), problem };
        let Header { mut bytes, n_data_bytes, metadata, spec, network } =
            Header::read(path, &mut reader)?;
        if n_data_bytes > largest_data_bytes(&network) {
            let problem = format!("it has {n_data_bytes} bytes of data, too many for its network");
            return Err(refuse(problem));
        }
        bytes.extend(read_at_most(reader, n_data_bytes as u64).map_err(refuse_io)?);
        let tensors = SafeTensors::deserialize(&bytes).map_err(refuse_format)?;
        check_sum(path, &bytes)?;
        let state = read_state(&metadata, &network, &tensors).map_err(refuse)?;
        let settings = text(&metadata, "settings").map_err(refuse)?.clone();
        let elapsed_ns = number(&metadata, "elapsed_ns").map_err(refuse)?;
        Ok(Checkpoint { spec, network, state, settings, elapsed_ns })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let layout = ParamLayout::new(&self.network);
        let LearnerState { params, optimizer, recent_returns, return_stats, .. } = &self.state;
        let f64s = |numbers| {
            let bytes: &[u8] = bytemuck::cast_slice(numbers);
            TensorView::new(Dtype::F64, vec![bytes.len() / size_of::<f64>()], bytes)
                .expect("a vector has as many values as its shape says")
        };
        let returns = (RECENT_RETURNS.to_owned(), f64s(recent_returns.as_slice()));
        let stats: [f64; 3] = bytemuck::cast(*return_stats);
        let is_kept = *return_stats != ReturnStats::default();
        let stats = is_kept.then(|| (RETURN_STATS.to_owned(), f64s(&stats)));
        let tensors = [("", params), (SQUARE, &optimizer.square), (MEAN, &optimizer.mean)]
            .into_iter()
            .filter(|(_, flat)| !flat.is_empty())
            .flat_map(|(prefix, flat)| named_tensors(&layout, prefix, flat))
            .chain([returns])
            .chain(stats);
        let bytes = safetensors::serialize(tensors, Some(self.metadata()))
            .expect("names are distinct and headers small");
        let mut bytes = with_sorted_header(&bytes);
        let sum = checksum(&bytes);
        let place = checksum_place(&bytes).expect("the metadata has a checksum");
        bytes[place..place + sum.len()].copy_from_slice(sum.as_bytes());
        bytes
    }

    fn metadata(&self) -> HashMap<String, String> {
        let counters = self.state.counters;
        let numbers = [
            ("frames", counters.frames),
            ("updates", counters.updates),
            ("episodes", counters.episodes),
            ("frames_produced", counters.frames_produced_before),
            ("solved_frames", counters.solved_frames),
            ("solved_ns", counters.solved_ns),
            ("optimizer_steps", self.state.optimizer.n_steps),
            ("elapsed_ns", self.elapsed_ns),
        ];
        let no_checksum = String::from_utf8_lossy(NO_CHECKSUM).into_owned();
        let texts = [
            ("format", FORMAT.to_owned()),
            ("checksum", no_checksum),
            ("spec", json(&self.spec)),
            ("network", json(&self.network)),
            ("settings", self.settings.clone()),
        ];
        let numbers = numbers.into_iter().map(|(key, number)| (key, number.to_string()));
        texts.into_iter().chain(numbers).map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// What stands before a file's data.
struct Header {
    /// The header itself, its length before it.
    bytes: Vec<u8>,
    /// Bytes of data that it announces.
    n_data_bytes: usize,
    metadata: HashMap<String, String>,
    spec: Spec,
    network: NetworkSpec,
}

impl Header {
    /// Reads a file's content to where its data begins.
    fn read(path: &Path, mut reader: impl Read) -> Result<Header, CheckpointError> {
        let refuse_io = |source| CheckpointError::Io { path: path.into(), source };
        let refuse_format = |source| CheckpointError::Format { path: path.into(), source };
        let refuse = |problem| CheckpointError::Content { path: path.into(), problem };
        let mut bytes = read_at_most((&mut reader).take(8), 8).map_err(refuse_io)?;
        let length = bytes.as_slice().try_into().map(u64::from_le_bytes);
        let length = length.map_err(|_| refuse_format(SafeTensorError::HeaderTooSmall))?;
        if length > MAX_HEADER_BYTES {
            return Err(refuse_format(SafeTensorError::HeaderTooLarge));
        }
        bytes.extend(read_at_most((&mut reader).take(length), length).map_err(refuse_io)?);
        let header: Metadata = serde_json::from_slice(&bytes[8..])
            .map_err(|error| refuse_format(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let (spec, network) = read_specs(&metadata, &header).map_err(refuse)?;
        Ok(Header { bytes, n_data_bytes: header.data_len(), metadata, spec, network })
    }
}

/// Copies a checkpoint's file as [`Checkpoint::save`] writes one: what is done to one of the two afterwards is
/// not done to the other. The file system may let them share their content until then.
///
/// # Errors
/// As [`Checkpoint::save`].
pub fn copy(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    put(to, |file| {
        std::io::copy(&mut File::open(from)?, file)?;
        file.sync_all()
    })
}

/// Puts a file that `fill` writes and syncs in the place of what may be there. Its user alone may read it.
fn put(
    path: &Path,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), CheckpointError> {
    let temporary = path.with_extension("safetensors.tmp");
    let mut private = File::options();
    private.write(true).create(true).truncate(true).mode(0o600);
    let write =
        || fill(&mut private.open(&temporary)?).and_then(|()| std::fs::rename(&temporary, path));
    // On a full disk what has been written of it would only keep the disk full.
    write()
        .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
        .and_then(|()| sync_folder_of(path))
        .map_err(|source| CheckpointError::Io { path: path.into(), source })
}

/// Makes a file's name last. Some file systems, such as CIFS, vboxsf and some of FUSE, sync no folder and say
/// so; a name is then as safe as they make it.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new(".")))?.sync_all() {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        synced => synced,
    }
}

/// Weights, optimiser and counters.
fn read_state(
    metadata: &HashMap<String, String>,
    network: &NetworkSpec,
    tensors: &SafeTensors,
) -> Result<LearnerState, String> {
    let number = |key| number(metadata, key);
    let has_mean = tensors.names().iter().any(|name| name.starts_with(MEAN));
    let mean = has_mean.then(|| read_flat(tensors, network, MEAN)).transpose()?;
    Ok(LearnerState {
        counters: Counters {
            frames: number("frames")?,
            updates: number("updates")?,
            episodes: number("episodes")?,
            frames_produced_before: number("frames_produced")?,
            solved_frames: number("solved_frames")?,
            solved_ns: number("solved_ns")?,
        },
        recent_returns: read_f64s(tensors, RECENT_RETURNS)?,
        return_stats: read_stats(tensors)?,
        params: read_flat(tensors, network, "")?,
        optimizer: OptimizerState {
            n_steps: number("optimizer_steps")?,
            square: read_flat(tensors, network, SQUARE)?,
            mean: mean.unwrap_or_default(),
        },
    })
}

/// Bytes of data in a checkpoint of a network: its parameters, two moments of each at most, the window of returns,
/// and what rewards are normalised by.
fn largest_data_bytes(network: &NetworkSpec) -> usize {
    let params = 3 * size_of::<f32>() * ParamLayout::new(network).len();
    params + size_of::<[f64; SCORE_WINDOW]>() + size_of::<ReturnStats>()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data is JSON")
}

fn text<'a>(metadata: &'a HashMap<String, String>, key: &str) -> Result<&'a String, String> {
    metadata.get(key).ok_or_else(|| format!("its metadata has no `{key}`"))
}

fn number(metadata: &HashMap<String, String>, key: &str) -> Result<u64, String> {
    let value = text(metadata, key)?;
    let number = value.parse().ok().filter(|number| *number <= MAX_NUMBER);
    number.ok_or_else(|| {
        format!("`{key}` in its metadata is `{value}`, not a number up to {MAX_NUMBER}")
    })
}

/// What was trained in, and what was trained; no larger than a network may be.
fn read_specs(
    metadata: &HashMap<String, String>,
    header: &Metadata,
) -> Result<(Spec, NetworkSpec), String> {
    let (spec, network): (Spec, NetworkSpec) = match text(metadata, "format")?.as_str() {
        FORMAT => (parsed(metadata, "spec")?, parsed(metadata, "network")?),
        FORMAT_WITHOUT_SPEC => {
            let network = network_of_shapes(header)?;
            (spec_of_network(text(metadata, "env")?, &network), network)
        }
        other => return Err(format!("its format is `{other}`, this version reads `{FORMAT}`")),
    };
    if let Some(fault) = network.fault() {
        return Err(format!("its network has {fault}"));
    }
    if let Some(fault) = spec.fault() {
        return Err(format!("its environment has {fault}"));
    }
    let (n_tasks, n_values) = (task_ids(&spec.id).len(), network.n_values);
    if n_values != n_tasks {
        return Err(format!("its network has {n_values} values for {n_tasks} tasks"));
    }
    match network.n_stacked(&spec.obs) {
        None => Err(format!("its network sees other observations than {}", spec.obs)),
        Some(_) => Ok((spec, network)),
    }
}

fn parsed<T: DeserializeOwned>(metadata: &HashMap<String, String>, key: &str) -> Result<T, String> {
    let read = serde_json::from_str(text(metadata, key)?);
    read.map_err(|error| format!("`{key}` in its metadata cannot be read: {error}"))
}

fn check_sum(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let found = checksum_place(bytes).and_then(|place| bytes.get(place..place + NO_CHECKSUM.len()));
    let Some(found) = found else {
        let key = String::from_utf8_lossy(CHECKSUM_KEY);
        let problem = format!(
            "its checksum cannot be checked: its header has no `{key}` in just this spacing, as if \
             another program had written it anew"
        );
        return Err(CheckpointError::Content { path: path.into(), problem });
    };
    let found = String::from_utf8_lossy(found).into_owned();
    let expected = checksum(bytes);
    // As text: a digit in capitals is a flipped bit too.
    if found == expected {
        return Ok(());
    }
    Err(CheckpointError::Damaged { path: path.into(), found, expected })
}

/// Sixteen hexadecimal digits of the whole file's XXH3, the place of the digits themselves taken as zeros.
fn checksum(bytes: &[u8]) -> String {
    let mut blank = bytes.to_vec();
    if let Some(place) = checksum_place(bytes)
        && let Some(digits) = blank.get_mut(place..place + NO_CHECKSUM.len())
    {
        digits.copy_from_slice(NO_CHECKSUM);
    }
    format!("{:016x}", xxh3_64(&blank))
}

/// Where the checksum's digits begin. Quotes inside a value are escaped, so the key is found only where
/// it is one.
fn checksum_place(bytes: &[u8]) -> Option<usize> {
    let key = bytes.windows(CHECKSUM_KEY.len()).position(|window| window == CHECKSUM_KEY)?;
    Some(key + CHECKSUM_KEY.len())
}

/// The same file with its header's keys in order: equal checkpoints are equal files. (The metadata is
/// written from a hash map, whose order differs from process to process.)
fn with_sorted_header(bytes: &[u8]) -> Vec<u8> {
    const HEADER_LENGTH_BYTES: usize = 8;
    let (n_bytes, _) = SafeTensors::read_metadata(bytes).expect("it was just serialised");
    let (header, data) = bytes[HEADER_LENGTH_BYTES..].split_at(n_bytes);
    let header: serde_json::Value = serde_json::from_slice(header).expect("the header is JSON");
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(HEADER_LENGTH_BYTES), b' ');
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

/// One tensor a parameter, from a flat vector.
fn named_tensors<'a>(
    layout: &'a ParamLayout,
    prefix: &'a str,
    flat: &'a [f32],
) -> impl Iterator<Item = (String, TensorView<'a>)> {
    layout.params().iter().map(move |param| {
        let bytes = bytemuck::cast_slice(&flat[param.offset..param.offset + param.len()]);
        let view = TensorView::new(Dtype::F32, param.shape.clone(), bytes)
            .expect("a parameter has as many values as its shape says");
        (format!("{prefix}{}", param.name), view)
    })
}

/// The network of a file that does not name it, from the shapes of its weights.
fn network_of_shapes(header: &Metadata) -> Result<NetworkSpec, String> {
    let weight = |name: &str| {
        let tensor = header.info(name).ok_or(format!("it has no `{name}`"))?;
        match *tensor.shape {
            [n_outputs, n_inputs] => Ok([n_outputs, n_inputs]),
            _ => Err(format!("`{name}` has shape {:?}, expected two dimensions", tensor.shape)),
        }
    };
    let [_, n_inputs] = weight("torso.0.weight")?;
    let [n_action_params, _] = weight("policy.weight")?;
    let layers = (0..).step_by(2).map(|layer| weight(&format!("torso.{layer}.weight")));
    let hidden: Vec<usize> = layers.map_while(Result::ok).map(|[n_outputs, _]| n_outputs).collect();
    Ok(NetworkSpec::mlp(n_inputs, &hidden, n_action_params))
}

/// All that such a file says of its environment: spaces alone.
fn spec_of_network(env: &str, network: &NetworkSpec) -> Spec {
    Spec {
        id: env.to_owned(),
        obs: ObsSpace::vector(network.n_inputs),
        actions: ActionSpace::Discrete(network.n_action_params),
        max_episode_steps: None,
        reward_threshold: None,
    }
}

/// The values of every parameter of a network under its name with `prefix`, finite and of the right shape,
/// in one flat vector.
fn read_flat(
    tensors: &SafeTensors,
    network: &NetworkSpec,
    prefix: &str,
) -> Result<Vec<f32>, String> {
    let mut flat = Vec::new();
    for param in ParamLayout::new(network).params() {
        let name = format!("{prefix}{}", param.name);
        let tensor = tensors.tensor(&name).map_err(|_| format!("it has no `{name}`"))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != param.shape {
            let (dtype, found) = (tensor.dtype(), tensor.shape());
            return Err(format!("`{name}` is {dtype:?} {found:?}, expected F32 {:?}", param.shape));
        }
        let (words, _) = tensor.data().as_chunks::<4>();
        let start = flat.len();
        flat.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        if !flat[start..].iter().all(|value| value.is_finite()) {
            return Err(format!("`{name}` holds values that are not finite"));
        }
    }
    Ok(flat)
}

/// What rewards are normalised by; zeros where the file has none.
fn read_stats(tensors: &SafeTensors) -> Result<ReturnStats, String> {
    if !tensors.names().contains(&RETURN_STATS) {
        return Ok(ReturnStats::default());
    }
    let stats: ReturnStats = bytemuck::cast(read_f64s::<3>(tensors, RETURN_STATS)?);
    let unsound = || format!("`{RETURN_STATS}` holds {stats:?}, which no returns add up to");
    stats.is_sound().then_some(stats).ok_or_else(unsound)
}

/// A vector of N numbers.
fn read_f64s<const N: usize>(tensors: &SafeTensors, name: &str) -> Result<[f64; N], String> {
    let tensor = tensors.tensor(name).map_err(|_| format!("it has no `{name}`"))?;
    if tensor.dtype() != Dtype::F64 || tensor.shape() != [N] {
        let (dtype, found) = (tensor.dtype(), tensor.shape());
        return Err(format!("`{name}` is {dtype:?} {found:?}, expected F64 [{N}]"));
    }
    let (words, _) = tensor.data().as_chunks::<8>();
    Ok(std::array::from_fn(|k| f64::from_le_bytes(words[k])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let network = NetworkSpec::mlp(2, &[3, 2], 2);
        let params = ParamLayout::new(&network).init(3);
        let square: Vec<f32> = params.iter().map(|p| p * p).collect();
        let counters = Counters {
            frames: 1_000,
            updates: 7,
            episodes: 30,
            frames_produced_before: 1_200,
            solved_frames: 900,
            solved_ns: 5,
        };
        Checkpoint {
            spec: Spec {
                id: "Slope-v0".into(),
                obs: ObsSpace::bounded(&[[-1.0, 1.0], [-0.5, 2.0]]),
                actions: ActionSpace::Discrete(2),
                max_episode_steps: Some(500),
                reward_threshold: Some(475.0),
            },
            state: LearnerState {
                counters,
                recent_returns: std::array::from_fn(|k| k as f64 / 3.0),
                return_stats: ReturnStats { n: 900.0, mean: -2.5, square_sum: 1e4 },
                optimizer: OptimizerState { n_steps: 7, mean: params.clone(), square },
                params,
            },
            network,
            settings: "env = \"CartPole-v1\"\n\"checksum\":\"not this one".into(),
            elapsed_ns: 12,
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut without_mean = checkpoint();
        without_mean.state.optimizer.mean.clear();
        without_mean.state.return_stats = ReturnStats::default();
        for saved in [checkpoint(), without_mean] {
            saved.save(&path).unwrap();
            assert_eq!(Checkpoint::load(&path).unwrap(), saved);
            let n_files = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(n_files, 1, "no temporary file is left");
        }
    }

    /// Every one, so that neither JSON's freedom nor an unused byte hides one.
    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let mut bytes = checkpoint().to_bytes();
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::read(Path::new("x"), bytes.as_slice()).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Checkpoint::read(Path::new("x"), bytes.as_slice()).unwrap(), checkpoint());
        println!("{} flipped bits, each refused", 8 * bytes.len());
    }

    #[test]
    fn a_file_cut_or_grown_anywhere_is_refused() {
        let bytes = checkpoint().to_bytes();
        let is_refused = |bytes: &[u8]| Checkpoint::read(Path::new("x"), bytes).is_err();
        assert!((0..bytes.len()).all(|length| is_refused(&bytes[..length])));
        assert!(is_refused(&[bytes.as_slice(), b"x"].concat()));
        println!("cut at {} places, each refused", bytes.len());
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.safetensors");
        let mut bad = checkpoint();
        bad.state.params[1] = f32::NAN;
        bad.save(&path).unwrap();
        let problem = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(problem.contains("`torso.0.weight` holds values that are not finite"), "{problem}");
        let mut bad = checkpoint();
        bad.state.return_stats.square_sum = -1.0;
        bad.save(&path).unwrap();
        let problem = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(problem.contains("`return_stats` holds"), "{problem}");
    }

    #[test]
    fn another_format_is_refused_with_both_versions() {
        let metadata = HashMap::from([("format".to_owned(), "impala-1".to_owned())]);
        let header = Metadata::new(None, vec![]).unwrap();
        let problem = read_specs(&metadata, &header).unwrap_err();
        assert_eq!(problem, "its format is `impala-1`, this version reads `impala-3`");
    }

    /// Written by the version before: `impala train --frames 20000 --seed 3 --set network.hidden=[8]`.
    #[test]
    fn a_file_of_the_version_before_is_read() {
        let path = Path::new("tests/reference/checkpoint-impala-2.safetensors");
        let checkpoint = Checkpoint::load(path).unwrap();
        let network = NetworkSpec::mlp(4, &[8], 2);
        assert_eq!(checkpoint.network, network);
        assert_eq!(checkpoint.spec.id, "CartPole-v1");
        assert_eq!(checkpoint.spec.obs, ObsSpace::vector(4));
        assert_eq!(checkpoint.state.params.len(), ParamLayout::new(&network).len());
        assert!(checkpoint.state.counters.frames >= 20_000);
    }

    #[test]
    fn specs_are_read_without_the_weights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let saved = checkpoint();
        saved.save(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        assert!(Checkpoint::load(&path).is_err());
        assert_eq!(Checkpoint::load_specs(&path).unwrap(), (saved.spec, saved.network));
        file.set_len(100).unwrap();
        assert!(Checkpoint::load_specs(&path).is_err());
    }

    #[test]
    fn a_header_in_another_spacing_is_refused_as_such() {
        let (from, to) = (r#""checksum":""#, r#""checksum": ""#);
        let bytes = checkpoint().to_bytes();
        let n_header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let (header, data) = bytes[8..].split_at(n_header_bytes as usize);
        let header = str::from_utf8(header).unwrap().replacen(from, to, 1);
        let length = (header.len() as u64).to_le_bytes();
        let bytes = [&length, header.as_bytes(), data].concat();
        let error = Checkpoint::read(Path::new("x"), bytes.as_slice()).unwrap_err().to_string();
        assert!(error.starts_with("x: its checksum cannot be checked"), "{error}");
    }

    #[test]
    fn a_missing_file_says_which() {
        let error = Checkpoint::load(Path::new("nowhere.safetensors")).unwrap_err();
        assert!(error.to_string().starts_with("nowhere.safetensors: "), "{error}");
    }
}
