//! How fast this machine is at the moment: the same piece of a learner's work, timed again and again.
//!
//! Other programs come and go. Whoever shares a cache or half a core with the run makes it slower and this
//! as well; what makes the run alone slower is the run's.

use anyhow::Result;
use impala::base::stages::StageClock;
use impala::config::Config;
use nix::time::{ClockId, clock_gettime};

use super::lone_learner::LoneLearner;

/// Processor time of one measurement, s: a hundredth of what passes between two samples.
const CPU_S: f64 = 0.05;

/// A learner that works for nobody.
pub struct Yardstick(LoneLearner, StageClock);

impl Yardstick {
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: &Config) -> Result<Yardstick> {
        Ok(Yardstick(LoneLearner::new(config)?, StageClock::start()))
    }

    /// Frames that it learns from in a second of processor time.
    ///
    /// # Errors
    /// If the system has no such clock.
    pub fn frames_per_cpu_s(&mut self) -> Result<f64> {
        let Yardstick(learner, clock) = self;
        // What lies in the caches is somebody else's by now.
        learner.learn(clock);
        let (start_s, mut n_frames) = (thread_cpu_s()?, 0);
        let cpu_s = loop {
            n_frames += learner.learn(clock);
            let cpu_s = thread_cpu_s()? - start_s;
            if cpu_s >= CPU_S {
                break cpu_s;
            }
        };
        Ok(n_frames as f64 / cpu_s)
    }
}

fn thread_cpu_s() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
