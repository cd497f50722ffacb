//! Services that log as services do, with incidents whose place is known.
//!
//! Purpose: counts per (service, severity, pattern, window) to judge detectors by.
//! What is normal here: rates over five orders of magnitude; a day and a week; load that wanders, and load bursts of the
//! whole service up to ×1.8; counts over-dispersed by a gamma law, with noise that lasts minutes; hourly and nightly batches;
//! patterns that burst ×3 to ×10 for a moment; a trickle of new patterns that write once or twice; a deploy a day that
//! changes every rate a little, brings new patterns and ends others.
//! What is labelled: spikes (×3), new patterns, silences, shifts of severity, and the deploys.

use super::random::Random;

/// Windows in a day, of 10 s each.
pub const DAY: u64 = 8_640;
const HOUR: u64 = 360;

/// Size of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub services: usize,
    pub patterns: usize,
    pub days: f64,
    /// Days before the first incident. Deploys come from the first day on.
    pub quiet_days: f64,
    /// Whether patterns burst and batches run.
    pub bursts: bool,
    /// Whether incidents follow each other closely, spikes above all, and most patterns are busy.
    pub crowded: bool,
    /// By how much a spike multiplies.
    pub factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    Spike,
    NewPattern,
    Silence,
    SeverityShift,
    Deploy,
}

/// Where something happened.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    pub incident: Incident,
    pub service: usize,
    /// The pattern, where it is about one.
    pub pattern: Option<u64>,
    /// First window and the one after the last.
    pub start: u64,
    pub end: u64,
    /// Records per window that the pattern would write at the start.
    pub base: f64,
    /// Whether the pattern is steady (neither a batch nor bursty) and older than 12 hours.
    pub steady: bool,
    /// Its coefficient of variation beyond Poisson's, over minutes.
    pub variation: f64,
}

/// Records of one (service, pattern, severity number) in a window.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    pub service: usize,
    pub pattern: u64,
    pub severity: u8,
    pub records: u64,
}

/// What is true of a pattern in a window, but for incidents: for a test that is told everything.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub service: usize,
    pub pattern: u64,
    /// Records per window by rate, day and load.
    pub base: f64,
    /// Records expected in this very window.
    pub mean: f64,
    /// The part that slow wandering has in it, as a factor.
    pub wander: f64,
    /// Variance of that factor.
    pub wander_variance: f64,
    /// Dispersion of the window's count around its mean.
    pub variance: f64,
    pub records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    Steady,
    /// Hourly at this window of the hour.
    Hourly(u64),
    /// Daily at this window of the day.
    Nightly(u64),
    Bursty,
}

#[derive(Clone, Debug)]
struct Pattern {
    id: u64,
    severity: u8,
    rate: f64,
    habit: Habit,
    variance: f64,
    wander: f64,
    wander_sd: f64,
    memory: f64,
    burst: (u64, f64),
    from: u64,
    until: u64,
}

impl Pattern {
    fn variation(&self) -> f64 {
        (self.variance + self.wander_sd.powi(2)).sqrt()
    }

    /// By what its habit multiplies its rate now.
    fn habit_factor(&mut self, now: u64, random: &mut Random) -> f64 {
        match self.habit {
            Habit::Steady => 1.0,
            Habit::Hourly(at) if now % HOUR >= at && now % HOUR < at + 3 => 20.0,
            Habit::Hourly(_) => 0.05,
            Habit::Nightly(at) if now % DAY >= at && now % DAY < at + 30 => 20.0,
            Habit::Nightly(_) => 0.0,
            Habit::Bursty => {
                if random.chance(6.0 / DAY as f64) {
                    self.burst = (now + 1 + random.below(2) as u64, random.between(3.0, 10.0));
                }
                if now < self.burst.0 { self.burst.1 } else { 1.0 }
            }
        }
    }
}

struct Service {
    amplitude: f64,
    phase: f64,
    weekend: f64,
    wander: f64,
    burst: (u64, f64),
    patterns: Vec<Pattern>,
    next_deploy: u64,
    next_incident: u64,
    turn: usize,
}

pub struct Simulation {
    plan: Plan,
    random: Random,
    services: Vec<Service>,
    next_pattern: u64,
    window: u64,
    pub truths: Vec<Truth>,
    /// Of the window that [`Simulation::next`] made last.
    pub known: Vec<Known>,
}

impl Simulation {
    pub fn new(plan: Plan) -> Self {
        let mut simulation = Simulation {
            plan,
            random: Random::new(plan.seed),
            services: Vec::new(),
            next_pattern: 1,
            window: 0,
            truths: Vec::new(),
            known: Vec::new(),
        };
        for _ in 0..plan.services {
            let service = simulation.service();
            simulation.services.push(service);
        }
        simulation
    }

