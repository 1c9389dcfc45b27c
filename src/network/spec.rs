//! What a network is made of: plain data, from which its parameters follow.

use serde::{Deserialize, Serialize};

use super::heads;
use super::params::{MAX_LAYERS, MAX_PARAMS, MAX_WIDTH, ParamLayout};
use crate::space::{Number, Numbers, Spec};

/// Sizes of a network: a torso that all outputs share, and a linear layer of P + V outputs on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// D, numbers of an observation.
    pub n_inputs: usize,
    /// From observations to features.
    pub torso: Torso,
    /// P, parameters of the distribution over actions.
    pub n_action_params: usize,
    /// V, values.
    pub n_values: usize,
}

/// What makes features of an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Torso {
    /// Dense layers, each followed by tanh.
    Mlp {
        /// Units of each layer, at least one layer.
        hidden: Vec<usize>,
    },
}

/// No network can be made for these spaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub(super) String);

impl NetworkSpec {
    /// The network for an environment's spaces, with one value.
    ///
    /// # Errors
    /// [`Unfit`] if the torso cannot take the observations, or no head draws such actions.
    pub fn of(spec: &Spec, torso: Torso) -> Result<NetworkSpec, Unfit> {
        let Numbers { number, len } = spec.obs.numbers();
        if number != Number::F32 {
            let obs = &spec.obs;
            return Err(Unfit(format!(
                "an mlp takes numbers, and {} shows pixels: {obs}",
                spec.id
            )));
        }
        let n_action_params = heads::n_params(&spec.actions)?;
        Ok(NetworkSpec { n_inputs: len, torso, n_action_params, n_values: 1 })
    }

    /// Dense layers of these widths, with one value.
    pub fn mlp(n_inputs: usize, hidden: &[usize], n_action_params: usize) -> NetworkSpec {
        let torso = Torso::Mlp { hidden: hidden.to_vec() };
        NetworkSpec { n_inputs, torso, n_action_params, n_values: 1 }
    }

    /// P + V.
    pub fn n_outputs(&self) -> usize {
        self.n_action_params + self.n_values
    }

    /// Units of each hidden layer.
    pub fn hidden(&self) -> &[usize] {
        let Torso::Mlp { hidden } = &self.torso;
        hidden
    }

    /// What is wrong with these sizes, if anything is. Sizes without fault can be laid out: no product of
    /// them overflows.
    pub fn fault(&self) -> Option<String> {
        let hidden = self.hidden();
        if !(1..=MAX_LAYERS).contains(&hidden.len()) {
            return Some(format!("{} hidden layers; 1 to {MAX_LAYERS} work", hidden.len()));
        }
        let outer = [&self.n_inputs, &self.n_action_params, &self.n_values];
        let mut widths = hidden.iter().chain(outer);
        if let Some(width) = widths.find(|width| !(1..=MAX_WIDTH).contains(*width)) {
            return Some(format!("a layer of {width} units; 1 to {MAX_WIDTH} work"));
        }
        let n_params = ParamLayout::new(self).len();
        (n_params > MAX_PARAMS)
            .then(|| format!("{n_params} parameters in all; up to {MAX_PARAMS} (1 GiB) work"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{ActionSpace, ObsSpace};

    fn spec(obs: ObsSpace, actions: ActionSpace) -> Spec {
        Spec { id: "X-v0".into(), obs, actions, max_episode_steps: None, reward_threshold: None }
    }

    #[test]
    fn sizes_follow_from_the_spaces() {
        let torso = Torso::Mlp { hidden: vec![8] };
        let vector = spec(ObsSpace::vector(4), ActionSpace::Discrete(3));
        let network = NetworkSpec::of(&vector, torso.clone()).unwrap();
        assert_eq!((network.n_inputs, network.n_action_params, network.n_outputs()), (4, 3, 4));
        let image = spec(ObsSpace::image(3, 8, 8), ActionSpace::Discrete(3));
        let refusal = NetworkSpec::of(&image, torso).unwrap_err().to_string();
        assert_eq!(refusal, "an mlp takes numbers, and X-v0 shows pixels: u8 [3, 8, 8]");
    }

    #[test]
    fn sizes_that_no_network_can_have_are_found() {
        let network = NetworkSpec::mlp;
        assert_eq!(network(4, &[64, 64], 2).fault(), None);
        assert_eq!(
            network(MAX_WIDTH, &[MAX_WIDTH - 3], MAX_WIDTH).fault(),
            Some("536821755 parameters in all; up to 268435456 (1 GiB) work".into())
        );
        for (wrong, part) in [
            (network(4, &[], 2), "0 hidden layers"),
            (network(4, &[8; 17], 2), "17 hidden layers"),
            (network(0, &[8], 2), "a layer of 0 units"),
            (network(4, &[1 << 40, 8], 2), "a layer of 1099511627776 units"),
            (network(4, &[8], usize::MAX), "a layer of 18446744073709551615 units"),
        ] {
            assert!(wrong.fault().unwrap().contains(part), "{wrong:?}");
        }
    }
}
