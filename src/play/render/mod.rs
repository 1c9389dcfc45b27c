//! Pictures of an episode: one frame a moment, as PNG files or as one GIF.
//!
//! Owns what a frame looks like: the scene that an environment shows above, and below it score, step and
//! what the policy thinks of its actions (`caption`). A scene sees the observation alone, and draws on a `canvas`.
//! Knows nothing of networks, and of environments their specs. `impala eval` calls it, and the final evaluation
//! for the report's picture.
//!
//! To draw another environment: a file with a function from canvas and observation to marks, and its
//! line in `SCENES`. Until then numbers are drawn as they are, with bars (`numbers`). A picture draws itself
//! (`pixels`); a line in `SCENES` names its planes and actions.

mod acrobot;
mod canvas;
mod caption;
mod cartpole;
mod gif;
mod minatar;
mod mountain_car;
mod numbers;
mod pendulum;
mod pixels;
mod video;

use std::io;
use std::path::{Path, PathBuf};

use super::Moment;
use crate::env::Picture;
use crate::space::{ObsSpace, Spec};
use canvas::Canvas;
use pixels::Pixels;

pub use canvas::{HEIGHT_PX, WIDTH_PX};
pub use video::{Video, VideoError};

/// Why an episode could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The system refused the file.
    #[error("cannot write {}: {source}; see whether you may write there and the disk has space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The picture cannot be encoded.
    #[error("cannot encode {}: {reason}; this is a defect, please report it", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder says.
        reason: String,
    },
}

/// How an environment is shown.
struct Scene {
    /// Its Gymnasium id.
    env: &'static str,
    /// Draws an observation that is no picture.
    draw: fn(&mut Canvas, &[f32]),
    /// What each plane of a picture shows; empty where nobody has said.
    planes: &'static [&'static str],
    /// What its actions do, or what the parts of an action are; empty where nobody has said.
    actions: &'static [&'static str],
    /// How long a step takes, hundredths of a second, as Gymnasium's `render_fps` has it.
    step_cs: u16,
}

/// Those of the engine but for MinAtar's.
const SCENES: [Scene; 6] = [
    Scene {
        env: "CartPole-v1",
        draw: cartpole::draw,
        actions: &["push left", "push right"],
        step_cs: 2,
        ..ANY_SCENE
    },
    Scene {
        env: "MountainCar-v0",
        draw: mountain_car::draw,
        actions: &["push left", "coast", "push right"],
        step_cs: 3,
        ..ANY_SCENE
    },
    Scene {
        env: "Acrobot-v1",
        draw: acrobot::draw,
        actions: &["torque -1", "torque 0", "torque +1"],
        step_cs: 7,
        ..ANY_SCENE
    },
    Scene {
        env: "Pendulum-v1",
        draw: pendulum::draw,
        actions: &["torque"],
        step_cs: 3,
        ..ANY_SCENE
    },
    Scene { env: "PixelCatch-v0", actions: &["left", "none", "right"], step_cs: 10, ..ANY_SCENE },
    Scene {
        env: "TMaze-v0",
        actions: &["walk on", "turn left", "turn right", "walk back"],
        step_cs: 25,
        ..ANY_SCENE
    },
];

/// How an environment without a scene of its own is shown.
const ANY_SCENE: Scene =
    Scene { env: "", draw: numbers::draw, planes: &[], actions: &[], step_cs: 4 };

/// Every environment that has a scene.
fn scenes() -> impl Iterator<Item = &'static Scene> {
    SCENES.iter().chain(&minatar::SCENES)
}

/// One moment in the environment of `spec` as a PNG file.
///
/// # Errors
/// What the encoder says.
pub fn still(spec: &Spec, moment: &Moment) -> Result<Vec<u8>, String> {
    Film::new(spec, &[], 1).draw(moment).png()
}

/// Draws the moments of an episode.
pub struct Film<'a> {
    spec: &'a Spec,
    scene: &'static Scene,
    moments: &'a [Moment],
    every: usize,
}