    fn service(&mut self) -> Service {
        let patterns = (0..self.plan.patterns).map(|_| self.pattern(0)).collect();
        let random = &mut self.random;
        let quiet = (self.plan.quiet_days * DAY as f64) as u64;
        Service {
            amplitude: random.between(0.3, 0.8),
            phase: random.between(0.0, 1.0),
            weekend: random.between(0.5, 1.0),
            wander: 0.0,
            burst: (0, 1.0),
            patterns,
            next_deploy: HOUR + random.below(DAY as usize) as u64,
            next_incident: quiet + random.below(HOUR as usize) as u64,
            turn: random.below(7),
        }
    }

    fn pattern(&mut self, from: u64) -> Pattern {
        let id = self.next_pattern;
        self.next_pattern += 1;
        let random = &mut self.random;
        let severity = [9, 9, 9, 9, 9, 9, 9, 9, 5, 13, 13, 17][random.below(12)];
        let habit = match random.below(40) {
            _ if !self.plan.bursts => Habit::Steady,
            // Batches are there from the start: the first run of a new one is news.
            0 | 1 if from > 0 => Habit::Steady,
            0 => Habit::Hourly(random.below(HOUR as usize) as u64),
            1 => Habit::Nightly(random.below(DAY as usize) as u64),
            2 | 3 => Habit::Bursty,
            _ => Habit::Steady,
        };
        Pattern {
            id,
            severity,
            rate: if self.plan.crowded {
                (30f64.ln() + random.normal()).exp()
            } else {
                (5f64.ln() + 2.0 * random.normal()).exp()
            }
            .clamp(0.01, 2_000.0),
            habit,
            variance: (0.02f64.ln() + 0.8 * random.normal()).exp().clamp(0.003, 0.3),
            wander: 0.0,
            wander_sd: random.between(0.03, 0.15),
            memory: random.between(0.92, 0.985),
            burst: (0, 1.0),
            from,
            until: u64::MAX,
        }
    }

    /// The number of the window that [`Simulation::next`] made last.
    pub fn window(&self) -> u64 {
        self.window.saturating_sub(1)
    }

    /// Counts of the next window; `None` at the end.
    pub fn next(&mut self) -> Option<Vec<Count>> {
        if self.window as f64 >= self.plan.days * DAY as f64 {
            return None;
        }
        let mut counts = Vec::new();
        self.known.clear();
        for service in 0..self.services.len() {
            self.plan_ahead(service);
            self.write(service, &mut counts);
        }
        self.window += 1;
        Some(counts)
    }

    /// Begins what is due: deploys, incidents, newcomers.
    fn plan_ahead(&mut self, s: usize) {
        let now = self.window;
        if now >= self.services[s].next_deploy {
            self.deploy(s);
        }
        if now >= self.services[s].next_incident {
            self.incident(s);
        }
        // A trickle of patterns that write once or twice, ten a day, more on the first.
        let trickle = 10.0 * (1.0 + 3.0 * (-(now as f64) / DAY as f64 * 2.0).exp()) / DAY as f64;
        if self.random.chance(trickle) {
            let mut rare = self.pattern(now);
            rare.habit = Habit::Steady;
            rare.rate = if self.random.chance(0.3) { 1.0 } else { 1e-4 };
            rare.until = if rare.rate == 1.0 { now + 2 } else { u64::MAX };
            self.services[s].patterns.push(rare);
        }
        let service = &mut self.services[s];
        service.patterns.retain(|pattern| pattern.until > now);
        service.wander = 0.967 * service.wander + 0.08 * (1.0 - 0.967f64.powi(2)).sqrt() * self.random.normal();
        if self.random.chance(2.0 / DAY as f64) {
            service.burst = (now + 6 + self.random.below(24) as u64, self.random.between(1.3, 1.8));
        }
    }

    fn deploy(&mut self, s: usize) {
        let now = self.window;
        let born: Vec<Pattern> = (0..5 + self.random.below(6)).map(|_| self.pattern(now)).collect();
        let service = &mut self.services[s];
        for pattern in &mut service.patterns {
            pattern.rate *= (0.15 * self.random.normal()).exp();
        }
        for _ in 0..born.len() - 3 {
            let gone = self.random.below(service.patterns.len());
            service.patterns.swap_remove(gone);
        }
        service.patterns.extend(born);
        service.next_deploy = now + DAY / 2 + self.random.below(DAY as usize) as u64;
        let (start, end) = (now, now + 2 * HOUR);
        self.truths.push(Truth {
            incident: Incident::Deploy,
            service: s,
            pattern: None,
            start,
            end,
            base: 0.0,
            steady: true,
            variation: 0.0,
        });
        // An incident within a deploy could not be told from it.
        service.next_incident = service.next_incident.max(end);
    }

