//! A small dense simplex solver: maximises the first variable under `A x <= b` and `x >= 0`, where
//! no `b` is negative.
//!
//! A folded design has one variable for the flow and one more for each additional way out of a
//! fork, so a dense tableau suffices. The dual solution (prices) certifies each answer; an answer
//! without a valid certificate is discarded.

use std::cmp::Ordering;

use super::wide::Wide;

/// One constraint: `sum coefficients[i] * x[i] <= bound`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constraint {
    pub coefficients: Vec<Wide>,
    pub bound: f64,
}

/// Result of [`maximise`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SimplexOutcome {
    /// An optimal point; the optimum is `x[0]`.
    Best(Vec<Wide>),
    /// The first variable has no upper bound.
    Unbounded,
    /// No certified answer: rounding errors were too large, or the program is malformed.
    Lost,
}

/// Smaller absolute values in the scaled tableau are treated as rounding errors.
const DUST: f64 = 1e-20;

/// Rounds of scaling.
const PASSES: usize = 4;

/// Tolerated error of a certificate, relative to the optimum.
const SLACK: f64 = 1e-9;

/// Maximises the first of `variables` variables.
pub(super) fn maximise(variables: usize, rows: &[Constraint]) -> SimplexOutcome {
    let Some(scaled) = Scaled::new(variables, rows) else {
        return SimplexOutcome::Lost;
    };
    let mut table = Tableau::new(&scaled);
    match table.run() {
        SolverEnd::Unbounded => SimplexOutcome::Unbounded,
        SolverEnd::Lost => SimplexOutcome::Lost,
        SolverEnd::Best => {
            let x = table.point();
            if scaled.proves(&x, &table.prices()) {
                let x = x.iter().zip(&scaled.columns);
                SimplexOutcome::Best(x.map(|(x, scale)| x.times(1.0 / scale)).collect())
            } else {
                SimplexOutcome::Lost
            }
        }
    }
}

/// The program scaled to numbers near 1, by a factor for each variable and each row.
struct Scaled {
    rows: Vec<Constraint>,
    /// Scaled variables are original variables multiplied by `columns`.
    columns: Vec<f64>,
}

impl Scaled {
    /// `None` if a number is not finite, a bound is negative, or a row has the wrong length.
    fn new(variables: usize, rows: &[Constraint]) -> Option<Self> {
        let sound = |row: &Constraint| {
            row.bound.is_finite()
                && row.bound >= 0.0
                && row.coefficients.len() == variables
                && row.coefficients.iter().all(|a| a.near().is_finite())
        };
        if variables == 0 || !rows.iter().all(sound) {
            return None;
        }
        let mut rows: Vec<Constraint> = rows.to_vec();
        let mut columns = vec![1.0f64; variables];
        // Divide rows and columns in turn by their geometric means (geometric scaling).
        for _ in 0..PASSES {
            for row in &mut rows {
                let mut middle = Middle::default();
                row.coefficients.iter().for_each(|a| middle.see(a.near()));
                row.divide(middle.get());
            }
            let mut middles = vec![Middle::default(); variables];
            for row in &rows {
                for (middle, a) in middles.iter_mut().zip(&row.coefficients) {
                    middle.see(a.near());
                }
            }
            for row in &mut rows {
                for (a, middle) in row.coefficients.iter_mut().zip(&middles) {
                    *a = a.times(1.0 / middle.get());
                }
            }
            for (column, middle) in columns.iter_mut().zip(&middles) {
                *column *= middle.get();
            }
        }
        // A common factor of all bounds scales all variables alike.
        let mut bounds = Middle::default();
        bounds.see(rows.iter().fold(0.0, |most: f64, row| most.max(row.bound)));
        for row in &mut rows {
            row.bound /= bounds.get();
        }
        for column in &mut columns {
            *column /= bounds.get();
        }
        let finite = |row: &Constraint| {
            row.bound.is_finite() && row.coefficients.iter().all(|a| a.near().is_finite())
        };
        rows.iter().all(finite).then_some(Self { rows, columns })
    }

