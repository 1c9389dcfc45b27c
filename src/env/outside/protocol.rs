//! What an actor and the process of its environments say to one another, and where in their memory what lies.
//!
//! Owns the words and the layout, of which `docs/environment-protocol.md` is the description. Sends nothing.

use serde::Deserialize;

use crate::base::span::{Cursor, Span};
use crate::space::{ActionSpace, Numbers, ObsSpace, Spec};

/// A process that speaks another version is refused by its own first answer.
pub const VERSION: u32 = 1;

/// Takes a step in each environment.
pub const STEP: &[u8] = b"s";

/// Draws the first environment.
pub const DRAW: &[u8] = b"d";

/// What was asked for is done.
pub const DONE: &[u8] = b".";

/// The most bytes of a message: below what a socket takes in one piece.
pub const MAX_MESSAGE_BYTES: usize = 1 << 16;

/// Parts of the memory begin at multiples of so many bytes, as cache lines do.
const ALIGNMENT: usize = 64;

/// The longest side of a picture.
const MAX_SIDE: usize = 1 << 16;

/// What a row's flags say; others are not looked at.
pub mod flags {
    /// The state is terminal.
    pub const TERMINATED: u8 = 1;
    /// The episode was cut.
    pub const TRUNCATED: u8 = 2;
    /// The row of stats holds an episode that is over.
    pub const EPISODE: u8 = 4;
    /// No step was taken: the observation is a new episode's first.
    pub const RESET: u8 = 8;
    /// With [`TERMINATED`]: a life was lost, and the episode goes on with the next step.
    pub const GOES_ON: u8 = 16;
}

/// The first message: so many environments, the first seeded with `seed`.
pub fn hello(n_envs: usize, seed: u64) -> String {
    format!("hello {VERSION} {n_envs} {seed}")
}

/// Begins a new episode in one environment.
pub fn reset_one(env: usize) -> String {
    format!("r {env}")
}

/// What a process says of its environments.
#[derive(Debug, Deserialize)]
pub struct Described {
    obs: ObsSpace,
    actions: ActionSpace,
    #[serde(default)]
    max_episode_steps: Option<u32>,
    #[serde(default)]
    reward_threshold: Option<f64>,
    /// What environments that draw themselves draw.
    #[serde(default)]
    pub picture: Option<Drawn>,
    /// Frames of an emulator in a step.
    #[serde(default = "one")]
    pub frames_per_step: u32,
    /// What a user should know of them, a line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The pictures that environments draw of themselves.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Drawn {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Pictures of a second.
    #[serde(default)]
    pub fps: Option<f64>,
}

impl Drawn {
    /// Bytes of a picture; `None` for one that nobody could look at.
    fn n_bytes(&self) -> Option<usize> {
        let is_side = |side| (1..=MAX_SIDE).contains(&side);
        (is_side(self.height) && is_side(self.width)).then_some(3 * self.height * self.width)
    }
}

fn one() -> u32 {
    1
}

impl Described {
    /// The description in an answer to `hello`; `None` in any other.
    pub fn parse(message: &[u8]) -> Option<Result<Self, serde_json::Error>> {
        message.strip_prefix(b"spec ").map(serde_json::from_slice)
    }

    /// The same as the engine has it.
    ///
    /// # Errors
    /// What cannot be of it.
    pub fn spec(&self, id: &str) -> Result<Spec, String> {
        // Products of what anybody may write are not to overflow.
        if let ObsSpace::Image { shape, .. } = &self.obs
            && shape.iter().any(|side| *side > MAX_SIDE)
        {
            return Err(format!("pictures of {shape:?}; no side is above {MAX_SIDE}"));
        }
        let spec = Spec {
            id: id.into(),
            obs: self.obs.clone(),
            actions: self.actions.clone(),
            max_episode_steps: self.max_episode_steps,
            reward_threshold: self.reward_threshold,
        };
        spec.fault().map_or(Ok(spec), Err)
    }
}