    fn incident(&mut self, s: usize) {
        let now = self.window;
        let end = now + 18 + self.random.below(102) as u64;
        let service = &mut self.services[s];
        if service.next_deploy < end + HOUR {
            // One thing at a time: the deploy first.
            service.next_incident = service.next_deploy + 1;
            return;
        }
        service.turn = (service.turn + 1) % 7;
        let incident = match service.turn {
            0 => Incident::NewPattern,
            1 => Incident::Silence,
            2 => Incident::SeverityShift,
            _ => Incident::Spike,
        };
        let pause = if self.plan.crowded { HOUR / 2 } else { 3 * HOUR };
        service.next_incident = end + HOUR / 3 + self.random.below(pause as usize) as u64;
        let truth =
            Truth { incident, service: s, pattern: None, start: now, end, base: 0.0, steady: true, variation: 0.0 };
        match incident {
            Incident::NewPattern => {
                let mut born = self.pattern(now);
                born.severity = 17;
                born.habit = Habit::Steady;
                born.rate = self.random.between(0.0, 50f64.ln()).exp();
                born.until = end;
                self.truths.push(Truth { pattern: Some(born.id), base: born.rate, ..truth });
                self.services[s].patterns.push(born);
            }
            Incident::Spike | Incident::Silence => {
                let least = if incident == Incident::Silence { 0.3 } else { 0.05 };
                let load = self.load(s);
                let old: Vec<(u64, f64, bool, f64)> = self.services[s]
                    .patterns
                    .iter()
                    .filter(|pattern| pattern.from + HOUR < now && pattern.rate * load > least)
                    .filter(|pattern| !matches!(pattern.habit, Habit::Hourly(_) | Habit::Nightly(_)))
                    .map(|pattern| {
                        (
                            pattern.id,
                            pattern.rate * load,
                            pattern.habit == Habit::Steady && pattern.from + DAY / 2 <= now,
                            pattern.variation(),
                        )
                    })
                    .collect();
                if old.is_empty() {
                    return;
                }
                let (id, base, steady, variation) = old[self.random.below(old.len())];
                self.truths.push(Truth { pattern: Some(id), base, steady, variation, ..truth });
            }
            _ => self.truths.push(truth),
        }
    }

    /// Day, week and wandering load of a service.
    fn load(&self, s: usize) -> f64 {
        let (service, now) = (&self.services[s], self.window);
        let day = now as f64 / DAY as f64;
        let cycle = 1.0 + service.amplitude * (std::f64::consts::TAU * (day + service.phase)).sin();
        let weekend = if (now / DAY) % 7 >= 5 { service.weekend } else { 1.0 };
        let burst = if now < service.burst.0 { service.burst.1 } else { 1.0 };
        cycle * weekend * service.wander.exp() * burst
    }

    fn write(&mut self, s: usize, counts: &mut Vec<Count>) {
        let now = self.window;
        let load = self.load(s);
        let running: Vec<Truth> = self
            .truths
            .iter()
            .rev()
            .take(64)
            .filter(|t| t.service == s && t.start <= now && now < t.end)
            .copied()
            .collect();
        let shifted = running.iter().any(|truth| truth.incident == Incident::SeverityShift);
        let Simulation { services, random, plan, known, .. } = self;
        for pattern in &mut services[s].patterns {
            let innovation = pattern.wander_sd * (1.0 - pattern.memory.powi(2)).sqrt();
            pattern.wander = pattern.memory * pattern.wander + innovation * random.normal();
            let wander = (pattern.wander - pattern.wander_sd.powi(2) / 2.0).exp();
            let mut mean = pattern.rate * load * wander;
            mean *= pattern.habit_factor(now, random);
            let usual = mean;
            match running.iter().find(|truth| truth.pattern == Some(pattern.id)).map(|truth| truth.incident) {
                Some(Incident::Spike) => mean *= plan.factor,
                Some(Incident::Silence) => mean = 0.0,
                _ => {}
            }
            let varied = mean * random.gamma(pattern.variance);
            let mut records = random.poisson(varied);
            if pattern.from == now && records == 0 {
                records = 1; // newcomers are born with a record
            }
            known.push(Known {
                service: s,
                pattern: pattern.id,
                base: pattern.rate * load,
                mean: usual,
                wander,
                wander_variance: pattern.wander_sd.powi(2),
                variance: pattern.variance,
                records,
            });
            if records == 0 {
                continue;
            }
            let count = Count { service: s, pattern: pattern.id, severity: pattern.severity, records };
            let failed = if shifted && pattern.severity == 9 {
                records / 5 + u64::from(random.chance((records % 5) as f64 / 5.0))
            } else {
                0
            };
            counts.push(Count { records: records - failed.min(records), ..count });
            counts.push(Count { severity: 17, records: failed.min(records), ..count });
        }
    }
}
