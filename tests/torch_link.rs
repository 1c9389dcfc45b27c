//! The feature `torch` loads a libtorch of the right version, which computes and differentiates.
#![cfg(feature = "torch")]

use std::fs;
use std::path::PathBuf;

use tch::{Kind, Tensor};

/// The version tools/libtorch.txt pins, for the tch version Cargo.toml pins.
const LIBTORCH_VERSION: &str = "2.11.0";

/// libtorch's C interface does not tell its version, so the header beside the loaded library has to.
#[test]
fn loaded_libtorch_is_the_pinned_one() {
    let header = loaded_libtorch().join("include/torch/headeronly/version.h");
    let text = fs::read_to_string(&header).expect("libtorch lies beside its headers");
    let part = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(&format!("#define TORCH_VERSION_{name} ")));
        line.and_then(|line| line.split_whitespace().nth(2)).expect("version.h defines its parts")
    };
    assert_eq!([part("MAJOR"), part("MINOR"), part("PATCH")].join("."), LIBTORCH_VERSION);
}

/// The folder with lib/ and include/ of the libtorch in this process.
fn loaded_libtorch() -> PathBuf {
    assert!(!tch::utils::has_cuda(), "the engine's libtorch is the CPU's");
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux has /proc");
    let library = maps.lines().find(|line| line.ends_with("/lib/libtorch_cpu.so"));
    let path = library.expect("libtorch_cpu.so is loaded").split_whitespace().last();
    PathBuf::from(path.expect("a mapped file has a path").trim_end_matches("/lib/libtorch_cpu.so"))
}

/// d/dx sum(x W) is, in every row, the row sums of W.
#[test]
fn matrix_product_and_its_gradient() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]).set_requires_grad(true);
    let w = Tensor::from_slice(&[1.0f32, 10.0, 100.0, 1000.0]).view([2, 2]);

    let product = x.matmul(&w);
    product.sum(Kind::Float).backward();

    assert_eq!(rows(&product), [[201.0, 2010.0], [403.0, 4030.0]]);
    assert_eq!(rows(&x.grad()), [[11.0, 1100.0], [11.0, 1100.0]]);
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    Vec::try_from(tensor).expect("a matrix of f32")
}
