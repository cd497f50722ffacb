//! Which share of each pattern to keep, so that counts stay as exact as a budget allows.
//!
//! Purpose: minimise Σ weightᵢ/rateᵢ subject to Σ costᵢ·rateᵢ ≤ limit (in all, and per group) and leastᵢ ≤ rateᵢ ≤ mostᵢ.
//! Promises: exact: the optimum up to rounding, found from sorted breakpoints, never by a step size; a larger limit never
//! lowers a rate, a larger weight never lowers its own; limits are met whenever they can be.
//! Never: knows what a pattern, a byte or a price is; iterates until something converges.
//!
//! Method. The problem is convex. Where no bound holds, stationarity gives rateᵢ = level·√(weightᵢ/costᵢ) with one level
//! (1/√multiplier) for all: with weightᵢ = wᵢ/Nᵢ and costᵢ = Nᵢ·bᵢ the records kept are ∝ √(wᵢ/bᵢ). With bounds each rate
//! is that value clipped, so the cost is a rising piecewise linear function of the level (water-filling; Boyd &
//! Vandenberghe, Convex Optimization, 5.5.3). A group's own limit caps the level of its members.

/// One pattern, as the solver sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// Index into the limits of groups.
    pub group: u32,
    /// What it costs at rate 1; not negative.
    pub cost: f64,
    /// How much an uncertain count of it hurts: its objective is `weight / rate`; not negative.
    pub weight: f64,
    /// Lowest rate allowed, 0 to `most`.
    pub least: f64,
    /// Highest rate allowed, at most 1.
    pub most: f64,
}

/// What may be spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// By all items together.
    pub total: Option<f64>,
    /// By the items of each group; groups beyond the end have none.
    pub by_group: Vec<Option<f64>>,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The limit of all items.
    Total,
    /// The limit of one group.
    Group(u32),
}

/// A limit that decides rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    /// Which.
    pub scope: Scope,
    /// The limit.
    pub limit: f64,
    /// What its items cost at their lowest rates.
    pub least: f64,
    /// By how much the objective falls when the limit grows by one (infinite where it cannot be met).
    pub price: f64,
}

impl Binding {
    /// Whether even the lowest rates cost more than the limit.
    pub fn is_broken(&self) -> bool {
        self.least > self.limit
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// Rate of each item, in the order given.
    pub rates: Vec<f64>,
    /// What they cost together.
    pub cost: f64,
    /// Limits that bind. A broken one has its items at their lowest rates.
    pub binding: Vec<Binding>,
}

/// Solves it.
pub fn allocate(items: &[Item], limits: &Limits) -> Allocation {
    let mut curves: Vec<Curve> = items.iter().map(Curve::of).collect();
    let mut binding = Vec::new();
    for (group, members) in by_group(items, limits.by_group.len()).into_iter().enumerate() {
        let Some(limit) = limits.by_group[group] else { continue };
        let of_group: Vec<Curve> = members.iter().map(|&i| curves[i]).collect();
        if let Some(level) = level_within(&of_group, limit) {
            binding.push(binding_of(Scope::Group(group as u32), limit, level, &of_group));
            members.iter().for_each(|&i| curves[i].cap(level));
        }
    }
    if let Some(limit) = limits.total
        && let Some(level) = level_within(&curves, limit)
    {
        binding.push(binding_of(Scope::Total, limit, level, &curves));
        curves.iter_mut().for_each(|curve| curve.cap(level));
    }
    let rates: Vec<f64> = curves.iter().map(Curve::top).collect();
    let cost = rates.iter().zip(items).map(|(rate, item)| rate * item.cost).sum();
    Allocation { rates, cost, binding }
}

fn by_group(items: &[Item], groups: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); groups];
    for (i, item) in items.iter().enumerate() {
        if let Some(group) = members.get_mut(item.group as usize) {
            group.push(i);
        }
    }
    members
}

