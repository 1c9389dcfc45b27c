//! A trained network as a safetensors file: each parameter under PyTorch's name and shape, and what
//! it was trained on as metadata.
//!
//! Written whole or not at all: into a temporary file, synced, renamed. Read with every name, shape
//! and number checked. Used by the learner (write) and by evaluation (read).

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorView};

use crate::input::{open_regular, read_at_most};
use crate::params::{NetworkShape, ParamLayout};

/// Version of the names and metadata in a checkpoint file.
const FORMAT: &str = "impala-1";

/// Vectors as long as the parameters that a file may hold: these, and what optimisers keep of each.
const MAX_VECTORS: usize = 4;

/// A header names some forty tensors at most; this is a hundred times what those need.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// A network's weights, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Gymnasium id of the environment it was trained in.
    pub env: String,
    /// Frames it has learned from.
    pub frames: u64,
    /// Updates it has had.
    pub updates: u64,
    /// Sizes of the network.
    pub shape: NetworkShape,
    /// Flat parameters, as [`ParamLayout`] of `shape` lays them out.
    pub params: Vec<f32>,
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
    /// Writes the file; one that existed before is replaced at once and whole.
    ///
    /// # Errors
    /// If the file system refuses; then whatever was there before still is.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let temporary = path.with_extension("safetensors.tmp");
        let refuse = |source| CheckpointError::Io { path: path.into(), source };
        let mut file = File::create(&temporary).map_err(refuse)?;
        file.write_all(&self.to_bytes()).map_err(refuse)?;
        file.sync_all().map_err(refuse)?;
        std::fs::rename(&temporary, path).map_err(refuse)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(refuse)?;
        folder.sync_all().map_err(refuse)
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

    /// Reads a file's content, which errors call `path`. Nobody need have written it in good faith: the
    /// header is judged before anything that it announces is allocated.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn read(path: &Path, mut reader: impl Read) -> Result<Checkpoint, CheckpointError> {
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
        let shape = read_shape(&header).map_err(refuse)?;
        let n_data_bytes = header.data_len();
        if n_data_bytes > MAX_VECTORS * size_of::<f32>() * ParamLayout::new(&shape).len() {
            let problem = format!("it has {n_data_bytes} bytes of data, too many for its network");
            return Err(refuse(problem));
        }
        bytes.extend(read_at_most(reader, n_data_bytes as u64).map_err(refuse_io)?);
        let tensors = SafeTensors::deserialize(&bytes).map_err(refuse_format)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Checkpoint::from_tensors(&metadata, shape, &tensors).map_err(refuse)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let layout = ParamLayout::new(&self.shape);
        let tensors = layout.params().iter().map(|param| {
            let values = &self.params[param.offset..param.offset + param.len()];
            let bytes = bytemuck::cast_slice(values);
            let view = TensorView::new(Dtype::F32, param.shape.clone(), bytes)
                .expect("a parameter has as many values as its shape says");
            (param.name.clone(), view)
        });
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("env".to_owned(), self.env.clone()),
            ("frames".to_owned(), self.frames.to_string()),
            ("updates".to_owned(), self.updates.to_string()),
        ]);
        safetensors::serialize(tensors, Some(metadata))
            .expect("names are distinct and headers small")
    }

    fn from_tensors(
        metadata: &HashMap<String, String>,
        shape: NetworkShape,
        tensors: &SafeTensors,
    ) -> Result<Checkpoint, String> {
        let text = |key: &str| metadata.get(key).ok_or(format!("its metadata has no `{key}`"));
        let number = |key: &str| {
            let value = text(key)?;
            value.parse().map_err(|_| format!("`{key}` in its metadata is `{value}`, not a number"))
        };
        if text("format")? != FORMAT {
            return Err(format!("its format is `{}`, expected `{FORMAT}`", text("format")?));
        }
        Ok(Checkpoint {
            env: text("env")?.clone(),
            frames: number("frames")?,
            updates: number("updates")?,
            params: read_params(tensors, &shape)?,
            shape,
        })
    }
}

/// The network's sizes, from the shapes of its weights; no larger than a network may be.
fn read_shape(header: &Metadata) -> Result<NetworkShape, String> {
    let weight = |name: &str| {
        let tensor = header.info(name).ok_or(format!("it has no `{name}`"))?;
        match *tensor.shape {
            [n_outputs, n_inputs] => Ok([n_outputs, n_inputs]),
            _ => Err(format!("`{name}` has shape {:?}, expected two dimensions", tensor.shape)),
        }
    };
    let [_, obs_dim] = weight("torso.0.weight")?;
    let [n_actions, _] = weight("policy.weight")?;
    let layers = (0..).step_by(2).map(|layer| weight(&format!("torso.{layer}.weight")));
    let hidden = layers.map_while(Result::ok).map(|[n_outputs, _]| n_outputs).collect();
    let shape = NetworkShape { obs_dim, hidden, n_actions };
    match shape.fault() {
        None => Ok(shape),
        Some(fault) => Err(format!("its network has {fault}")),
    }
}

/// Every parameter of a network of `shape`, finite and of the right shape, in one flat vector.
fn read_params(tensors: &SafeTensors, shape: &NetworkShape) -> Result<Vec<f32>, String> {
    let mut flat = Vec::new();
    for param in ParamLayout::new(shape).params() {
        let name = &param.name;
        let tensor = tensors.tensor(name).map_err(|_| format!("it has no `{name}`"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let shape = NetworkShape { obs_dim: 4, hidden: vec![8, 6], n_actions: 3 };
        let params = ParamLayout::new(&shape).init(3);
        Checkpoint { env: "CartPole-v1".into(), frames: 1_000, updates: 7, shape, params }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        checkpoint().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.safetensors");
        let bytes = checkpoint().to_bytes();
        for length in (0..bytes.len()).step_by(7) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Checkpoint::load(&path).is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut bad = checkpoint();
        bad.params[5] = f32::NAN;
        let bytes = bad.to_bytes();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let problem = read_params(&tensors, &bad.shape).unwrap_err();
        assert!(problem.contains("torso.0.weight"), "{problem}");
    }

    #[test]
    fn a_missing_file_says_which() {
        let error = Checkpoint::load(Path::new("nowhere.safetensors")).unwrap_err();
        assert!(error.to_string().starts_with("nowhere.safetensors: "), "{error}");
    }
}