    /// True if `x` is feasible and `prices` certify that it is optimal, up to rounding.
    fn proves(&self, x: &[Wide], prices: &[Wide]) -> bool {
        let used = x.iter().fold(0.0, |used: f64, x| used.max(x.near()));
        let kept = self.rows.iter().all(|row| {
            let parts = row.coefficients.iter().zip(x).map(|(a, x)| *a * *x);
            let over = parts.sum::<Wide>() - row.bound.into();
            // A value that should be 0 carries the rounding error of the largest one.
            let size: f64 = row.coefficients.iter().map(|a| a.near().abs() * used).sum();
            over.near() <= SLACK * row.bound + DUST * (row.bound + size)
        });
        // A violated dual constraint adds at most the violation times the variable's upper bound.
        let mut worth = vec![Wide::ZERO; x.len()];
        let mut most = vec![f64::INFINITY; x.len()];
        worth[0] = -Wide::ONE;
        let mut total = Wide::ZERO;
        for (row, price) in self.rows.iter().zip(prices) {
            total = total + *price * row.bound.into();
            let packing = row.coefficients.iter().all(|a| *a >= Wide::ZERO);
            for (at, a) in row.coefficients.iter().enumerate() {
                worth[at] = worth[at] + *price * *a;
                if packing && *a > Wide::ZERO {
                    most[at] = most[at].min(row.bound / a.near());
                }
            }
        }
        // Variables that no single row bounds are assumed to be at most twice the largest value
        // used.
        let error: f64 = (worth.iter().zip(&most))
            .map(|(worth, most)| {
                let short = (-*worth).at_least_zero().near();
                short * if most.is_finite() { *most } else { 2.0 * used }
            })
            .sum();
        let gap = (total - x[0]).near() + error;
        kept && x.iter().chain(prices).all(|number| *number >= Wide::ZERO)
            && gap <= SLACK * x[0].near() + DUST * DUST
    }
}

/// Geometric mean of the smallest and the largest absolute value seen.
#[derive(Clone, Copy, Default)]
struct Middle(Option<(f64, f64)>);

impl Middle {
    fn see(&mut self, number: f64) {
        let size = number.abs();
        if size > 0.0 {
            let (least, most) = self.0.unwrap_or((size, size));
            self.0 = Some((least.min(size), most.max(size)));
        }
    }

    /// The mean rounded to a power of two, so that scaling by it is exact; 1 without any value.
    fn get(self) -> f64 {
        let middle = self.0.map_or(1.0, |(least, most)| least.sqrt() * most.sqrt());
        middle.log2().round().exp2()
    }
}

impl Constraint {
    fn divide(&mut self, by: f64) {
        for a in &mut self.coefficients {
            *a = a.times(1.0 / by);
        }
        self.bound /= by;
    }
}

enum SolverEnd {
    Best,
    Unbounded,
    Lost,
}

/// The condensed tableau: one row per basic variable and one column per nonbasic variable.
/// Variables are numbered consecutively: those of the program, then one slack per row.
struct Tableau {
    rows: Vec<Vec<Wide>>,
    bounds: Vec<Wide>,
    /// Increase of the objective per unit of each nonbasic variable.
    gains: Vec<Wide>,
    basic: Vec<usize>,
    free: Vec<usize>,
}

impl Tableau {
    fn new(scaled: &Scaled) -> Self {
        let variables = scaled.columns.len();
        let mut gains = vec![Wide::ZERO; variables];
        gains[0] = Wide::ONE;
        Self {
            rows: (scaled.rows.iter()).map(|row| row.coefficients.clone()).collect(),
            bounds: scaled.rows.iter().map(|row| row.bound.into()).collect(),
            gains,
            basic: (variables..variables + scaled.rows.len()).collect(),
            free: (0..variables).collect(),
        }
    }

