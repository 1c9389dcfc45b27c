//! What a run learned from and what learned it: observations, actions and the network, in words.
//!
//! Owns the words. Reads no file and lays nothing out; the page asks.

use super::units::{counted, grouped};
use crate::network::params::ParamLayout;
use crate::network::{Backend, LstmSpec, NetworkSpec, Torso};
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Each fact with its name; `learner` is who computed the network there, if that is known.
pub fn facts(
    spec: &Spec,
    network: &NetworkSpec,
    learner: Option<&str>,
) -> Vec<(&'static str, String)> {
    let n_params = ParamLayout::new(network).len() as u64;
    let mut facts = vec![
        ("observation", observation(&spec.obs) + &stacked(spec, network)),
        ("action", action(&spec.actions)),
        ("episode", episode(spec.max_episode_steps)),
        ("network", torso(network)),
        ("parameters", format!("{}, both heads included", grouped(n_params))),
    ];
    let acting = backend(Backend::of(network).name());
    let learner = learner.filter(|learner| !learner.is_empty());
    facts.extend(learner.map(|learner| {
        let learning = backend(learner);
        let who = match learning == acting {
            true => format!("{acting}, in learner and actors"),
            false => format!("{learning} in the learner, {acting} in the actors"),
        };
        ("computed by", who)
    }));
    facts
}

fn observation(space: &ObsSpace) -> String {
    let numbers = space.numbers();
    let n_bytes = counted((numbers.len * numbers.number.n_bytes()) as u64, "byte");
    match space {
        ObsSpace::Vector { len, bounds } => {
            let mapped = ", mapped from bounds to −1 to 1";
            let mapped = bounds.as_ref().map_or("", |_| mapped);
            format!("{}{mapped}; {n_bytes}", counted(*len as u64, "number"))
        }
        ObsSpace::Image { shape: [planes, height, width], high: 1 } => {
            let planes = counted(*planes as u64, "plane");
            format!("{planes} of {height} × {width} bits; {n_bytes}")
        }
        ObsSpace::Image { shape: [channels, height, width], high } => {
            let channels = counted(*channels as u64, "channel");
            format!("{channels} of {height} × {width} pixels, 0 to {high}; {n_bytes}")
        }
    }
}

/// How many of them the network sees.
fn stacked(spec: &Spec, network: &NetworkSpec) -> String {
    match network.n_stacked(&spec.obs) {
        Some(n_stacked @ 2..) => format!("; the network sees the last {n_stacked}"),
        _ => String::new(),
    }
}

fn action(space: &ActionSpace) -> String {
    match space {
        ActionSpace::Discrete(n) => format!("one of {n}"),
        ActionSpace::MultiDiscrete(choices) => {
            let each: Vec<String> = choices.iter().map(|n| format!("one of {n}")).collect();
            format!("at once {}", each.join(", "))
        }
        ActionSpace::Box { low, .. } => {
            format!("{}, between bounds", counted(low.len() as u64, "number"))
        }
    }
}

fn episode(max_steps: Option<u32>) -> String {
    max_steps.map_or("no limit of steps".into(), |steps| {
        format!("{} at most", counted(u64::from(steps), "step"))
    })
}

/// As `network.torso` has it; its features go to the heads, or to the LSTM before them.
fn torso(network: &NetworkSpec) -> String {
    let name = network.torso.name();
    let units = match &network.torso {
        Torso::Mlp { hidden } => {
            let hidden: Vec<String> = hidden.iter().map(usize::to_string).collect();
            format!(" of {} units", hidden.join(" and "))
        }
        _ => String::new(),
    };
    let features = counted(network.n_features() as u64, "feature");
    format!("{name}{units}, {features}{}", network.lstm.map(lstm).unwrap_or_default())
}

fn lstm(LstmSpec { units, n_last_step }: LstmSpec) -> String {
    let told = if n_last_step > 0 { ", which is told the last action and reward" } else { "" };
    format!("; LSTM of {}{told}", counted(units as u64, "unit"))
}