/// Where what lies. Rewards, stats, flags and observations, which the process writes, come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// f64 `[E]`.
    pub rewards: Span,
    /// f64 `[E, 2]`: return and length of an episode.
    pub stats: Span,
    /// u8 `[E]`.
    pub flags: Span,
    /// f32 `[E, D]` or u8 `[E, C·H·W]`.
    pub obs: Span,
    /// i32 or f32 `[E, K]`.
    pub actions: Span,
    /// u8 `[H, W, 3]`, which the process writes where it is asked to.
    pub picture: Option<Span>,
    /// Bytes in all.
    pub n_bytes: usize,
}

impl Layout {
    /// That of `n_envs` environments, which draw such pictures or none; `None` where that many bytes cannot be
    /// counted.
    pub fn new(spec: &Spec, drawn: Option<Drawn>, n_envs: usize) -> Option<Self> {
        let mut cursor = Cursor::default();
        let mut put = |n_bytes_each: usize, alignment| {
            cursor.place(alignment, n_envs.checked_mul(n_bytes_each)?)
        };
        let n_bytes = |Numbers { number, len }| number.n_bytes().checked_mul(len);
        let rewards = put(size_of::<f64>(), ALIGNMENT)?;
        let stats = put(size_of::<[f64; 2]>(), size_of::<f64>())?;
        let flags = put(1, 1)?;
        let obs = put(n_bytes(spec.obs.numbers())?, ALIGNMENT)?;
        let actions = put(n_bytes(spec.actions.numbers())?, ALIGNMENT)?;
        let picture = match drawn {
            Some(drawn) => Some(cursor.place(ALIGNMENT, drawn.n_bytes()?)?),
            None => None,
        };
        Some(Layout { rewards, stats, flags, obs, actions, picture, n_bytes: cursor.end() })
    }

    /// The message that tells of it.
    pub fn message(&self) -> String {
        let Layout { rewards, stats, flags, obs, actions, picture, n_bytes } = self;
        let parts = [obs, rewards, flags, stats, actions].into_iter().chain(picture);
        let offsets: Vec<String> = parts.map(|span| span.offset.to_string()).collect();
        format!("map {n_bytes} {}", offsets.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_description_may_leave_out_what_nobody_knows() {
        let text = br#"spec {"obs": {"image": {"shape": [4, 84, 84], "high": 255}},
            "actions": {"multi_discrete": [3, 2]}}"#;
        let spec = Described::parse(text).unwrap().unwrap().spec("exec:x").unwrap();
        let line = "exec:x: observations u8 [4, 84, 84], actions MultiDiscrete [3, 2], no time limit, no threshold";
        assert_eq!(spec.to_string(), line);
        assert!(Described::parse(b"!no").is_none());
        let text = br#"spec {"obs": {"image": {"shape": [4, 99999, 84], "high": 255}}, "actions": {"discrete": 2}}"#;
        let fault = Described::parse(text).unwrap().unwrap().spec("exec:x").unwrap_err();
        assert!(fault.contains("99999"), "{fault}");
        assert!(Described::parse(b"spec {\"obs\": 3}").unwrap().is_err());
    }

    proptest! {
        #[test]
        fn parts_are_aligned_and_apart(n_envs in 1usize..100, len in 1usize..50, is_image: bool) {
            let obs = if is_image { ObsSpace::image(1, 1, len) } else { ObsSpace::vector(len) };
            let actions = ActionSpace::MultiDiscrete(vec![2; len]);
            let (max_episode_steps, reward_threshold) = (None, None);
            let spec = Spec { id: String::new(), obs, actions, max_episode_steps, reward_threshold };
            let drawn = is_image.then_some(Drawn { height: 3, width: len, fps: None });
            let layout = Layout::new(&spec, drawn, n_envs).unwrap();
            let parts = [layout.rewards, layout.stats, layout.flags, layout.obs, layout.actions];
            prop_assert!(parts.windows(2).all(|pair| pair[0].end() <= pair[1].offset));
            let last = layout.picture.unwrap_or(layout.actions);
            prop_assert_eq!(last.end(), layout.n_bytes);
            prop_assert!(last == layout.actions || last.offset >= layout.actions.end());
            prop_assert_eq!(layout.message().split(' ').count(), if is_image { 8 } else { 7 });
            for part in [layout.obs, layout.actions] {
                prop_assert_eq!(part.offset % ALIGNMENT, 0);
            }
            prop_assert_eq!(layout.stats.offset % size_of::<f64>(), 0);
        }
    }
}
