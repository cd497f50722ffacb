//! Tails of the negative binomial: how surprising a count is when counts vary more than Poisson's law allows.
//!
//! Purpose: `P(X ≥ x)` and `P(X = 0)` for a count with a mean and a dispersion, as natural logarithms, so that very
//! small probabilities stay comparable.
//! Promises: total for finite input; never above `ln 1 = 0`; with dispersion 0 it is Poisson's law.
//! Never: allocates, or looks at data.
//!
//! The variance is `mean + dispersion · mean²`: the count is Poisson with a mean that itself varies (gamma distributed)
//! by a coefficient of variation of `√dispersion`. Source: any text on generalised linear models for counts ("NB2").

/// Below this dispersion the law is Poisson's to within rounding.
const POISSON: f64 = 1e-7;
/// Terms summed at most; the sum is cut where a term adds nothing more.
const MAX_TERMS: usize = 4_000;

/// `ln Γ(x)` for `x > 0`, to about 1e-13 relative (Stirling's series after shifting `x` above 10).
pub fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

/// `ln P(X = x)`.
fn ln_mass(x: f64, mean: f64, dispersion: f64) -> f64 {
    if dispersion < POISSON {
        return x * mean.ln() - mean - ln_gamma(x + 1.0);
    }
    let size = 1.0 / dispersion;
    let spread = (mean * dispersion).ln_1p();
    ln_gamma(x + size) - ln_gamma(size) - ln_gamma(x + 1.0) - size * spread + x * ((mean * dispersion).ln() - spread)
}

/// `ln P(X ≥ x)`; 0 for `x` up to the mean, where nothing is surprising.
pub fn ln_at_least(x: f64, mean: f64, dispersion: f64) -> f64 {
    if x <= mean || x <= 0.0 {
        return 0.0;
    }
    if mean <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let dispersion = dispersion.max(0.0);
    // P(X ≥ x) = P(X = x) · (1 + r₀ + r₀r₁ + …), where rⱼ is the ratio of neighbouring masses.
    let odds = mean / (1.0 + mean * dispersion);
    let (mut term, mut sum) = (1.0, 1.0);
    for j in 0..MAX_TERMS {
        let k = x + j as f64;
        term *= odds * (1.0 + dispersion * k) / (k + 1.0);
        sum += term;
        if term < sum * 1e-9 {
            break;
        }
    }
    (ln_mass(x, mean, dispersion) + f64::ln(sum)).min(0.0)
}

/// `ln P(X = 0)`.
pub fn ln_nothing(mean: f64, dispersion: f64) -> f64 {
    let mean = mean.max(0.0);
    if dispersion < POISSON { -mean } else { -(mean * dispersion).ln_1p() / dispersion }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_the_factorial() {
        let mut factorial = 1.0f64;
        for n in 1..60 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-10, "{n}");
            factorial *= f64::from(n);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
    }

    /// Sums the masses directly.
    fn at_least(x: u32, mean: f64, dispersion: f64) -> f64 {
        1.0 - (0..x).map(|k| ln_mass(f64::from(k), mean, dispersion).exp()).sum::<f64>()
    }

    #[test]
    fn the_tail_is_what_the_masses_leave() {
        for mean in [0.05, 1.0, 7.5, 40.0] {
            for dispersion in [0.0, 0.01, 0.3, 4.0] {
                assert!((at_least(0, mean, dispersion) - 1.0).abs() < 1e-12);
                for x in 1..120u32 {
                    let (fast, slow) =
                        (ln_at_least(f64::from(x), mean, dispersion).exp(), at_least(x, mean, dispersion));
                    if f64::from(x) > mean && slow > 1e-7 {
                        assert!((fast / slow - 1.0).abs() < 1e-4, "{x} {mean} {dispersion}: {fast} {slow}");
                    }
                }
                let none = ln_mass(0.0, mean, dispersion);
                assert!((ln_nothing(mean, dispersion) - none).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn it_is_total_and_orders_surprise() {
        for (x, mean) in [(0.0, 0.0), (3.0, 3.0), (2.0, 5.0), (-1.0, 1.0)] {
            assert_eq!(ln_at_least(x, mean, 0.2), 0.0);
        }
        assert_eq!(ln_at_least(1.0, 0.0, 0.1), f64::NEG_INFINITY);
        assert!(ln_at_least(1e9, 1e-3, 0.0).is_finite());
        assert!(ln_at_least(1e9, 1e6, 3.0).is_finite());
        // The same count is less surprising the more counts vary, and more surprising the larger it is.
        assert!(ln_at_least(60.0, 20.0, 0.0) < ln_at_least(60.0, 20.0, 0.1));
        assert!(ln_at_least(80.0, 20.0, 0.1) < ln_at_least(60.0, 20.0, 0.1));
    }
}
