//! A run folder in which one file holds any bytes: the report is made of what is left.
//!
//! The first byte says which file; one more choice packs the bytes as a histogram inside a sound log, so
//! that they come past the formats around it.

#![no_main]

use std::fs;
use std::io::Write;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use impala::report::{self, Pictures};
use impala::run::dir::RunDir;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, content)) = bytes.split_first() else { return };
    let path = FOLDER.path().join("run");
    let _ = fs::remove_dir_all(&path);
    let run = RunDir::create_at(&path).unwrap();
    fs::write(run.meta(), "{}").unwrap();
    let (file, content) = match choice % 8 {
        0 => (run.meta(), content.to_vec()),
        1 => (run.config(), content.to_vec()),
        2 => (run.metrics(), content.to_vec()),
        3 => (run.latency(), content.to_vec()),
        4 => (run.summary(), content.to_vec()),
        5 => (run.checkpoint(), content.to_vec()),
        6 => (run.observation(), content.to_vec()),
        _ => (run.latency(), log_of(content)),
    };
    fs::write(file, content).unwrap();
    report::render(&run, Pictures::Svg, &mut |_| ()).unwrap();
});

/// An interval log with these bytes, unpacked, as its only histogram.
fn log_of(bytes: &[u8]) -> Vec<u8> {
    let mut packing = ZlibEncoder::new(Vec::new(), Compression::fast());
    packing.write_all(bytes).unwrap();
    let deflated = packing.finish().unwrap();
    let mut packed = 0x1c84_9314u32.to_be_bytes().to_vec();
    packed.extend((deflated.len() as u32).to_be_bytes());
    packed.extend(deflated);
    format!("Tag=wait,0.0,1.0,1.0,{}\n", STANDARD.encode(packed)).into_bytes()
}