impl<'a> Film<'a> {
    /// A film of an episode in the environment of `spec`, with a frame for each `every`-th moment (at least
    /// 1) and for the last one.
    pub fn new(spec: &'a Spec, moments: &'a [Moment], every: usize) -> Self {
        assert!(every > 0, "a film shows some of its moments");
        let own = scenes().find(|scene| scene.env == spec.id);
        Film { spec, scene: own.unwrap_or(&ANY_SCENE), moments, every }
    }

    /// How many frames it has.
    pub fn n_frames(&self) -> usize {
        self.shown().count()
    }

    /// Writes an animated GIF; `drawn` is called with the number of frames done.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn write_gif(&self, path: &Path, mut drawn: impl FnMut(usize)) -> Result<(), RenderError> {
        // A place that cannot be written is refused before the work, not after it.
        write(path, &[])?;
        let frames = self.shown().enumerate().map(|(frame_idx, moment)| {
            drawn(frame_idx + 1);
            self.draw(moment)
        });
        let delay_cs = self.scene.step_cs.saturating_mul(self.every.try_into().unwrap_or(u16::MAX));
        let shown = self.shown().map(|moment| moment.obs.as_slice());
        let colours = self.pixels().map(|pixels| pixels.colours(shown, gif::MAX_COLOURS));
        let colours = colours.unwrap_or_default();
        let bytes = gif::encode(frames, delay_cs, &colours)
            .map_err(|reason| RenderError::Encode { path: path.to_owned(), reason })?;
        write(path, &bytes)
    }

    /// Adds every frame to a film; `drawn` is called with the number of frames done.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn add_to(
        &self,
        video: &mut Video,
        mut drawn: impl FnMut(usize),
    ) -> Result<(), RenderError> {
        let fps = Some(100.0 / f64::from(self.scene.step_cs));
        for (frame_idx, moment) in self.shown().enumerate() {
            let rgb = self
                .draw(moment)
                .pixels()
                .chunks_exact(4)
                .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]])
                .collect();
            let (width, height) = (WIDTH_PX as usize, HEIGHT_PX as usize);
            video.add(&Picture { width, height, rgb, fps })?;
            drawn(frame_idx + 1);
        }
        Ok(())
    }

    /// Writes `frame-00000.png` and so on into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn write_frames(
        &self,
        folder: &Path,
        mut drawn: impl FnMut(usize),
    ) -> Result<(), RenderError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| RenderError::Write { path: folder.to_owned(), source })?;
        for (frame_idx, moment) in self.shown().enumerate() {
            let path = folder.join(format!("frame-{frame_idx:05}.png"));
            let bytes = self.draw(moment).png();
            write(
                &path,
                &bytes.map_err(|reason| RenderError::Encode { path: path.clone(), reason })?,
            )?;
            drawn(frame_idx + 1);
        }
        Ok(())
    }

    fn shown(&self) -> impl Iterator<Item = &'a Moment> {
        let last = self.moments.len().saturating_sub(1);
        let every = self.every;
        let moments = self.moments.iter().enumerate();
        moments.filter(move |(idx, _)| idx % every == 0 || *idx == last).map(|(_, moment)| moment)
    }

    fn draw(&self, moment: &Moment) -> Canvas {
        let mut canvas = Canvas::new();
        match self.pixels() {
            Some(pixels) => pixels.draw(&mut canvas, &moment.obs),
            None => (self.scene.draw)(&mut canvas, &moment.obs),
        }
        caption::draw(&mut canvas, &self.spec.id, self.scene.actions, moment);
        canvas
    }

    /// How an observation that is a picture is drawn.
    fn pixels(&self) -> Option<Pixels> {
        match self.spec.obs {
            ObsSpace::Image { shape, high } => {
                Some(Pixels { shape, high, names: self.scene.planes })
            }
            ObsSpace::Vector { .. } => None,
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RenderError> {
    std::fs::write(path, bytes)
        .map_err(|source| RenderError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::ChoicePart;
    use super::canvas::{Ink, SCENE_BOTTOM};
    use super::*;
    use crate::env::{EnvArgs, Registry};
    use crate::space::ActionSpace;

    fn moment(step: u32, obs: &[f32]) -> Moment {
        let choice = Some(vec![ChoicePart::Index { taken: 1, probs: vec![0.25, 0.75] }]);
        Moment { step, score: f64::from(step), obs: obs.to_vec(), choice }
    }

    /// Of the engine's environment, or of one of as many numbers.
    fn spec(env: &str, n_numbers: usize) -> Spec {
        Registry::default().spec(env, &EnvArgs::default()).unwrap_or(Spec {
            id: env.into(),
            obs: ObsSpace::vector(n_numbers),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: None,
            reward_threshold: None,
        })
    }

    /// Number of pixels of exactly this colour in the scene.
    fn area(canvas: &Canvas, rgb: [u8; 3]) -> usize {
        let scene = &canvas.pixels()[..(4 * WIDTH_PX * SCENE_BOTTOM as u32) as usize];
        scene.chunks_exact(4).filter(|rgba| rgba[..3] == rgb).count()
    }

    fn drawn(env: &str, obs: &[f32]) -> Canvas {
        Film::new(&spec(env, obs.len()), &[], 1).draw(&moment(3, obs))
    }

    #[test]
    fn scenes_move_with_the_observation() {
        for (env, before, after) in [
            ("CartPole-v1", &[0.0, 0.0, 0.0, 0.0][..], &[0.3, 0.0, 0.1, 0.0][..]),
            ("MountainCar-v0", &[-0.5, 0.0], &[0.4, 0.0]),
            ("Acrobot-v1", &[1.0, 0.0, 1.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
            ("Pendulum-v1", &[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0]),
            ("Humanoid-v5", &[0.1, -0.2, 3.0], &[0.1, 0.2, 3.0]),
        ] {
            let (before, after) = (drawn(env, before), drawn(env, after));
            assert!(area(&before, Ink::Blue.rgb()) > 100, "{env} shows a body");
            assert!(before.pixels() != after.pixels(), "{env} moves");
        }
    }

    #[test]
    fn a_picture_draws_itself_whatever_the_environment() {
        let mut of_anybody = spec("Humanoid-v5", 0);
        of_anybody.obs = ObsSpace::image(1, 20, 20);
        let canvas = Film::new(&of_anybody, &[], 1).draw(&moment(3, &[77.0; 400]));
        assert_eq!(area(&canvas, [77; 3]), 200 * 200);
        assert_eq!(area(&canvas, Ink::Blue.rgb()), 0, "no bars");
    }

    #[test]
    fn observations_of_another_size_or_without_meaning_are_no_panic() {
        for scene in scenes() {
            for obs in [&[][..], &[f32::NAN; 4], &[f32::INFINITY; 2], &[1e30; 6]] {
                (scene.draw)(&mut Canvas::new(), obs);
            }
        }
    }

    #[test]
    fn scenes_name_every_action_and_every_plane() {
        let registry = Registry::default();
        for scene in scenes() {
            let spec = registry.spec(scene.env, &EnvArgs::default()).unwrap();
            let n_names = match &spec.actions {
                ActionSpace::Discrete(n) => *n,
                several => several.numbers().len,
            };
            assert_eq!(n_names, scene.actions.len(), "{spec}");
            let n_planes = match spec.obs {
                ObsSpace::Image { shape, high: 1 } => shape[0],
                _ => 0,
            };
            assert_eq!(n_planes, scene.planes.len(), "{spec}");
        }
    }

    #[test]
    fn a_film_shows_every_kth_moment_and_the_last() {
        let moments: Vec<Moment> = (0..8).map(|step| moment(step, &[0.0; 4])).collect();
        let spec = spec("CartPole-v1", 4);
        let steps = |every| {
            let film = Film::new(&spec, &moments, every);
            film.shown().map(|moment| moment.step).collect::<Vec<_>>()
        };
        assert_eq!(steps(1), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(steps(3), [0, 3, 6, 7]);
        assert_eq!(steps(100), [0, 7]);
    }
}
