//! Any bytes as a settings file: refused with a message, or settings for which everything that a run
//! computes before it allocates can be computed.

#![no_main]

use std::sync::LazyLock;

use impala::run::sizes::Sizes;
use impala::config::Config;
use impala::shm::layout::{Layout, SegmentShape};
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FILE.path(), bytes).unwrap();
    let config = match Config::from_file(FILE.path()) {
        // Whoever asks of such an environment starts what it names.
        Ok(config) if config.env.contains(':') => return,
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    if let Err(error) = config.check() {
        return assert!(!error.to_string().is_empty());
    }
    let shape = SegmentShape {
        n_actors: config.actors.count,
        slots_per_actor: config.actors.slots_per_actor,
        n_moments: 2,
        n_params: Sizes::of(&config).unwrap().n_params(),
        rollout: Sizes::of(&config).unwrap().rollout,
    };
    let _ = Layout::new(&shape);
    // What is written beside a run reads back as the same settings.
    std::fs::write(FILE.path(), config.to_toml()).unwrap();
    assert_eq!(Config::from_file(FILE.path()).unwrap().to_toml(), config.to_toml());
});
