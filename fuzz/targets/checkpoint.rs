//! Any bytes as a checkpoint: refused with a message, or sound to its last number.

#![no_main]

use std::path::Path;

use impala::state::checkpoint::Checkpoint;
use impala::network::params::ParamLayout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Checkpoint::read(Path::new("made-up"), bytes) {
        Ok(checkpoint) => {
            let params = &checkpoint.state.params;
            assert_eq!(params.len(), ParamLayout::new(&checkpoint.network).len());
            assert!(params.iter().all(|param| param.is_finite()));
        }
        Err(error) => assert!(error.to_string().starts_with("made-up: ")),
    }
});