    fn run(&mut self) -> SolverEnd {
        let most = 50 * (self.rows.len() + self.free.len()) + 100;
        let mut idle = 0;
        for _ in 0..most {
            // After many degenerate steps, Bland's rule (lowest index) prevents cycling.
            let careful = idle > self.free.len();
            let Some(column) = self.entering(careful) else {
                return SolverEnd::Best;
            };
            let Some(row) = self.leaving(column) else {
                return SolverEnd::Unbounded;
            };
            idle = if self.bounds[row].near() > DUST { 0 } else { idle + 1 };
            self.pivot(row, column);
        }
        SolverEnd::Lost
    }

    fn entering(&self, careful: bool) -> Option<usize> {
        let better = (0..self.gains.len()).filter(|at| self.gains[*at].near() > DUST);
        if careful {
            better.min_by_key(|at| self.free[*at])
        } else {
            better.max_by(|a, b| self.gains[*a].near().total_cmp(&self.gains[*b].near()))
        }
    }

    /// Ratio test: the row that limits the entering variable most; ties go to the lowest variable.
    fn leaving(&self, column: usize) -> Option<usize> {
        (0..self.rows.len())
            .filter(|at| self.rows[*at][column].near() > DUST)
            .map(|at| (self.bounds[at] / self.rows[at][column], self.basic[at], at))
            .min_by(|a, b| (a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal)).then(a.1.cmp(&b.1)))
            .map(|(_, _, at)| at)
    }

    fn pivot(&mut self, row: usize, column: usize) {
        let by = self.rows[row][column];
        let mut pivot = std::mem::take(&mut self.rows[row]);
        for a in &mut pivot {
            *a = *a / by;
        }
        pivot[column] = Wide::ONE / by;
        let bound = self.bounds[row] / by;
        for (at, other) in self.rows.iter_mut().enumerate().filter(|(at, _)| *at != row) {
            let factor = other[column];
            if factor == Wide::ZERO {
                continue;
            }
            other[column] = Wide::ZERO;
            for (a, p) in other.iter_mut().zip(&pivot) {
                *a = *a - factor * *p;
            }
            self.bounds[at] = (self.bounds[at] - factor * bound).at_least_zero();
        }
        let factor = self.gains[column];
        self.gains[column] = Wide::ZERO;
        for (a, p) in self.gains.iter_mut().zip(&pivot) {
            *a = *a - factor * *p;
        }
        self.rows[row] = pivot;
        self.bounds[row] = bound;
        std::mem::swap(&mut self.basic[row], &mut self.free[column]);
    }

    fn point(&self) -> Vec<Wide> {
        let mut x = vec![Wide::ZERO; self.free.len()];
        for (variable, bound) in self.basic.iter().zip(&self.bounds) {
            if let Some(x) = x.get_mut(*variable) {
                *x = *bound;
            }
        }
        x
    }

    /// Dual prices: a nonbasic slack has the price of its row; other rows have price 0.
    fn prices(&self) -> Vec<Wide> {
        let mut prices = vec![Wide::ZERO; self.rows.len()];
        for (variable, gain) in self.free.iter().zip(&self.gains) {
            if *variable >= self.free.len() {
                prices[variable - self.free.len()] = (-*gain).at_least_zero();
            }
        }
        prices
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(coefficients: &[f64], bound: f64) -> Constraint {
        Constraint { coefficients: coefficients.iter().map(|a| Wide::from(*a)).collect(), bound }
    }

    fn best(variables: usize, rows: &[Constraint]) -> f64 {
        match maximise(variables, rows) {
            SimplexOutcome::Best(x) => x[0].near(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_variable_takes_the_least_ratio() {
        let rows = [row(&[2.0], 8.0), row(&[1.0], 3.0), row(&[0.0], 1.0)];
        assert!((best(1, &rows) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn bounds_are_scaled_by_one_power_of_two() {
        let rows = [row(&[2.0, 0.0], 2f64.powi(41)), row(&[0.0, 4.0], 2f64.powi(12))];
        let scaled = Scaled::new(2, &rows).unwrap();
        let bounds: Vec<f64> = scaled.rows.iter().map(|row| row.bound).collect();
        assert_eq!(bounds, [1.0, 2f64.powi(-30)]);
        // A point on both original bounds is on both scaled ones.
        assert_eq!(scaled.columns, [2f64.powi(-40), 2f64.powi(-40)]);
        let coefficients = scaled.rows.iter().flat_map(|row| &row.coefficients);
        assert!(coefficients.map(|a| a.near()).eq([1.0, 0.0, 0.0, 1.0]));
    }

    #[test]
    fn a_flow_is_split() {
        // x0 is the flow; x1 of it takes one way (at most 2), the rest another (at most 3).
        let rows = [row(&[-1.0, 1.0], 0.0), row(&[0.0, 1.0], 2.0), row(&[1.0, -1.0], 3.0)];
        assert!((best(2, &rows) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_bound_there_is_no_optimum() {
        assert_eq!(maximise(1, &[]), SimplexOutcome::Unbounded);
        assert_eq!(maximise(1, &[row(&[-1.0], 2.0)]), SimplexOutcome::Unbounded);
        assert_eq!(maximise(2, &[row(&[0.0, 1.0], 2.0)]), SimplexOutcome::Unbounded);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(maximise(0, &[]), SimplexOutcome::Lost);
        assert_eq!(maximise(1, &[row(&[1.0], -1.0)]), SimplexOutcome::Lost);
        assert_eq!(maximise(1, &[row(&[f64::NAN], 1.0)]), SimplexOutcome::Lost);
        assert_eq!(maximise(1, &[row(&[1.0], f64::INFINITY)]), SimplexOutcome::Lost);
        assert_eq!(maximise(2, &[row(&[1.0], 1.0)]), SimplexOutcome::Lost);
    }

    #[test]
    fn the_example_that_goes_in_circles_ends() {
        // Beale's example, with the objective as a variable of its own.
        let rows = [
            row(&[1.0, -0.75, 150.0, -0.02, 6.0], 0.0),
            row(&[0.0, 0.25, -60.0, -0.04, 9.0], 0.0),
            row(&[0.0, 0.5, -90.0, -0.02, 3.0], 0.0),
            row(&[0.0, 0.0, 0.0, 1.0, 0.0], 1.0),
        ];
        assert!((best(5, &rows) - 0.05).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 400, failure_persistence: None, ..ProptestConfig::default()
        })]
        /// Every answer is certified by its prices, so it suffices that there is one. As in
        /// designs, the variables are parts of the first one; magnitudes range from nanoseconds to
        /// hours.
        #[test]
        fn flows_are_always_solved(
            variables in 1..7usize,
            numbers in prop::collection::vec((0..4u8, 0.1..1.0f64, 0..13i32), 7 * 12),
            bounds in prop::collection::vec((0.1..1.0f64, 0..10i32), 12),
        ) {
            let mut rows: Vec<Constraint> = (bounds.iter().enumerate())
                .map(|(at, (size, power))| Constraint {
                    bound: size * 10f64.powi(*power),
                    coefficients: (numbers[at * 7..at * 7 + variables].iter())
                        .map(|(kind, size, power)| match kind {
                            0 | 1 => 0.0,
                            _ => size * 10f64.powi(-power),
                        })
                        .map(Wide::from)
                        .collect(),
                })
                .collect();
            for (at, (kind, ..)) in numbers.iter().enumerate().take(variables).skip(1) {
                let mut row = row(&[0.0; 7][..variables], 0.0);
                row.coefficients[0] = -Wide::ONE;
                row.coefficients[at] = Wide::ONE;
                if *kind == 0 {
                    row.coefficients[1] = row.coefficients[1] + Wide::ONE;
                }
                rows.push(row);
            }
            prop_assert_ne!(maximise(variables, &rows), SimplexOutcome::Lost);
        }
    }
}
