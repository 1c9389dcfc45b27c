//! The kernels as plain loops over any float: in f64 the oracle of the fast ones, and what the hand-derived
//! gradient is checked with against finite differences.

use impala::kernels::{Activation, BitGrid, BitRow, Kernels, PATTERNS, ROW_LEN, WINDOW};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, NdFloat, Zip};

/// Kernels that are meant to be read, not to be fast.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl<R: NdFloat> Kernels<R> for Plain {
    fn dense(
        self,
        w: ArrayView2<R>,
        b: ArrayView1<R>,
        x: ArrayView2<R>,
        activation: Activation,
        mut y: ArrayViewMut2<R>,
    ) {
        assert_layer(w.dim(), y.dim(), x.dim());
        assert_eq!(b.len(), y.nrows(), "one bias an output");
        for ((mut sums, weights), &bias) in y.rows_mut().into_iter().zip(w.rows()).zip(b) {
            sums.fill(bias);
            for (&weight, inputs) in weights.iter().zip(x.rows()) {
                sums.scaled_add(weight, &inputs);
            }
            if activation == Activation::Tanh {
                sums.mapv_inplace(R::tanh);
            }
        }
    }

    fn weight_gradient(
        self,
        dy: ArrayView2<R>,
        x: ArrayView2<R>,
        mut dw: ArrayViewMut2<R>,
        mut db: ArrayViewMut1<R>,
    ) {
        assert_layer(dw.dim(), dy.dim(), x.dim());
        assert_eq!(db.len(), dy.nrows(), "one bias an output");
        for ((mut gradients, bias), errors) in dw.rows_mut().into_iter().zip(&mut db).zip(dy.rows())
        {
            for (gradient, inputs) in gradients.iter_mut().zip(x.rows()) {
                *gradient += errors.dot(&inputs);
            }
            *bias += errors.sum();
        }
    }

    fn input_gradient(self, w: ArrayView2<R>, dy: ArrayView2<R>, mut x: ArrayViewMut2<R>) {
        assert_layer(w.dim(), dy.dim(), x.dim());
        x.mapv_inplace(|output| R::one() - output * output);
        for (mut slopes, weights) in x.rows_mut().into_iter().zip(w.columns()) {
            for (slope, errors) in slopes.iter_mut().zip(dy.columns()) {
                *slope *= weights.dot(&errors);
            }
        }
    }

    fn add_product(self, a: ArrayView2<R>, b: ArrayView2<R>, mut c: ArrayViewMut2<R>) {
        assert_eq!((a.ncols(), c.dim()), (b.nrows(), (a.nrows(), b.ncols())), "c += a · b");
        for ((row, column), sum) in c.indexed_iter_mut() {
            *sum += a.row(row).dot(&b.column(column));
        }
    }

    fn add_row_products(self, a: ArrayView2<R>, b: ArrayView2<R>, c: ArrayViewMut2<R>) {
        self.add_product(a, b.reversed_axes(), c);
    }

    fn convolve_bits(self, grid: BitGrid, bits: &[BitRow], tables: &[R], sums: &mut [R]) {
        let (bias, tables) = rows(tables).split_last().unwrap();
        let sums = sums.as_chunks_mut().0;
        sums.fill(*bias);
        for (row, place) in met(grid, bits, tables.len()) {
            add(&tables[row], &mut sums[place]);
        }
    }

    fn bit_gradient(self, grid: BitGrid, bits: &[BitRow], d_sums: &[R], d_tables: &mut [R]) {
        let (d_bias, d_tables) = d_tables.as_chunks_mut().0.split_last_mut().unwrap();
        rows(d_sums).iter().for_each(|d| add(d, d_bias));
        for (row, place) in met(grid, bits, d_tables.len()) {
            add(&rows(d_sums)[place], &mut d_tables[row]);
        }
    }

    fn log_softmax(
        self,
        logits: ArrayView2<R>,
        mut log_p: ArrayViewMut2<R>,
        mut p: ArrayViewMut2<R>,
    ) {
        assert_eq!(logits.dim(), log_p.dim(), "one log-probability a logit");
        assert_eq!(logits.dim(), p.dim(), "one probability a logit");
        for (frame, column) in logits.axis_iter(Axis(1)).enumerate() {
            let largest = column.fold(R::neg_infinity(), |largest, &logit| largest.max(logit));
            let sum = column.fold(R::zero(), |sum, &logit| sum + (logit - largest).exp());
            Zip::from(column).and(log_p.column_mut(frame)).and(p.column_mut(frame)).for_each(
                |&logit, log_p, p| {
                    *log_p = (logit - largest) - sum.ln();
                    *p = log_p.exp();
                },
            );
        }
    }

    fn exp(self, x: &[R], y: &mut [R]) {
        assert_eq!(x.len(), y.len(), "one exponential a number");
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x.exp());
    }
}

fn rows<R>(matrix: &[R]) -> &[[R; ROW_LEN]] {
    matrix.as_chunks().0
}

fn add<R: NdFloat>(row: &[R; ROW_LEN], sum: &mut [R; ROW_LEN]) {
    sum.iter_mut().zip(row).for_each(|(sum, number)| *sum += *number);
}

/// The rows of the tables that places meet, and the places.
fn met(grid: BitGrid, bits: &[BitRow], n_rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let is_set = |plane: usize, y: usize, x: usize| {
        bits.iter().any(|row| {
            let lies_there = (row.plane as usize, row.y as usize) == (plane, y);
            let bit = x.checked_sub(row.x as usize).filter(|bit| *bit < BitRow::BITS);
            lies_there && bit.is_some_and(|bit| row.bits >> bit & 1 == 1)
        })
    };
    let places = (0..grid.n_places()).map(move |place| (place / grid.width, place % grid.width));
    let tables = n_rows / PATTERNS;
    places.flat_map(move |(y, x)| (0..tables).map(move |table| (y, x, table))).filter_map(
        move |(y, x, table)| {
            let cell = |bit| is_set(table / WINDOW, y + table % WINDOW, x + bit);
            let pattern: usize = (0..WINDOW).map(|bit| usize::from(cell(bit)) << bit).sum();
            (pattern > 0).then_some((table * PATTERNS + pattern, y * grid.width + x))
        },
    )
}

/// The shapes of a layer fit together: `w[O,I]`, outputs `y[O,N]`, inputs `x[I,N]`.
fn assert_layer(w: (usize, usize), y: (usize, usize), x: (usize, usize)) {
    assert_eq!(w, (y.0, x.0), "weights must be [outputs, inputs]");
    assert_eq!(y.1, x.1, "outputs and inputs must have as many frames");
}
