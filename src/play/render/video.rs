//! Pictures that an environment draws of itself, one after the other, as a film: an animated GIF, or an MP4 by
//! `ffmpeg`.
//!
//! Owns the choice by the file's ending and the encoders. Knows nothing of policies. `impala eval` calls it.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use gif::{Encoder, Frame, Repeat};

use super::RenderError;
use crate::env::Picture;

/// Pictures of a second where an environment does not say.
const FPS: f64 = 30.0;

/// How thoroughly colours of a GIF are chosen, 1 to 30: the crate's own advice for speed.
const COLOUR_SPEED: i32 = 10;

/// The shortest time of a picture that viewers of GIFs heed, hundredths of a second.
const SHORTEST_CS: u16 = 2;

/// Why there can be no film of a name.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// It ends otherwise.
    #[error("{}: a film ends in .gif or .mp4; name it so", .0.display())]
    Ending(PathBuf),
    /// The encoder is not there.
    #[error("{}: an MP4 needs the program ffmpeg ({source}); install it (Debian, Ubuntu: `apt install ffmpeg`), or \
             name a .gif", path.display())]
    NoFfmpeg {
        /// The film.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A film that is being made.
pub struct Video {
    path: PathBuf,
    /// Every so many steps are one picture.
    every: usize,
    /// Made with the first picture, which says how large all are.
    reel: Option<Reel>,
    n_pictures: usize,
}

enum Reel {
    Gif { encoder: Box<Encoder<BufWriter<File>>>, delay_cs: u16 },
    Mp4 { ffmpeg: Child, pixels: ChildStdin },
}

impl Video {
    /// A film at `path`, of which every `every`-th step is a picture. Nothing is written yet.
    ///
    /// # Errors
    /// [`VideoError`].
    pub fn new(path: &Path, every: usize) -> Result<Video, VideoError> {
        let path = path.to_owned();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("gif") => {}
            Some("mp4") => {
                let mut ffmpeg = Command::new("ffmpeg");
                let asked = ffmpeg.arg("-version").stdin(Stdio::null()).output();
                asked.map_err(|source| VideoError::NoFfmpeg { path: path.clone(), source })?;
            }
            _ => return Err(VideoError::Ending(path)),
        }
        Ok(Video { path, every, reel: None, n_pictures: 0 })
    }

    /// Whether it is a GIF.
    pub fn is_gif(&self) -> bool {
        self.path.extension().is_some_and(|ending| ending == "gif")
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pictures in it so far.
    pub fn n_pictures(&self) -> usize {
        self.n_pictures
    }

    /// Adds the picture of a step.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn add(&mut self, picture: &Picture) -> Result<(), RenderError> {
        let reel = match &mut self.reel {
            Some(reel) => reel,
            none => none.insert(begin(&self.path, picture, self.every)?),
        };
        self.n_pictures += 1;
        match reel {
            Reel::Gif { encoder, delay_cs } => {
                let (width, height) = (picture.width as u16, picture.height as u16);
                let mut frame = Frame::from_rgb_speed(width, height, &picture.rgb, COLOUR_SPEED);
                frame.delay = *delay_cs;
                encoder.write_frame(&frame).map_err(|error| unencoded(&self.path, error))
            }
            Reel::Mp4 { pixels, .. } => {
                pixels.write_all(&picture.rgb).map_err(|source| unwritten(&self.path, source))
            }
        }
    }

    /// Ends the film.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn finish(self) -> Result<(), RenderError> {
        let Video { path, reel, .. } = self;
        match reel {
            None => Ok(()),
            Some(Reel::Gif { encoder, .. }) => {
                let file = encoder.into_inner().map_err(|error| unencoded(&path, error))?;
                file.into_inner().map(drop).map_err(|error| unwritten(&path, error.into_error()))
            }
            Some(Reel::Mp4 { mut ffmpeg, pixels }) => {
                drop(pixels);
                let mut said = String::new();
                if let Some(mut words) = ffmpeg.stderr.take() {
                    // What it does not say is missing from the error alone.
                    let _ = words.read_to_string(&mut said);
                }
                match ffmpeg.wait() {
                    Ok(status) if status.success() => Ok(()),
                    Ok(_) => Err(unencoded(&path, said.trim())),
                    Err(source) => Err(unwritten(&path, source)),
                }
            }
        }
    }
}

fn begin(path: &Path, picture: &Picture, every: usize) -> Result<Reel, RenderError> {
    let fps = picture.fps.filter(|fps| (0.1..=1000.0).contains(fps)).unwrap_or(FPS) / every as f64;
    if path.extension().is_some_and(|ending| ending == "mp4") {
        return begin_mp4(path, picture, fps);
    }
    let side = |pixels: usize| u16::try_from(pixels).map_err(|error| unencoded(path, error));
    let (width, height) = (side(picture.width)?, side(picture.height)?);
    let file = File::create(path).map_err(|source| unwritten(path, source))?;
    let encoder = Encoder::new(BufWriter::new(file), width, height, &[]);
    let mut encoder = encoder.map_err(|error| unencoded(path, error))?;
    encoder.set_repeat(Repeat::Infinite).map_err(|error| unencoded(path, error))?;
    let delay_cs = ((100.0 / fps).round() as u16).max(SHORTEST_CS);
    Ok(Reel::Gif { encoder: Box::new(encoder), delay_cs })
}

/// H.264 with the colours that every player takes, which go by pairs of pixels.
fn begin_mp4(path: &Path, picture: &Picture, fps: f64) -> Result<Reel, RenderError> {
    let size = format!("{}x{}", picture.width, picture.height);
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
    command.args(["-video_size", &size, "-framerate", &fps.to_string(), "-i", "-"]);
    command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]);
    // A name such as `-x.mp4` is no option.
    command.arg(Path::new(".").join(path));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut ffmpeg = command.spawn().map_err(|source| unwritten(path, source))?;
    let pixels = ffmpeg.stdin.take().expect("it was just asked for");
    Ok(Reel::Mp4 { ffmpeg, pixels })
}

fn unwritten(path: &Path, source: io::Error) -> RenderError {
    RenderError::Write { path: path.to_owned(), source }
}

fn unencoded(path: &Path, reason: impl std::fmt::Display) -> RenderError {
    RenderError::Encode { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_become_a_gif_of_their_size_and_pace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gif");
        let mut video = Video::new(&path, 2).unwrap();
        assert!(video.is_gif());
        for shade in [0, 100, 200] {
            let rgb = [shade, 0, 0].repeat(6);
            video.add(&Picture { width: 3, height: 2, rgb, fps: Some(50.0) }).unwrap();
        }
        assert_eq!(video.n_pictures(), 3);
        video.finish().unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(File::open(&path).unwrap()).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (3, 2));
        let mut reds = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            assert_eq!(frame.delay, 4, "two steps at fifty a second");
            reds.push(frame.buffer[0]);
        }
        assert_eq!(reds, [0, 100, 200]);
    }

    #[test]
    fn another_ending_is_refused() {
        let refused = Video::new(Path::new("film.avi"), 1).err().unwrap().to_string();
        assert!(refused.contains("film.avi") && refused.contains(".mp4"), "{refused}");
    }
}