fn backend(name: &str) -> &str {
    match name {
        "native" => "our own kernels (native)",
        "torch" => "libtorch (torch)",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Pixels;

    #[test]
    fn observations_are_told_with_their_kind_and_size() {
        for (space, told) in [
            (ObsSpace::vector(4), "4 numbers; 16 bytes"),
            (
                ObsSpace::bounded(&[[-1.2, 0.6], [-0.07, 0.07]]),
                "2 numbers, mapped from bounds to −1 to 1; 8 bytes",
            ),
            (ObsSpace::planes(4, 10, 10), "4 planes of 10 × 10 bits; 400 bytes"),
            (ObsSpace::image(1, 24, 32), "1 channel of 24 × 32 pixels, 0 to 255; 768 bytes"),
        ] {
            assert_eq!(observation(&space).replace('\u{a0}', " "), told);
        }
    }

    #[test]
    fn a_network_that_sees_several_pictures_is_told_of() {
        let spec = Spec {
            id: "X-v0".into(),
            obs: ObsSpace::image(1, 84, 84),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: None,
            reward_threshold: None,
        };
        let told = |n_channels| {
            let pixels = Pixels { shape: [n_channels, 84, 84], high: 255 };
            facts(&spec, &NetworkSpec::pictures(Torso::Nature, pixels, 3), None)[0].1.clone()
        };
        assert!(told(4).ends_with("; the network sees the last 4"), "{}", told(4));
        assert!(told(1).replace('\u{a0}', " ").ends_with("; 7,056 bytes"), "{}", told(1));
    }

    #[test]
    fn actions_are_told_by_what_can_be_chosen() {
        let of_box = ActionSpace::Box { low: vec![-2.0; 3], high: vec![2.0; 3] };
        assert_eq!(action(&ActionSpace::Discrete(3)), "one of 3");
        assert_eq!(action(&ActionSpace::MultiDiscrete(vec![3, 2])), "at once one of 3, one of 2");
        assert_eq!(action(&of_box).replace('\u{a0}', " "), "3 numbers, between bounds");
    }

    #[test]
    fn a_network_is_told_with_its_memory() {
        let plain = NetworkSpec::mlp(4, &[64, 32], 2);
        let told = |network: &NetworkSpec| torso(network).replace('\u{a0}', " ");
        assert_eq!(told(&plain), "mlp of 64 and 32 units, 32 features");
        let all = "mlp of 64 and 32 units, 32 features; LSTM of 16 units";
        assert_eq!(told(&plain.clone().with_lstm(16, 0)), all);
        let more = format!("{all}, which is told the last action and reward");
        assert_eq!(told(&plain.with_lstm(16, 3)), more);
    }

    #[test]
    fn who_computes_a_network_is_told_where_it_is_known() {
        let spec = Spec {
            id: "X-v0".into(),
            obs: ObsSpace::planes(4, 10, 10),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: None,
            reward_threshold: None,
        };
        let pixels = Pixels { shape: [4, 10, 10], high: 1 };
        let network = NetworkSpec::pictures(Torso::Minatar, pixels, 3);
        let told = |learner| {
            let facts = facts(&spec, &network, learner);
            facts.into_iter().find(|(name, _)| *name == "computed by").map(|(_, who)| who)
        };
        let both = "our own kernels (native), in learner and actors";
        assert_eq!(told(Some("native")).as_deref(), Some(both));
        let mixed = "libtorch (torch) in the learner, our own kernels (native) in the actors";
        assert_eq!(told(Some("torch")).as_deref(), Some(mixed));
        assert_eq!((told(None), told(Some(""))), (None, None));
        // 592 + 131,200 of the torso, 129 of each of 3 + 1 outputs.
        assert!(facts(&spec, &network, None)[4].1.starts_with("132,308"));
    }
}
