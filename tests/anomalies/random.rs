//! Random numbers that are the same everywhere: SplitMix64, and the laws made from it.
//!
//! Promises: a seed gives the same numbers on every machine and in every release of any library.
//! Sources: Steele, Lea, Flood 2014 (SplitMix64); Marsaglia and Tsang 2000 (gamma); inversion and the normal
//! approximation above 200 (Poisson).

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.between(0.0, 1.0) * n as f64) as usize
    }

    pub fn chance(&mut self, p: f64) -> bool {
        self.between(0.0, 1.0) < p
    }

    /// Mean 0, variance 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.between(1e-300, 1.0).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.between(0.0, 1.0)).cos()
    }

    /// Mean 1, variance `variance`.
    pub fn gamma(&mut self, variance: f64) -> f64 {
        let shape = 1.0 / variance;
        let (shape, boost) =
            if shape < 1.0 { (shape + 1.0, self.between(1e-300, 1.0).powf(variance)) } else { (shape, 1.0) };
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.between(1e-300, 1.0).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * boost * variance;
            }
        }
    }

    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean > 200.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (mut n, mut mass, mut left) = (0, (-mean).exp(), self.between(0.0, 1.0));
        while left > mass && n < 2_000 {
            left -= mass;
            n += 1;
            mass *= mean / n as f64;
        }
        n
    }
}
