//! Exact throughput with exponential step times: closed queueing networks, and two crews around a
//! dump.

/// Maximum number of carts that are computed; with more, the rate changes by at most 4 parts in a
/// million at four stations.
const CROWD: u32 = 1_000_000;

/// Maximum number of multiplications for one answer.
const EFFORT: u64 = 20_000_000;

/// A step with an exponential duration, and the gophers that do only this step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Station {
    /// Mean duration.
    pub mean: f64,
    pub servers: u32,
}

/// Cartloads per unit of time if `carts` carts circulate through `stations`; `None` if the input is
/// degenerate or the computation too expensive.
///
/// The network has a product form (Gordon and Newell 1967). Its normalising constant is computed by
/// convolution (Buzen 1973), which agrees with mean value analysis (Reiser and Lavenberg 1980) but
/// stays exact and cheap for stations with several servers. `M` equal stations of one gopher each
/// reach `C / (C + M - 1)` of a station's rate with `C` carts.
pub(super) fn round(stations: &[Station], carts: u32) -> Option<f64> {
    let carts = carts.min(CROWD);
    let trip: f64 = stations.iter().map(|station| station.mean).sum();
    if stations.is_empty() || carts == 0 || stations.iter().any(|s| s.servers == 0 || s.mean <= 0.0)
    {
        return None;
    }
    let effort: u64 = (stations.iter())
        .map(|station| u64::from(station.servers.min(carts)) * u64::from(carts))
        .fold(0, u64::saturating_add);
    if effort > EFFORT {
        return None;
    }
    // Scaled to a rate near 1, the terms resemble Poisson probabilities, so none overflows.
    let about = (stations.iter())
        .map(|station| f64::from(station.servers) / station.mean)
        .fold(f64::from(carts) / trip, f64::min);
    let carts = carts as usize;
    let mut sums: Option<Vec<f64>> = None;
    for station in stations {
        let load = about * station.mean;
        let servers = (station.servers as usize).min(carts);
        let terms = terms(load, servers);
        let ratio = load / f64::from(station.servers);
        sums = Some(match sums {
            None => {
                let mut all = terms;
                while all.len() <= carts {
                    all.push(all[all.len() - 1] * ratio);
                }
                all
            }
            Some(sums) => convolved(&sums, &terms, ratio),
        });
    }
    let sums = sums?;
    let rate = about * sums[carts - 1] / sums[carts];
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Weights of 0 to `servers` carts at a station, multiplied by `exp(-load)`.
fn terms(load: f64, servers: usize) -> Vec<f64> {
    let mut log = -load;
    let mut terms = vec![log.exp()];
    for carts in 1..=servers {
        log += (load / carts as f64).ln();
        terms.push(log.exp());
    }
    terms
}

/// Adds a station to the sums. Beyond `terms`, its weights continue as a geometric series.
fn convolved(sums: &[f64], terms: &[f64], ratio: f64) -> Vec<f64> {
    let servers = terms.len() - 1;
    let mut tail = 0.0;
    (0..sums.len())
        .map(|carts| {
            tail *= ratio;
            if carts >= servers {
                tail += terms[servers] * sums[carts - servers];
            }
            let few = terms[..servers].iter().zip(sums[..=carts].iter().rev());
            few.map(|(term, sum)| term * sum).sum::<f64>() + tail
        })
        .collect()
}

/// Cartloads per unit of time through a dump for `room` cartloads (`None` for no limit), with one
/// cart on each side whose trips are exponential with means `near` and `far`.
///
/// The number of cartloads that the near side has pushed and the far side has not is a birth-death
/// chain: it counts those in the dump, one that waits for space, and one on its way.
pub(super) fn around_dump(near: f64, far: f64, room: Option<f64>) -> f64 {
    let Some(room) = room else {
        return 1.0 / near.max(far);
    };
    let states = room + 2.0;
    // By symmetry the chain may be read from either end; start with the slower side.
    let (slow, quick) = (near.max(far), near.min(far));
    let ratio = quick / slow;
    let log = ratio.ln();
    // The slower side is busy with probability (1 - r^K) / (1 - r^(K+1)), or K / (K + 1) at r = 1.
    let busy = if log > -1e-12 {
        states / (states + 1.0)
    } else {
        (states * log).exp_m1() / ((states + 1.0) * log).exp_m1()
    };
    busy / slow
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stations(all: &[(f64, u32)]) -> Vec<Station> {
        (all.iter()).map(|(mean, servers)| Station { mean: *mean, servers: *servers }).collect()
    }

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} is not {b}");
    }

    #[test]
    fn equal_stations_give_c_over_c_plus_m_less_one() {
        for count in 1..5usize {
            for carts in [1u32, 2, 4, 8, 16, 1000] {
                let all = stations(&vec![(0.25, 1); count]);
                let of = f64::from(carts) / (f64::from(carts) + count as f64 - 1.0);
                close(round(&all, carts).unwrap(), 4.0 * of);
            }
        }
    }

    /// Mean value analysis for single servers (Reiser and Lavenberg 1980).
    fn mean_values(means: &[f64], carts: u32) -> f64 {
        let mut queues = vec![0.0; means.len()];
        let mut rate = 0.0;
        for n in 1..=carts {
            let waits: Vec<f64> = means.iter().zip(&queues).map(|(s, q)| s * (1.0 + q)).collect();
            rate = f64::from(n) / waits.iter().sum::<f64>();
            queues = waits.iter().map(|wait| rate * wait).collect();
        }
        rate
    }

    #[test]
    fn single_gophers_agree_with_mean_values() {
        let means = [2.0, 1.0, 3.0, 0.5];
        let all = stations(&means.map(|mean| (mean, 1)));
        for carts in [1, 2, 3, 7, 50, 400] {
            close(round(&all, carts).unwrap(), mean_values(&means, carts));
        }
    }

    /// The normalising constant by its definition: a sum over all distributions of the carts among
    /// three stations.
    fn by_definition(all: &[Station], carts: u32) -> f64 {
        let weight = |station: &Station, n: u32| -> f64 {
            (1..=n).map(|k| station.mean / f64::from(k.min(station.servers))).product()
        };
        let sum = |carts: u32| -> f64 {
            let mut sum = 0.0;
            for a in 0..=carts {
                for b in 0..=carts - a {
                    sum += weight(&all[0], a) * weight(&all[1], b) * weight(&all[2], carts - a - b);
                }
            }
            sum
        };
        sum(carts - 1) / sum(carts)
    }

    #[test]
    fn several_gophers_agree_with_the_definition() {
        let all = stations(&[(2.0, 2), (1.0, 1), (4.0, 3)]);
        for carts in 1..12 {
            close(round(&all, carts).unwrap(), by_definition(&all, carts));
        }
        // With enough gophers at each station no cart waits.
        let idle = stations(&[(2.0, 9), (1.0, 9), (4.0, 9)]);
        close(round(&idle, 7).unwrap(), 1.0);
    }

    #[test]
    fn crowds_end() {
        let rate = round(&stations(&[(1e-9, 1), (3600.0, 1)]), u32::MAX).unwrap();
        close(rate, 1.0 / 3600.0);
        let equal = round(&stations(&[(1.0, 1); 4]), u32::MAX).unwrap();
        assert!((equal - 1.0).abs() < 4e-6);
        assert_eq!(round(&stations(&[(1.0, u32::MAX)]), u32::MAX), None);
        let many = round(&stations(&[(1.0, 3000), (2.0, 3000)]), 3000).unwrap();
        close(many, 1000.0);
        assert_eq!(round(&[], 3), None);
        assert_eq!(round(&stations(&[(1.0, 0)]), 3), None);
        assert_eq!(round(&stations(&[(1.0, 1)]), 0), None);
    }

    #[test]
    fn equal_sides_of_a_dump_run_at_d_plus_two_of_d_plus_three() {
        for room in [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 1e15] {
            close(around_dump(0.5, 0.5, Some(room)), 2.0 * (room + 2.0) / (room + 3.0));
        }
        close(around_dump(0.5, 0.5, None), 2.0);
    }

    #[test]
    fn unequal_sides_agree_with_the_chain() {
        for (near, far) in [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0 + 1e-13), (1.0, 1e-9)] {
            for room in 1..6i32 {
                let (up, down) = (1.0 / near, 1.0 / far);
                let states = room + 2;
                let weights: Vec<f64> = (0..=states).map(|n| f64::powi(up / down, n)).collect();
                let full = weights[states as usize] / weights.iter().sum::<f64>();
                close(around_dump(near, far, Some(room.into())), up * (1.0 - full));
            }
        }
    }
}
