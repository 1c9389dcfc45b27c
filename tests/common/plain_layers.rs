//! A torso and its heads as plain loops over one frame: what libtorch's walk over the layers must come to.

use impala::network::params::{Affine, ParamLayout};
use impala::network::{Conv, Layer, NetworkSpec};

/// Numbers `[C, H, W]`; `[F, 1, 1]` once flat.
struct Picture {
    shape: [usize; 3],
    numbers: Vec<f64>,
}

impl Picture {
    /// Zero outside of the picture.
    fn at(&self, c: usize, y: isize, x: isize) -> f64 {
        let [_, height, width] = self.shape.map(|side| side as isize);
        let is_inside = (0..height).contains(&y) && (0..width).contains(&x);
        if is_inside { self.numbers[((c as isize * height + y) * width + x) as usize] } else { 0.0 }
    }

    fn of(shape: [usize; 3], number: impl Fn(usize, usize, usize) -> f64) -> Picture {
        let [channels, height, width] = shape;
        let places = (0..channels).flat_map(|c| (0..height).map(move |y| (c, y)));
        let places = places.flat_map(|(c, y)| (0..width).map(move |x| (c, y, x)));
        Picture { shape, numbers: places.map(|(c, y, x)| number(c, y, x)).collect() }
    }

    fn map(mut self, function: impl Fn(f64) -> f64) -> Picture {
        self.numbers.iter_mut().for_each(|x| *x = function(*x));
        self
    }
}

/// All outputs of one frame, `[P + V]`, of inputs from 0 to 1 in the order `[C, H, W]`.
pub fn outputs(
    spec: &NetworkSpec,
    params: &[f32],
    shape: [usize; 3],
    inputs: Vec<f64>,
) -> Vec<f64> {
    let layout = ParamLayout::new(spec);
    let mut torso = layout.torso().iter();
    let picture = Picture { shape, numbers: inputs };
    let features = walk(&spec.layers(), picture, params, &mut torso);
    dense(params, &layout.heads(), &features).numbers
}

fn walk<'a>(
    layers: &[Layer],
    picture: Picture,
    params: &[f32],
    affine: &mut impl Iterator<Item = &'a Affine>,
) -> Picture {
    layers.iter().fold(picture, |x, layer| match layer {
        Layer::Dense { .. } => dense(params, affine.next().unwrap(), &x),
        Layer::Conv(conv) => convolved(params, affine.next().unwrap(), *conv, &x),
        Layer::MaxPool => pooled(&x),
        Layer::Relu => x.map(|x| x.max(0.0)),
        Layer::Tanh => x.map(f64::tanh),
        Layer::Flatten => flat(&x),
        Layer::Residual(inner) => {
            let copy = Picture { shape: x.shape, numbers: x.numbers.clone() };
            let mut made = walk(inner, copy, params, affine);
            made.numbers.iter_mut().zip(&x.numbers).for_each(|(made, x)| *made += x);
            made
        }
    })
}

fn dense(params: &[f32], layer: &Affine, x: &Picture) -> Picture {
    let (weight, bias) = (layer.weight(params), layer.bias(params));
    Picture::of([layer.n_outputs, 1, 1], |o, _, _| {
        let products = weight.row(o).into_iter().zip(&x.numbers).map(|(w, x)| f64::from(*w) * x);
        f64::from(bias[o]) + products.sum::<f64>()
    })
}

fn convolved(params: &[f32], layer: &Affine, conv: Conv, x: &Picture) -> Picture {
    let (weight, bias) = (layer.weight(params), layer.bias(params));
    let Conv { n_inputs, n_outputs, kernel, stride, padding } = conv;
    let side = |pixels: usize| (pixels + 2 * padding - kernel) / stride + 1;
    let [_, height, width] = x.shape;
    Picture::of([n_outputs, side(height), side(width)], |o, row, column| {
        let mut sum = f64::from(bias[o]);
        for (tap, w) in weight.row(o).iter().enumerate() {
            let (c, dy, dx) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
            let place = |first: usize, d: usize| (first * stride + d) as isize - padding as isize;
            sum += f64::from(*w) * x.at(c, place(row, dy), place(column, dx));
        }
        assert!(layer.n_inputs == n_inputs * kernel * kernel);
        sum
    })
}

fn pooled(x: &Picture) -> Picture {
    let [channels, height, width] = x.shape;
    Picture::of([channels, height.div_ceil(2), width.div_ceil(2)], |c, row, column| {
        let around = |place: usize, last: usize| {
            (2 * place).saturating_sub(1)..=(2 * place + 1).min(last - 1)
        };
        let all = around(row, height).flat_map(|y| around(column, width).map(move |x| (y, x)));
        all.map(|(py, px)| x.at(c, py as isize, px as isize)).fold(f64::NEG_INFINITY, f64::max)
    })
}

/// Channels innermost.
fn flat(x: &Picture) -> Picture {
    let [channels, height, width] = x.shape;
    Picture::of([channels * height * width, 1, 1], |n, _, _| {
        let (place, c) = (n / channels, n % channels);
        x.at(c, (place / width) as isize, (place % width) as isize)
    })
}
