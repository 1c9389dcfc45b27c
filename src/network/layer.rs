//! The layers between an observation and its features: plain data, from which parameters and sizes follow.
//!
//! Knows what a layer makes of a shape and which parameters it has; knows no arithmetic and no named torso.
//! `torso.rs` lists layers, `params.rs` lays their parameters out, libtorch walks over them.

/// One layer of a torso.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// `y = W x + b`.
    Dense {
        /// Numbers that go in.
        n_inputs: usize,
        /// Numbers that come out.
        n_outputs: usize,
    },
    /// A convolution with square kernels.
    Conv(Conv),
    /// The largest of each 3 × 3 pixels, at every second pixel, with a border of 1 pixel.
    MaxPool,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// Pixels `[C, H, W]` as one row of H·W·C numbers, channels innermost, as the paper's own code has them
    /// (TensorFlow's NHWC).
    Flatten,
    /// The input is added to what these layers make of it; they keep its shape.
    Residual(Vec<Layer>),
}

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels that go in.
    pub n_inputs: usize,
    /// Channels that come out.
    pub n_outputs: usize,
    /// Side of a kernel, pixels.
    pub kernel: usize,
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Border of zeros, pixels.
    pub padding: usize,
}

impl Layer {
    /// Inputs and outputs of the weight, if it has one: `[n_outputs, fan_in]` is its matrix.
    pub fn matrix(&self) -> Option<(usize, usize)> {
        match self {
            Layer::Dense { n_inputs, n_outputs } => Some((*n_outputs, *n_inputs)),
            Layer::Conv(conv) => Some((conv.n_outputs, conv.n_inputs * conv.kernel * conv.kernel)),
            _ => None,
        }
    }

    /// Initial weights and biases are uniform within ± this: 1/√fan_in, PyTorch's default.
    pub fn bound(&self) -> f32 {
        let (_, fan_in) = self.matrix().unwrap_or((0, 1));
        1.0 / (fan_in as f32).sqrt()
    }

    /// Shape of the weight as PyTorch has it; empty where there is none.
    pub fn weight_shape(&self) -> Vec<usize> {
        match self {
            Layer::Dense { n_inputs, n_outputs } => vec![*n_outputs, *n_inputs],
            Layer::Conv(conv) => vec![conv.n_outputs, conv.n_inputs, conv.kernel, conv.kernel],
            _ => Vec::new(),
        }
    }
}

/// Layers that follow one another, and the shape that comes out of the last.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) layers: Vec<Layer>,
    /// `[C, H, W]`; `[F, 1, 1]` once flat.
    shape: [usize; 3],
    /// Numbers of a frame that all layers put out together.
    pub(super) n_activations: usize,
    /// Numbers that the next dense layer takes besides those of the layer before.
    n_told: usize,
}

impl Stack {
    /// No layer yet, on observations of this shape.
    pub(super) fn on(shape: [usize; 3]) -> Stack {
        Stack { layers: Vec::new(), shape, n_activations: 0, n_told: 0 }
    }

    /// The same, whose first dense layer takes `n_told` more numbers, behind its others.
    pub(super) fn told(self, n_told: usize) -> Stack {
        Stack { n_told, ..self }
    }

    /// Numbers of a frame that come out.
    pub(super) fn n_features(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn dense(mut self, n_outputs: usize) -> Stack {
        let n_inputs = self.n_features() + std::mem::take(&mut self.n_told);
        self.then(Layer::Dense { n_inputs, n_outputs }, [n_outputs, 1, 1])
    }

    /// `None` where the picture is smaller than the kernel.
    pub(super) fn conv(self, n_outputs: usize, kernel: usize, stride: usize) -> Option<Stack> {
        let [n_inputs, height, width] = self.shape;
        let side = |pixels: usize| Some(pixels.checked_sub(kernel)? / stride + 1);
        let shape = [n_outputs, side(height)?, side(width)?];
        Some(
            self.then(Layer::Conv(Conv { n_inputs, n_outputs, kernel, stride, padding: 0 }), shape),
        )
    }

    /// A 3 × 3 convolution that keeps the picture's size.
    pub(super) fn same_conv(self, n_outputs: usize) -> Stack {
        let [n_inputs, height, width] = self.shape;
        let conv = Conv { n_inputs, n_outputs, kernel: 3, stride: 1, padding: 1 };
        self.then(Layer::Conv(conv), [n_outputs, height, width])
    }

    pub(super) fn max_pool(self) -> Stack {
        let [channels, height, width] = self.shape;
        self.then(Layer::MaxPool, [channels, height.div_ceil(2), width.div_ceil(2)])
    }

    pub(super) fn relu(self) -> Stack {
        let shape = self.shape;
        self.then(Layer::Relu, shape)
    }

    pub(super) fn tanh(self) -> Stack {
        let shape = self.shape;
        self.then(Layer::Tanh, shape)
    }

    pub(super) fn flatten(self) -> Stack {
        let n_features = self.n_features();
        self.then(Layer::Flatten, [n_features, 1, 1])
    }

    /// Adds its input to what `inner` makes of it.
    pub(super) fn residual(self, inner: impl FnOnce(Stack) -> Stack) -> Stack {
        let Stack { layers, n_activations, .. } = inner(Stack::on(self.shape));
        let shape = self.shape;
        let mut all = self.then(Layer::Residual(layers), shape);
        all.n_activations += n_activations;
        all
    }

    fn then(mut self, layer: Layer, shape: [usize; 3]) -> Stack {
        self.layers.push(layer);
        self.shape = shape;
        self.n_activations += self.n_features();
        self
    }
}
