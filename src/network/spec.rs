//! What a network is made of: plain data, from which its parameters follow.

use serde::{Deserialize, Serialize};

use super::heads;
use super::layer::{Layer, Stack};
use super::params::{MAX_LAYERS, MAX_PARAMS, MAX_WIDTH, ParamLayout};
use super::torso::Torso;
use crate::space::{ObsSpace, Spec};

/// The most pixels of an observation: a screen of 4 pictures of 512 × 512.
const MAX_PIXELS: usize = 1 << 20;

/// Sizes of a network: a torso that all outputs share, an LSTM where it has one, and a linear layer of P + V outputs
/// on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// D, numbers of an observation, or pixels.
    pub n_inputs: usize,
    /// What the pixels are; `None` where observations are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Pixels>,
    /// Whether it sees numbers normalised by statistics that stand among its parameters.
    #[serde(default, skip_serializing_if = "is_false")]
    pub normalizes: bool,
    /// From observations to features.
    pub torso: Torso,
    /// What remembers, between torso and outputs; `None` where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lstm: Option<LstmSpec>,
    /// P, parameters of the distribution over actions.
    pub n_action_params: usize,
    /// F, how many of these, the first ones, are the same whatever is observed: parameters of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_free: usize,
    /// V, values: one a task. A network of several is told the task of each frame.
    pub n_values: usize,
    /// Whether mean and second moment of each value's targets stand among its parameters, and values are in units of
    /// them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub scales_values: bool,
}

/// The pictures that a network takes. It sees a pixel as 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    /// `[C, H, W]`.
    pub shape: [usize; 3],
    /// What becomes 1.
    pub high: u8,
}