fn binding_of(scope: Scope, limit: f64, level: f64, curves: &[Curve]) -> Binding {
    let least: f64 = curves.iter().map(|curve| curve.cost * curve.least).sum();
    let price = if least > limit || level == 0.0 { f64::INFINITY } else { 1.0 / (level * level) };
    Binding { scope, limit, least, price }
}

/// The rate of one item as a function of the level: flat at `least`, rising with `slope`, flat at `most`.
#[derive(Clone, Copy, Debug)]
struct Curve {
    cost: f64,
    slope: f64,
    least: f64,
    most: f64,
    /// Levels between which it rises.
    start: f64,
    end: f64,
    /// No level above this one.
    cap: f64,
}

impl Curve {
    fn of(item: &Item) -> Curve {
        let cost = item.cost.max(0.0);
        let most = item.most.clamp(0.0, 1.0);
        let least = item.least.clamp(0.0, most);
        if cost == 0.0 {
            // What costs nothing is kept.
            return Curve { cost, slope: 0.0, least: most, most, start: 0.0, end: 0.0, cap: f64::INFINITY };
        }
        let slope = (item.weight.max(0.0) / cost).sqrt();
        let at = |rate: f64| if slope > 0.0 { rate / slope } else { f64::INFINITY };
        Curve { cost, slope, least, most, start: at(least), end: at(most), cap: f64::INFINITY }
    }

    fn cap(&mut self, level: f64) {
        self.cap = self.cap.min(level);
    }

    fn rate(&self, level: f64) -> f64 {
        let level = level.min(self.cap);
        if level >= self.end {
            self.most
        } else if level <= self.start {
            self.least
        } else {
            (level * self.slope).clamp(self.least, self.most)
        }
    }

    /// The rate without a further limit. What has no weight gets the highest rate only where nothing binds at all.
    fn top(&self) -> f64 {
        if self.cap.is_infinite() { self.most } else { self.rate(self.cap) }
    }

    fn rises_at(&self, level: f64) -> bool {
        level > self.start && level < self.end.min(self.cap)
    }
}

/// The highest level at which the curves cost no more than `limit`; `None` when they never do. 0 when even the lowest
/// rates cost more.
fn level_within(curves: &[Curve], limit: f64) -> Option<f64> {
    let cost = |level: f64| curves.iter().map(|curve| curve.cost * curve.rate(level)).sum::<f64>();
    if curves.iter().map(|curve| curve.cost * curve.top()).sum::<f64>() <= limit {
        return None;
    }
    let mut breaks: Vec<f64> = curves
        .iter()
        .flat_map(|curve| [curve.start, curve.end.min(curve.cap)])
        .filter(|level| level.is_finite() && *level > 0.0)
        .collect();
    breaks.sort_unstable_by(f64::total_cmp);
    // The first breakpoint that costs too much; the level lies below it and not below the one before.
    let above = breaks.partition_point(|level| cost(*level) <= limit);
    let low = above.checked_sub(1).map_or(0.0, |i| breaks[i]);
    let Some(&high) = breaks.get(above) else {
        // Only items without weight are left: they stay at their lowest rates.
        return Some(low);
    };
    if cost(0.0) > limit {
        return Some(0.0);
    }
    let middle = low + (high - low) / 2.0;
    let slope: f64 = curves.iter().filter(|curve| curve.rises_at(middle)).map(|curve| curve.cost * curve.slope).sum();
    if slope <= 0.0 {
        return Some(low);
    }
    let mut level = (low + (limit - cost(low)) / slope).clamp(low, high);
    // Rounding may overshoot by a few ulps; a limit is a promise.
    for _ in 0..8 {
        let over = cost(level) - limit;
        if over <= 0.0 {
            break;
        }
        level = (level - over / slope).min(level.next_down()).max(low);
    }
    Some(level)
}

#[cfg(test)]
#[path = "solver_tests.rs"]
mod tests;