/// Sizes of an LSTM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmSpec {
    /// H, units: as many numbers come out, and as many cells remember.
    pub units: usize,
    /// L, numbers that tell of the step before, which it takes beside the features.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_last_step: usize,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl NetworkSpec {
    /// The network for an environment's spaces, with one value.
    pub fn of(spec: &Spec, torso: Torso) -> NetworkSpec {
        let pixels = match spec.obs {
            ObsSpace::Image { shape, high } => Some(Pixels { shape, high }),
            ObsSpace::Vector { .. } => None,
        };
        let n_inputs = spec.obs.numbers().len;
        let (n_action_params, n_free) =
            (heads::n_params(&spec.actions), heads::n_free(&spec.actions));
        NetworkSpec {
            n_inputs,
            pixels,
            normalizes: false,
            torso,
            lstm: None,
            n_action_params,
            n_free,
            n_values: 1,
            scales_values: false,
        }
    }

    /// Dense layers of these widths on numbers, with one value.
    pub fn mlp(n_inputs: usize, hidden: &[usize], n_action_params: usize) -> NetworkSpec {
        let torso = Torso::Mlp { hidden: hidden.to_vec() };
        NetworkSpec {
            n_inputs,
            pixels: None,
            normalizes: false,
            torso,
            lstm: None,
            n_action_params,
            n_free: 0,
            n_values: 1,
            scales_values: false,
        }
    }

    /// A torso on pictures, with one value.
    pub fn pictures(torso: Torso, pixels: Pixels, n_action_params: usize) -> NetworkSpec {
        let n_inputs = pixels.shape.iter().product();
        let pixels = Some(pixels);
        NetworkSpec { n_inputs, pixels, torso, ..NetworkSpec::mlp(n_inputs, &[1], n_action_params) }
    }

    /// How many observations of this space it sees at once, which is more than one of pictures alone; `None`
    /// where it sees others.
    pub fn n_stacked(&self, obs: &ObsSpace) -> Option<usize> {
        match (obs, self.pixels) {
            (ObsSpace::Vector { len, .. }, None) => (*len == self.n_inputs).then_some(1),
            (ObsSpace::Image { shape: [channels, sides @ ..], high }, Some(pixels)) => {
                let [n_channels, own_sides @ ..] = pixels.shape;
                let is_fitting = *sides == own_sides
                    && *high == pixels.high
                    && n_channels.checked_rem(*channels) == Some(0);
                is_fitting.then(|| n_channels / channels)
            }
            _ => None,
        }
    }

    /// The same with an LSTM of `units` units, which takes `n_last_step` numbers of the step before.
    pub fn with_lstm(self, units: usize, n_last_step: usize) -> NetworkSpec {
        NetworkSpec { lstm: Some(LstmSpec { units, n_last_step }), ..self }
    }

    /// R, numbers that it remembers between two steps: h, c, and what the LSTM takes of the step before.
    pub fn n_state(&self) -> usize {
        self.lstm.map_or(0, |LstmSpec { units, n_last_step }| 2 * units + n_last_step)
    }

    /// L, how many of these tell of the step before.
    pub fn n_last_step(&self) -> usize {
        self.lstm.map_or(0, |lstm| lstm.n_last_step)
    }

    /// The network in a few words, as the settings call its parts.
    pub fn name(&self) -> String {
        let torso = self.torso.name();
        self.lstm.map_or(torso.into(), |LstmSpec { units, .. }| {
            format!("{torso} with an LSTM of {units}")
        })
    }

    /// K, numbers by which it is told a frame's task: 1 for that task, 0 for the others; none where there is one.
    pub fn n_task_inputs(&self) -> usize {
        if self.n_values > 1 { self.n_values } else { 0 }
    }

    /// P + V.
    pub fn n_outputs(&self) -> usize {
        self.n_action_params + self.n_values
    }

    /// What the torso is made of; of a network without [fault](Self::fault).
    pub fn layers(&self) -> Vec<Layer> {
        self.sound_stack().layers
    }

    /// Numbers of a frame that the torso makes.
    pub fn n_features(&self) -> usize {
        self.sound_stack().n_features()
    }

    /// Numbers of a frame that go into the outputs.
    pub fn n_head_inputs(&self) -> usize {
        self.lstm.map_or_else(|| self.n_features(), |lstm| lstm.units)
    }

    /// Numbers of a frame that all layers put out together, an LSTM's gates included: what a pass keeps of it.
    pub fn n_activations(&self) -> usize {
        let of_lstm = self.lstm.map_or(0, |lstm| 6 * lstm.units);
        self.sound_stack().n_activations + of_lstm
    }

    fn sound_stack(&self) -> Stack {
        self.stack().expect("a network is looked at for faults before it is laid out")
    }

    fn stack(&self) -> Option<Stack> {
        let shape = self.pixels.map_or([self.n_inputs, 1, 1], |pixels| pixels.shape);
        self.torso.stack(shape, self.n_task_inputs())
    }

    /// What is wrong with these sizes, if anything is. Sizes without fault can be laid out: no product of
    /// them overflows.
    pub fn fault(&self) -> Option<String> {
        if let Some(fault) = self.inputs_fault().or_else(|| self.width_fault()) {
            return Some(fault);
        }
        if self.stack().is_none() {
            let [_, height, width] = self.pixels.map_or([0; 3], |pixels| pixels.shape);
            let name = self.torso.name();
            return Some(format!("pictures of {height} × {width} pixels, too small for {name}"));
        }
        let n_params = ParamLayout::new(self).len();
        (n_params > MAX_PARAMS)
            .then(|| format!("{n_params} parameters in all; up to {MAX_PARAMS} (1 GiB) work"))
    }

    /// What the torso cannot take of the observations.
    fn inputs_fault(&self) -> Option<String> {
        let Some(Pixels { shape, high }) = self.pixels else {
            let name = self.torso.name();
            return self.torso.is_of_pictures().then(|| format!("numbers; {name} takes pictures"));
        };
        let n_pixels = shape.iter().try_fold(1, |product: usize, side| product.checked_mul(*side));
        if self.normalizes {
            return Some("pictures, which are not normalised".into());
        }
        if n_pixels != Some(self.n_inputs) || high == 0 {
            return Some(format!("{} inputs of pictures {shape:?}", self.n_inputs));
        }
        (!(1..=MAX_PIXELS).contains(&self.n_inputs))
            .then(|| format!("pictures of {shape:?}; up to {MAX_PIXELS} pixels work"))
    }

    /// A layer that is too wide, or too many of them.
    fn width_fault(&self) -> Option<String> {
        let hidden = match &self.torso {
            Torso::Mlp { hidden } => hidden,
            _ => &vec![1],
        };
        if !(1..=MAX_LAYERS).contains(&hidden.len()) {
            return Some(format!("{} hidden layers; 1 to {MAX_LAYERS} work", hidden.len()));
        }
        let n_numbers = if self.pixels.is_none() { self.n_inputs } else { 1 };
        let outer = [&n_numbers, &self.n_action_params, &self.n_values];
        let lstm = self.lstm.iter().map(|lstm| &lstm.units);
        let mut widths = hidden.iter().chain(outer).chain(lstm);
        let width = widths.find(|width| !(1..=MAX_WIDTH).contains(*width));
        let width = width.map(|width| format!("a layer of {width} units; 1 to {MAX_WIDTH} work"));
        let (n_free, n_all) = (self.n_free, self.n_action_params);
        let free = || format!("{n_free} free parameters of the {n_all} of a distribution");
        // An action has no more numbers than its distribution, and one tells of the reward.
        let n_last = self.n_last_step();
        let told = || format!("{n_last} numbers of the step before, for a distribution of {n_all}");
        let width = width.or_else(|| (n_free >= n_all).then(free));
        width.or_else(|| (n_last > n_all + 1).then(told))
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
        let vector = spec(ObsSpace::vector(4), ActionSpace::Discrete(3));
        let network = NetworkSpec::of(&vector, Torso::Mlp { hidden: vec![8] });
        assert_eq!((network.n_inputs, network.n_action_params, network.n_outputs()), (4, 3, 4));
        let planes = spec(ObsSpace::planes(4, 10, 10), ActionSpace::Discrete(3));
        let network = NetworkSpec::of(&planes, Torso::Minatar);
        assert_eq!(network.pixels, Some(Pixels { shape: [4, 10, 10], high: 1 }));
        assert_eq!((network.n_inputs, network.n_features()), (400, 128));
        assert_eq!(network.n_activations(), 3 * 1024 + 2 * 128);
    }

    #[test]
    fn a_network_of_several_tasks_has_a_value_for_each_and_is_told_which_it_is() {
        let planes = spec(ObsSpace::planes(4, 10, 10), ActionSpace::Discrete(3));
        for (torso, layer, n_inputs) in
            [(Torso::Minatar, 3, 1024), (Torso::Mlp { hidden: vec![8, 7] }, 0, 400)]
        {
            let one = NetworkSpec::of(&planes, torso);
            let three = NetworkSpec { n_values: 3, ..one.clone() };
            let inputs = |network: &NetworkSpec| network.layers()[layer].matrix().unwrap().1;
            assert_eq!((one.n_task_inputs(), inputs(&one)), (0, n_inputs));
            assert_eq!((three.n_task_inputs(), inputs(&three)), (3, n_inputs + 3));
            assert_eq!((three.n_outputs(), three.n_features()), (6, one.n_features()));
            let n_layers = three.layers().len();
            let last = three.layers()[n_layers - 2].matrix();
            assert!(n_layers == 5 || last == one.layers()[2].matrix(), "the first layer alone");
        }
    }

    #[test]
    fn how_many_pictures_a_network_sees_at_once_follows_from_one_of_them() {
        let pixels = Pixels { shape: [12, 84, 84], high: 255 };
        let network = NetworkSpec::pictures(Torso::Nature, pixels, 2);
        let seen = |obs: ObsSpace| network.n_stacked(&obs);
        assert_eq!(seen(ObsSpace::image(3, 84, 84)), Some(4));
        assert_eq!(seen(ObsSpace::image(12, 84, 84)), Some(1));
        for other in [
            ObsSpace::image(5, 84, 84),
            ObsSpace::image(3, 84, 42),
            ObsSpace::planes(3, 84, 84),
            ObsSpace::image(0, 84, 84),
            ObsSpace::vector(12 * 84 * 84),
        ] {
            assert_eq!(seen(other.clone()), None, "{other}");
        }
        let network = NetworkSpec::mlp(4, &[8], 2);
        assert_eq!([4, 2].map(|len| network.n_stacked(&ObsSpace::vector(len))), [Some(1), None]);
    }

    #[test]
    fn what_a_torso_cannot_take_is_found() {
        let numbers = NetworkSpec { torso: Torso::Nature, ..NetworkSpec::mlp(4, &[8], 2) };
        assert_eq!(numbers.fault().unwrap(), "numbers; nature takes pictures");
        let pictures = |torso, shape| NetworkSpec::pictures(torso, Pixels { shape, high: 255 }, 2);
        let small = pictures(Torso::Nature, [4, 35, 84]);
        assert_eq!(small.fault().unwrap(), "pictures of 35 × 84 pixels, too small for nature");
        assert_eq!(pictures(Torso::Nature, [4, 36, 36]).fault(), None);
        let wrong = NetworkSpec { n_inputs: 7, ..pictures(Torso::Minatar, [4, 10, 10]) };
        assert_eq!(wrong.fault().unwrap(), "7 inputs of pictures [4, 10, 10]");
        let endless = Pixels { shape: [usize::MAX, 2, 2], high: 1 };
        let endless = NetworkSpec { pixels: Some(endless), ..pictures(Torso::Minatar, [4, 3, 3]) };
        assert!(endless.fault().unwrap().starts_with("36 inputs"));
        let huge = pictures(Torso::ImpalaDeep, [4, 1024, 1024]);
        assert!(huge.fault().unwrap().ends_with("up to 1048576 pixels work"));
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
